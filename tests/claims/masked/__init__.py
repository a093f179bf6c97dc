"""Claims about hidden tokens."""
