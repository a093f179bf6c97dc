"""Pretraining on images: two views of one image, and the labelled baseline. Lectures 11, 12."""
