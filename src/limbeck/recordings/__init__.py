"""Recordings: what a teacher said, kept on disk and found again by (id, view), bit for bit.

`manifest` says what a recording is of and refuses what it is not of; `shards` turns answers into bytes and back and is
the only module that knows the form they are kept in; `folder` writes files so that a kill or a full disk tears nothing;
`store` writes a recording shard by shard and reads it.
"""
