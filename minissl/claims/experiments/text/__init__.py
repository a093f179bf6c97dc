"""Claims about tokens, before any network: lecture 03."""
