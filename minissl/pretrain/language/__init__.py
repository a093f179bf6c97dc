"""Pretraining on text alone: predict the next token. Lectures 05 and 10."""
