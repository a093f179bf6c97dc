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
from minissl.training.folder import BusyError, RunFolder
from minissl.training.log import History
from minissl.training.method import Method
from minissl.training.run import DivergedError
from minissl.training.step import train_step

__all__ = [
    "BusyError",
    "Checkpoint",
    "CheckpointError",
    "DivergedError",
    "History",
    "Method",
    "RunFolder",
    "find_checkpoint",
    "fit",
    "load_checkpoint",
    "load_model",
    "save_checkpoint",
    "train_step",
]
