"""The site is built once for all tests of a run, whichever worker comes first."""

import subprocess
import sys

import pytest

from docs.site.python_source import ROOT


@pytest.fixture(scope="session")
def site(tmp_path_factory, worker_id):
    """The folder of the built site, as ``make site`` builds it."""
    from filelock import FileLock

    base = tmp_path_factory.getbasetemp()
    base = base if worker_id == "master" else base.parent  # the workers of a run share the parent
    out = base / "site"
    with FileLock(base / "site.lock"):
        if not out.exists():
            command = [sys.executable, "-m", "docs.site", "--out", out]
            built = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
            if built.returncode:
                pytest.fail(
                    f"the site does not build:\n{built.stdout}{built.stderr}", pytrace=False
                )
    return out
