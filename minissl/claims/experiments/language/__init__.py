"""Claims about models that predict the next token: lectures 05 and 10."""
