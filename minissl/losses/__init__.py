"""Losses of self-supervised learning. Lectures 05 and 12."""
