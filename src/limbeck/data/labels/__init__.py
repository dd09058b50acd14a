"""How labels are read, one kind a file: one class a row, several, one at each step, or numbers.

Each file holds `read` (from what a person gave to tensors), `strata` (a number for each row, in proportion to which
splits are made) and `summary` (what a report says about them).
"""
