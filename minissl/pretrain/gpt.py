"""Moved to ``minissl.models.gpt``: this name stays for the files of homework 3 that import it."""

from minissl.models.gpt import GPT

__all__ = ["GPT"]
