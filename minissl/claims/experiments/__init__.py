"""One experiment per file; its name, with dashes, is the claim's."""
