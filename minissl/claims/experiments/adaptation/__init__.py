"""What is done with a pretrained network, and what that costs."""
