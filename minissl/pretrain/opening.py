"""What all commands do that open a run folder: find its checkpoint, and see that it is theirs."""

from pathlib import Path

from minissl.training import Checkpoint, find_checkpoint


def open_run(folder: str | Path, method: str) -> Checkpoint:
    """The newest good checkpoint of a run of ``method`` (``"gpt"``, ``"simclr"``).

    Raises CheckpointError when there is no checkpoint, ValueError for a run of another method.
    """
    checkpoint = find_checkpoint(folder)
    if checkpoint.config.get("method") != method:
        raise ValueError(
            f"{folder} holds a run of {checkpoint.config.get('method', 'an unnamed method')!r}, "
            f"not of {method!r}: give a folder made by `minissl pretrain {method}`"
        )
    return checkpoint
