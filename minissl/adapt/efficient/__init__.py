"""Efficient fine-tuning: few new weights beside frozen ones. Lecture 11."""
