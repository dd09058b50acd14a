"""Verifiers of solutions, one in a file, found by the file's name."""
