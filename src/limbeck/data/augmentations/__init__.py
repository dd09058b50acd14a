"""Augmentations known by name, one file each: `crop.py` holds the class behind "crop(padding=2)"."""
