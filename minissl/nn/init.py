"""Where the weights start. Lectures 02 and 06."""

import math

import numpy as np


def uniform_fan_in(
    shape: tuple[int, ...], fan_in: int, generator: np.random.Generator
) -> np.ndarray:
    """Uniform in ±1/√fan_in, float32: torch's start for Linear and convolution layers.

    ``fan_in``: how many inputs each output adds up. The more there are, the smaller each weight, so
    that the sum keeps its size.
    """
    bound = 1 / math.sqrt(max(fan_in, 1))
    return generator.uniform(-bound, bound, shape).astype(np.float32)


def normal(shape: tuple[int, ...], std: float, generator: np.random.Generator) -> np.ndarray:
    """Normal with mean 0 and the given standard deviation, float32 (GPT and BERT: std 0.02)."""
    return generator.standard_normal(shape, dtype=np.float32) * np.float32(std)
