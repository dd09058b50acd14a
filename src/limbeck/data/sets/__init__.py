"""Data sets known by name, one file each: `fashion_mnist.py` is "fashion-mnist"; its `load` reads what lies on disk."""
