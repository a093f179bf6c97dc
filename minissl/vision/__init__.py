"""Images as arrays and their augmentations: NumPy only, channels last, float32 in [0, 1]."""
