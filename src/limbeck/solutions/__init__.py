"""Solutions of problems: read, verified, selected, written down as lessons, and asked of students in the end."""
