"""Teachers: everything that answers a batch with signals, one kind a file, all behind the seam in `protocol`."""
