"""Problems that are made up from a seed, one kind in a file, found by the file's name."""
