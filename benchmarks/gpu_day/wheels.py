"""Packages where there is no package index: wheels are zip files, unpacked, not installed."""

import os
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from zipfile import BadZipFile, ZipFile

HERE = f"cp{sys.version_info.major}{sys.version_info.minor}"


def unpack(wheels: Path | None, site: Path) -> list[str]:
    """Into ``site``; returns a line for each wheel. What is installed already is not replaced."""
    said = []
    for wheel in sorted(wheels.glob("*.whl")) if wheels else ():
        name, number, *_, python, abi, _ = wheel.stem.split("-")
        try:
            said.append(f"{wheel.name}: not needed, {name} {version(name)} is installed")
            continue
        except PackageNotFoundError:
            pass
        if not ("py3" in python.split(".") or python == HERE or abi == "abi3"):
            said.append(f"{wheel.name}: for another Python, this one is {HERE}")
            continue
        try:
            with ZipFile(wheel) as archive:
                archive.extractall(site)
            said.append(f"{name} {number}: unpacked")
        except BadZipFile:
            said.append(f"{wheel.name}: is no zip file, so it cannot be unpacked")
    return said


def reach(root: Path, site: Path) -> None:
    """The checkout first, then what was unpacked; here and in every process started from here."""
    paths = [str(root), str(root / "kernels"), str(site)]
    sys.path[:0] = paths
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([*paths, *([before] if before else [])])
