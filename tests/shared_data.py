"""Published files that some tests compare with: they live outside the project and may be absent."""

import os
from pathlib import Path

import pytest

DEFAULT = Path(__file__).resolve().parents[2] / "shared" / "data"


def shared_data(relative_path: str) -> Path:
    """The path of one published file, or a skipped test that says how to provide it.

    The folder is ``$MINISSL_TEST_DATA`` when that is set, else ``../shared/data`` beside the clone.
    """
    path = Path(os.environ.get("MINISSL_TEST_DATA", DEFAULT)) / relative_path
    if not path.exists():
        pytest.skip(f"{relative_path} is not there: set MINISSL_TEST_DATA to a folder that has it")
    return path
