"""Claims about what is done with a pretrained network."""
