"""Claims about representations of images: lectures 11 and 12."""
