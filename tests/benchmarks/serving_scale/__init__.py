"""A bundle and a feature repo at a size that nobody wants to wait for, to measure serving on."""
