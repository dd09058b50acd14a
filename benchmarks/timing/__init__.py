"""Times of several ways to do one thing, taken in turns."""
