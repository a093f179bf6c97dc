"""Layers and networks. Lectures 02 and 06."""

from minissl.nn.attention import KeyValueCache, MultiHeadAttention
from minissl.nn.evaluating import evaluating
from minissl.nn.layers import MLP, Dropout, Embedding, LayerNorm, Linear
from minissl.nn.module import Module, Parameter
from minissl.nn.positions import LearnedPositions, SinusoidalPositions
from minissl.nn.transformer import Block, EncoderDecoder, Transformer, TransformerConfig

__all__ = [
    "MLP",
    "Block",
    "Dropout",
    "Embedding",
    "EncoderDecoder",
    "KeyValueCache",
    "LayerNorm",
    "LearnedPositions",
    "Linear",
    "Module",
    "MultiHeadAttention",
    "Parameter",
    "SinusoidalPositions",
    "Transformer",
    "TransformerConfig",
    "evaluating",
]
