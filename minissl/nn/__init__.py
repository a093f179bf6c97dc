"""Layers and networks. Lectures 02 and 06."""

from minissl.nn.module import Module, Parameter

__all__ = ["Module", "Parameter"]
