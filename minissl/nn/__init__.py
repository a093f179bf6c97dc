"""Layers and networks. Lectures 02 and 06."""

from minissl.nn.attention import KeyValueCache, MultiHeadAttention
from minissl.nn.convolution import AvgPool2d, BatchNorm, Conv2d, GlobalAvgPool2d, MaxPool2d
from minissl.nn.evaluating import evaluating
from minissl.nn.layers import MLP, Dropout, Embedding, LayerNorm, Linear
from minissl.nn.module import Module, Parameter
from minissl.nn.positions import LearnedPositions, SinusoidalPositions
from minissl.nn.recurrent import GRU, LSTM
from minissl.nn.resnet import BasicBlock, ResNet
from minissl.nn.transformer import Block, EncoderDecoder, Transformer, TransformerConfig

__all__ = [
    "GRU",
    "LSTM",
    "MLP",
    "AvgPool2d",
    "BasicBlock",
    "BatchNorm",
    "Block",
    "Conv2d",
    "Dropout",
    "Embedding",
    "EncoderDecoder",
    "GlobalAvgPool2d",
    "KeyValueCache",
    "LayerNorm",
    "LearnedPositions",
    "Linear",
    "MaxPool2d",
    "Module",
    "MultiHeadAttention",
    "Parameter",
    "ResNet",
    "SinusoidalPositions",
    "Transformer",
    "TransformerConfig",
    "evaluating",
]
