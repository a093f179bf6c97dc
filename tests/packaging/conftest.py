"""A source distribution of the repository, a wheel of it, and what an installed one looks like."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]
# What no distribution may hold, though it lies in a folder that somebody has worked in.
RUBBISH = (
    "build/lib/minissl/stale.py",
    "build/lib/minissl/_course/lectures/stale.md",
    "minissl/__pycache__/stale.cpython-311.pyc",
    "tests/losses/__pycache__/stale.cpython-311.pyc",
    "lectures/claims/shared/stale.json",
    "notebooks/.ipynb_checkpoints/stale.ipynb",
    "runs/stale/log.jsonl",
    ".venv/lib/stale.py",
    "stale.md.orig",
)
NOT_COPIED = (".git", ".venv", "build", "dist", "runs", "*.egg-info", "__pycache__", ".*_cache")


@pytest.fixture(scope="session")
def made(tmp_path_factory, worker_id):
    """``sdist`` and ``wheel``, archives made as pip makes them, and ``site``, the wheel unpacked.

    The wheel is built from the sdist, in which a build before it has left something. All in a copy:
    setuptools writes beside the sources.
    """
    from filelock import FileLock

    base = tmp_path_factory.getbasetemp()
    base = base if worker_id == "master" else base.parent  # the workers of a run share the parent
    place = base / "packaging"
    with FileLock(base / "packaging.lock"):
        if not (place / "site").exists():
            build(place)
    (sdist,), (wheel,) = place.glob("*.tar.gz"), place.glob("*.whl")
    return SimpleNamespace(sdist=sdist, wheel=wheel, site=place / "site")


def build(place):
    shutil.copytree(ROOT, place / "copy", ignore=shutil.ignore_patterns(*NOT_COPIED))
    litter(place / "copy")
    setuptools("build_sdist", place / "copy", place)
    with tarfile.open(next(place.glob("*.tar.gz"))) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # of Python 3.11.4
        archive.extractall(place / "sdist")
    (unpacked,) = (place / "sdist").iterdir()
    litter(unpacked)
    setuptools("build_wheel", unpacked, place)
    with zipfile.ZipFile(next(place.glob("*.whl"))) as archive:
        archive.extractall(place / "site-unfinished")
    (place / "site-unfinished").rename(place / "site")


def litter(folder):
    for name in RUBBISH:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("stale", encoding="utf-8")


def setuptools(what, folder, out):
    """What pip asks of it, with the setuptools that is here: nothing is fetched."""
    program = f"import setuptools.build_meta as b; b.{what}({str(out)!r})"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        pytest.fail(f"{what}:\n{done.stdout[-2000:]}{done.stderr}", pytrace=False)
