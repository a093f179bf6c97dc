"""Networks that are kept: GPT and its generation, convolutional encoders, published weights."""
