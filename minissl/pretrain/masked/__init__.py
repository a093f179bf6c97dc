"""Pretraining on text with gaps: predict what was hidden from both sides. Lecture 08."""
