"""Prompting: the task is written as a blank, and a language model fills it. Lecture 10."""
