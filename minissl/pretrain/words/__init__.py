"""Word vectors: each word gets a vector from the words around it. Lecture 04."""
