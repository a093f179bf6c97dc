"""Compiles every kernel for GPUs on a machine that has none, as its public function launches it.

    python -m tests.kernels.compile_harness [kernel ...] [--target sm_90] [--table folder]

Triton's wheel carries the whole compiler. A stand-in for the driver names the target, and every
launch on a CPU tensor becomes a compilation, specialised as a real launch would be: dtypes,
arguments divisible by 16 or equal to 1, constants, warps and stages. Nothing is executed. With
``--trust compiled.json`` a launch is compiled only if that has no row for just this launch.

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
from triton import JITFunction  # noqa: E402
from triton._C.libtriton import get_cache_invalidating_env_vars  # noqa: E402
from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from tests.kernels import compile_report, compile_table  # noqa: E402
from tests.kernels.compile_report import Row  # noqa: E402
from tests.kernels.compile_table import Trust  # noqa: E402

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


def fingerprint(function, target, source, backend, options):
    """Whatever the machine code of a launch depends on, as text.

    triton's hash of the source has the kernel, all functions that it calls and the constants they
    use, from whatever file, the arguments' types and the constants that were passed. It does not
    differ between machines, and not where code above the kernel has changed.
    """
    parts = [triton.__version__, reader_version(), function.module, function.__name__]
    parts += [GPUS[target], source.hash(), backend.hash(), options.hash()]
    return "\n".join(map(str, [*parts, sorted(get_cache_invalidating_env_vars().items())]))


def reader_version():
    """Of what reads the compiled kernels: another one may count otherwise."""
    return hashlib.sha256(Path(compile_report.__file__).read_bytes()).hexdigest()[:16]


def forget_line_numbers():
    """A kernel that only moved within its file is the same; triton's hash has its first line."""
    for module in [m for n, m in sys.modules.items() if n.startswith("minissl_kernels")]:
        for function in [v for v in vars(module).values() if isinstance(v, JITFunction)]:
            function.starting_line_number = 0


@contextlib.contextmanager
def launches_compile(target, compiled):
    """Each launch becomes a call ``compiled(function, fingerprint, compile)``, for ``target``.

    ``compile`` takes nothing and returns the compiled kernel, or raises what the compiler raises.
    """
    run, compile_it = JITFunction.run, JITFunction._do_compile

    def compile_only(self, *args, grid, warmup, **options):
        return run(self, *args, grid=grid, warmup=True, **options)

    def described(self, key, signature, device, constants, options, attrs, warmup):
        backend = self.device_caches[device][3]
        source = ASTSource(self, signature, constants, attrs)
        launched = fingerprint(self, target, source, backend, options)
        rest = (key, signature, device, constants, options, attrs, warmup)

        def compile_and_forget():
            kernel = compile_it(self, *rest)
            self.device_caches[device][0].clear()  # or the next file's launch of it has no row
            return kernel

        compiled(self, launched, compile_and_forget)

    forget_line_numbers()
    triton.runtime.driver.set_active(CompileOnlyDriver(GPUS[target]))
    hip = "6.4" if GPUS[target].backend == "hip" else None  # launch.dot_precision asks
    stand_ins = {"runs_on": lambda device: True, "multiprocessors": lambda device: MULTIPROCESSORS}
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(JITFunction, "run", compile_only))
        stack.enter_context(mock.patch.object(JITFunction, "_do_compile", described))
        stack.enter_context(mock.patch.object(torch.version, "hip", hip))
        for name, stand_in in stand_ins.items():
            original = getattr(launch, name)
            for module in [m for n, m in sys.modules.items() if n.startswith("minissl_kernels")]:
                if getattr(module, name, None) is original:  # also where it was imported by name
                    stack.enter_context(mock.patch.object(module, name, stand_in))
        yield


def rows_of(module, target, trust=Trust()):  # noqa: B008
    """One row for each kernel that the module's ``launches()`` launch; each only once."""
    name = module.__name__.rpartition(".")[2].removeprefix("launches_")
    rows, seen = [], set()

    def compiled(function, launched, compile_it):
        if launched not in seen:
            seen.add(launched)
            row = Row(function.fn.__name__, label, target, module=name)
            kept = trust.find(row, launched)
            rows.append(kept or compile_table.sealed(compiled_row(row, compile_it), launched))

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


def compiled_row(row, compile_it):
    """The row, filled in by the compiler: with numbers or with its error."""
    try:
        return kept_read(compile_it(), row)
    except Exception as error:  # whatever the compiler raises belongs in the table
        return dataclasses.replace(row, error=reason(error))


def reason(error):
    """The last line of an error's message that says something; the first error, if one led on."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else ''}"[:160]


def kept_read(kernel, row):
    """``compile_report.read``, which takes 0.3 s to disassemble, kept beside the kernel."""
    path = Path(os.environ["TRITON_CACHE_DIR"]) / f"{kernel.hash}-{reader_version()}.json"
    if not path.exists():
        part = path.with_suffix(f".{os.getpid()}")
        part.write_text(
            json.dumps(dataclasses.asdict(compile_report.read(kernel, row))), encoding="utf-8"
        )
        part.replace(path)  # in one step: another process may read
    return Row(
        **{
            **json.loads(path.read_text(encoding="utf-8")),
            "launch": row.launch,
            "module": row.module,
        }
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kernels", nargs="*", help="default: all that have a launches_*.py")
    parser.add_argument("--target", action="append", choices=list(GPUS), help="default: all")
    parser.add_argument("--table", type=Path, help="write compiled.md and .json here")
    parser.add_argument("--trust", type=Path, help="a compiled.json, whose rows may be taken")
    parser.add_argument("--draw", type=int, default=0, help="so many of each target are not")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    options = parser.parse_args()
    keep_compiled_kernels()
    kept = compile_table.read_json(options.trust) if options.trust else []
    rows = []
    for target in options.target or GPUS:
        trust = Trust([row for row in kept if row.target == target], options.draw, options.seed)
        for name in options.kernels or kernels_with_launches():
            start = time.perf_counter()
            module = importlib.import_module(f"tests.kernels.launches_{name}")
            new = rows_of(module, target, trust)
            rows += new
            seconds = time.perf_counter() - start
            print(f"\n{name}, {target}: {len(new)} kernels in {seconds:.1f} s\n")
            lines = [compile_table.markdown(row) for row in new]
            print(compile_table.HEADER, *lines, sep="\n", flush=True)
    if options.table:
        compile_table.write(options.table, rows)
    sys.exit(any(row.error and GPUS[row.target].backend == "cuda" for row in rows))


if __name__ == "__main__":
    main()
