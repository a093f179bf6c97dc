"""Claims about encoders that say what is hidden: what they learn, and what they are good for."""
