"""Thresholds of an artifact, from validation rows: when it alarms, when it leaves an answer to a larger one."""
