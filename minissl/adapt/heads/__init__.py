"""Heads: something small that is read off a network, or put on top of it. Lecture 11."""
