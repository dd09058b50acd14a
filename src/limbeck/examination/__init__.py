"""What the doctor looks at: one check a file, each a function from what it needs to a list of findings."""
