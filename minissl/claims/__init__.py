"""The claims of the lectures as experiments that anyone can run: ``python -m minissl claim NAME``.

One file per claim in ``experiments/``, each with a ``CLAIM``; ``claim.py`` is what they have in
common, ``report.py`` the table, the verdict and the files.
"""

from importlib import import_module
from pkgutil import iter_modules

from minissl.claims.claim import Claim


def claim_names() -> list[str]:
    """The names of all claims, sorted."""
    package = import_module("minissl.claims.experiments")
    return sorted(module.name.replace("_", "-") for module in iter_modules(package.__path__))


def load_claim(name: str) -> Claim:
    """The claim of that name. Raises ValueError with the names there are."""
    if name not in claim_names():
        raise ValueError(f"there is no claim {name!r}; choose one of: {', '.join(claim_names())}")
    claim: Claim = import_module(f"minissl.claims.experiments.{name.replace('-', '_')}").CLAIM
    return claim
