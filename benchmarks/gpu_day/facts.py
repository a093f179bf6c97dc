"""What this machine is; ends the visit when nothing can be measured on it."""

import hashlib
import json
import shutil
import subprocess
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[2]
QUERY = "name,driver_version,memory.total,clocks.sm,clocks.mem,temperature.gpu,power.limit"
NEEDED = (
    "benchmarks.kernels.record", "benchmarks.training_gpu.gpt2", "benchmarks.training_gpu.simclr",
    "minissl_kernels.attention", "minissl_kernels.contrastive",
)  # fmt: skip


class NotHere(Exception):
    """The visit cannot begin; says what to do."""


def work(job: dict, teller) -> None:
    """``job``: name, dry. It is done with "ok", and the facts as JSON or why there are none."""
    teller.begin(job["name"])
    try:
        teller.done(f"ok {json.dumps(facts(job['dry']))}")
    except NotHere as reason:
        teller.done(f"ok {json.dumps(str(reason))}")


def facts(dry: bool) -> dict:
    from benchmarks.gpu_session import missing

    if lacking := missing(dry):
        raise NotHere(lacking)
    for name in NEEDED:
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            package = str(error.name).split(".")[0].replace("_", "-")
            raise NotHere(
                f"{package} is not installed; without a package index: `pip download --no-deps "
                f"{package}` elsewhere, and name the folder of the wheel with --wheels"
            ) from error
    from benchmarks.kernels.record import environment

    described = environment()
    described["sources"] = sources()
    return described


def identity(known: dict) -> str:
    """What must be the same for rows to stand in one table."""
    gpu, packages = known.get("gpu"), known["packages"]
    where = f"{gpu['name']} with driver {gpu['driver']}" if gpu else "no GPU"
    return f"{where}, torch {packages['torch']}, triton {packages['triton']}"


def sources() -> str:
    """A digest of what is measured: rows of different sources are not one table."""
    digest = hashlib.sha256()
    for folder in ("kernels", "minissl", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def from_nvidia() -> str:
    """Clocks and temperature before the visit; "" where there is no nvidia-smi."""
    if shutil.which("nvidia-smi") is None:
        return ""
    ask = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv"]
    try:
        return subprocess.run(ask, capture_output=True, encoding="utf-8", timeout=20).stdout.strip()
    except subprocess.TimeoutExpired:
        return "nvidia-smi did not answer in 20 seconds"
