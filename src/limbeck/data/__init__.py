"""From what a person has (a name, arrays, a data set) to rows in memory, split, augmented and batched."""
