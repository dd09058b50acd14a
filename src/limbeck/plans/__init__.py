"""Loops over `distill`: a chain of ever smaller students."""
