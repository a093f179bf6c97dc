"""The claims of the lectures as experiments that anyone can run: ``python -m minissl claim NAME``.

One file per claim, ``experiments/FAMILY/NAME.py``, with a ``CLAIM``: a new file is a new claim, and
its first line begins with its lecture. ``claim.py`` is what claims are, ``report.py`` runs and
judges them; ``simclr_on_digits.py``, ``gpt_on_english.py`` and ``drawing.py`` are what several have
in common.
"""

from importlib import import_module
from pathlib import Path

from minissl.claims.claim import Claim
from minissl.registry import modules_in


def claim_names() -> list[str]:
    """The names of all claims, family by family. Nothing is imported."""
    return list(_files())


def load_claim(name: str) -> Claim:
    """The claim of that name. Raises ValueError with the names there are."""
    files = _files()
    if name not in files:
        raise ValueError(f"there is no claim {name!r}; choose one of: {', '.join(files)}")
    file = files[name]
    claim: Claim = import_module(f"minissl.claims.experiments.{file.parent.name}.{file.stem}").CLAIM
    return claim


def _files() -> dict[str, Path]:
    """Every claim's file, by the claim's name."""
    folders = sorted(p for p in (Path(__file__).parent / "experiments").iterdir() if p.is_dir())
    return {name: file for folder in folders for name, file in modules_in(folder).items()}
