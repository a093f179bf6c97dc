"""Stands for the package that is not installed."""
