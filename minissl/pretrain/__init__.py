"""Pretraining methods, one file each: how a batch is made, its loss, and the representation."""
