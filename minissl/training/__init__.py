"""The one loop that trains every method, its log and its checkpoints. Lecture 01."""

from minissl.training.checkpoint import (
    Checkpoint,
    CheckpointError,
    find_checkpoint,
    load_checkpoint,
    load_model,
    save_checkpoint,
)
from minissl.training.fit import fit
from minissl.training.log import History
from minissl.training.method import Method
from minissl.training.run import DivergedError

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "DivergedError",
    "History",
    "Method",
    "find_checkpoint",
    "fit",
    "load_checkpoint",
    "load_model",
    "save_checkpoint",
]
