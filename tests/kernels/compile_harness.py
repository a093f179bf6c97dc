"""Compiles every kernel for GPUs on a machine that has none, as its public function launches it.

    python -m tests.kernels.compile_harness [kernel ...] [--target sm_90] [--table file.md]

Triton's wheel carries the whole compiler. A stand-in for the driver names the target, and every
launch on a CPU tensor becomes a compilation, specialised as a real launch would be: dtypes,
arguments divisible by 16 or equal to 1, constants, warps and stages. Nothing is executed.

A process of its own, because Triton decides at its import whether it compiles or interprets.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import importlib
import json
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path
from unittest import mock

HERE = Path(__file__).parent
os.environ["TRITON_INTERPRET"] = "0"
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")  # triton 3.9 warns when it is not set

import torch  # noqa: E402
import triton  # noqa: E402
from minissl_kernels import launch  # noqa: E402
from triton.backends.compiler import GPUTarget  # noqa: E402

from tests.kernels import compile_report  # noqa: E402
from tests.kernels.compile_report import Row  # noqa: E402

GPUS = {
    "sm_80": GPUTarget("cuda", 80, 32),  # A100
    "sm_90": GPUTarget("cuda", 90, 32),  # H100, H200
    "gfx942": GPUTarget("hip", "gfx942", 64),  # MI300X
}
TUNED_FOR = ("sm_80", "sm_90")  # elsewhere the kernels need only compile as they ship
MULTIPROCESSORS = 132  # of an H200


class CompileOnlyDriver:
    """What triton asks of a driver before it launches."""

    def __init__(self, target):
        self.target = target

    def get_current_target(self):
        return self.target

    def get_current_device(self):
        return (self.target.backend, self.target.arch)  # the key of each kernel's cache

    def get_current_stream(self, device):
        return 0

    def get_active_torch_device(self):
        return torch.device("cpu")


def keep_compiled_kernels():
    """Between runs, in the system's temporary folder, for this user and triton version."""
    name = f"minissl-triton-{triton.__version__}-{os.getuid()}"
    folder = os.environ.setdefault("TRITON_CACHE_DIR", str(Path(tempfile.gettempdir()) / name))
    Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)


def kernels_with_launches():
    """The X of every tests/kernels/launches_X.py."""
    return sorted(path.stem.removeprefix("launches_") for path in HERE.glob("launches_*.py"))


@contextlib.contextmanager
def launches_compile(target, compiled):
    """Turn every launch into a compilation for ``target``, given to ``compiled(function, result)``.

    ``result`` is the compiled kernel, or the error of one that does not compile.
    """
    run = triton.runtime.JITFunction.run

    def compile_only(self, *args, grid, warmup, **options):
        try:
            result = run(self, *args, grid=grid, warmup=True, **options)
        except Exception as error:  # whatever the compiler raises belongs in the table
            result = error
        compiled(self, result)

    triton.runtime.driver.set_active(CompileOnlyDriver(GPUS[target]))
    hip = "6.4" if GPUS[target].backend == "hip" else None  # launch.dot_precision asks
    stand_ins = {"runs_on": lambda device: True, "multiprocessors": lambda device: MULTIPROCESSORS}
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(triton.runtime.JITFunction, "run", compile_only))
        stack.enter_context(mock.patch.object(torch.version, "hip", hip))
        for name, stand_in in stand_ins.items():
            original = getattr(launch, name)
            for module in [m for n, m in sys.modules.items() if n.startswith("minissl_kernels")]:
                if getattr(module, name, None) is original:  # also where it was imported by name
                    stack.enter_context(mock.patch.object(module, name, stand_in))
        yield


def rows_of(module, target):
    """One row for each kernel that the module's ``launches()`` compile; each only once."""
    name = module.__name__.rpartition(".")[2].removeprefix("launches_")
    rows, seen = [], set()

    def compiled(function, result):
        row = Row(function.fn.__name__, label, target, module=name)
        failed = isinstance(result, Exception)
        key = (row.kernel, str(result)) if failed else result.hash
        if key not in seen:
            seen.add(key)
            row.error = reason(result) if failed else ""
            rows.append(row if failed else kept_read(result, row))

    for label, call in module.launches():
        if "candidate" in label and target not in TUNED_FOR:
            continue
        try:
            with launches_compile(target, compiled):
                call()
        except Exception as error:
            traceback.print_exc()
            rows.append(Row("-", label, target, module=name, error=reason(error)))
    return rows


def reason(error):
    """The last line of an error's message that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else ''}"[:160]


def kept_read(kernel, row):
    """``compile_report.read``, which takes 0.3 s to disassemble, kept beside the kernel."""
    version = hashlib.sha256(Path(compile_report.__file__).read_bytes()).hexdigest()[:16]
    path = Path(os.environ["TRITON_CACHE_DIR"]) / f"{kernel.hash}-{version}.json"
    if not path.exists():
        part = path.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(dataclasses.asdict(compile_report.read(kernel, row))))
        part.replace(path)  # in one step: another process may read
    return Row(**{**json.loads(path.read_text()), "launch": row.launch, "module": row.module})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kernels", nargs="*", help="default: all that have a launches_*.py")
    parser.add_argument("--target", action="append", choices=list(GPUS), help="default: all")
    parser.add_argument("--table", type=Path, help="write the rows here, as Markdown")
    parser.add_argument("--json", type=Path, help="write the rows here, as JSON")
    options = parser.parse_args()
    keep_compiled_kernels()
    rows = []
    for target in options.target or GPUS:
        for name in options.kernels or kernels_with_launches():
            start = time.perf_counter()
            module = importlib.import_module(f"tests.kernels.launches_{name}")
            new = rows_of(module, target)
            rows += new
            seconds = time.perf_counter() - start
            print(f"\n{name}, {target}: {len(new)} kernels in {seconds:.1f} s\n")
            print(compile_report.HEADER, *[row.markdown() for row in new], sep="\n", flush=True)
    if options.json:
        options.json.write_text(json.dumps([dataclasses.asdict(row) for row in rows], indent=1))
    if options.table:
        options.table.write_text(compile_report.table(rows), encoding="utf-8")
    sys.exit(any(row.error and GPUS[row.target].backend == "cuda" for row in rows))


if __name__ == "__main__":
    main()
