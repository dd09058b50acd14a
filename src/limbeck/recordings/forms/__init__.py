"""The ways a teacher's answers are kept, one file each: the file's name is its name in `keep`."""
