"""Claims about what one does with a pretrained network: lecture 11."""
