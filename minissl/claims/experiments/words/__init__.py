"""Claims about word vectors: what they learn, and what they are good for."""
