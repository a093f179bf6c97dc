"""Runs a few lines of Python as a user would: in a new process, from the project's root."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[2]


def python(*arguments, **environment):
    """The output of ``python *arguments``; nothing of Triton's is inherited from the tests."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("TRITON_")}
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=inherited | environment,
        capture_output=True,
        encoding="utf-8",
    )
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    return result.stdout


def run(code, **environment):
    """The output of these lines."""
    return python("-c", textwrap.dedent(code), **environment)
