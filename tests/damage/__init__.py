"""Damaged files for every reader: see ``tests/test_damaged_files.py``."""
