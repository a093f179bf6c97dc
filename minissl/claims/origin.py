"""What a number comes from beside its settings and its seed: the sources, and the machine.

Results are put together, and trained networks used again, only where all of it is the same.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from minissl.claims.claim import Claim
from minissl.conditions import environment

PACKAGE = Path(__file__).parents[1]
# What no training depends on: rooms beside and above this one.
ABOVE = {"claims", "cli", "demo", "homework", "figures", "page.py", "palette.py", "__main__.py"}


@cache
def library_digest(device: str) -> str:
    """The SHA-256 of the library's sources below the claims; off the CPU, of the kernels too."""
    files = [f for f in PACKAGE.rglob("*.py") if f.relative_to(PACKAGE).parts[0] not in ABOVE]
    kernels = find_spec("minissl_kernels") if device != "cpu" else None
    for folder in (kernels and kernels.submodule_search_locations) or ():
        files += Path(folder).rglob("*.py")
    return _digest(files)


def claim_digest(claim: Claim, device: str) -> str:
    """The SHA-256 of what a claim measures with: the library, what claims share, its own file."""
    files = [*(PACKAGE / "claims").glob("*.py")]
    module = sys.modules.get(claim.measure.__module__)
    if file := getattr(module, "__file__", None):
        files.append(Path(file))
    return hashlib.sha256(f"{library_digest(device)} {_digest(files)}".encode()).hexdigest()


def _digest(files: Iterable[Path]) -> str:
    """The SHA-256 of files, of each its name and its content."""
    digest = hashlib.sha256()
    for file in sorted(files):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{file.parent.name}/{file.name} {content}\n".encode())
    return digest.hexdigest()


def conditions(device: str) -> dict[str, Any]:
    """Machine, versions, date; of a GPU its name."""
    found = environment(["scipy", "scikit-learn", "torch"])
    if device.startswith("cuda"):
        import torch

        found["gpu"] = torch.cuda.get_device_name(device)
    return found


def lasting(found: dict[str, Any]) -> dict[str, Any]:
    """Those of the conditions that may change the last digit of a number."""
    names = ("processor", "gpu", "python", "packages")
    return {name: found[name] for name in names if name in found}
