"""Tasks, one file each: label loss, metrics, decoding and panels; the file's name is the task's name."""
