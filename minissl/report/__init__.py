"""The page of a run: what it learned from, how it went, what it can do, and how to go on."""
