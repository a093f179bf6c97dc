"""Every launch, compiled for GPUs that are not here: what the interpreter cannot tell.

Fourteen of 33 constructs that run interpreted do not compile; and a kernel may compile and still
be slow: registers spilled to memory, matrix units unused, narrow loads, or shared memory that no
chip has. The compiler runs in a process of its own; its results are kept between runs.
"""

import dataclasses
import difflib
import json
from fnmatch import fnmatch
from pathlib import Path

import pytest
import triton
from minissl_kernels.launch import interpreted

from tests.kernels import child
from tests.kernels.compile_report import SHARED_LIMIT, Row, table, version_line

KEPT = Path(__file__).with_name("compiled.md")
HARNESS = "tests.kernels.compile_harness"

pytestmark = pytest.mark.skipif(not interpreted(), reason="on a GPU the kernels themselves compile")


@dataclasses.dataclass
class Allowed:
    """A problem that is known, and why it may stay; names may hold ``*``."""

    problem: str  # "compile", "spills", "matrix", "loads" or "shared"
    module: str
    launch: str
    kernel: str
    target: str
    why: str
    most: int = 0  # spills

    def covers(self, row, problem):
        names = ("module", "launch", "kernel", "target")
        same = all(fnmatch(getattr(row, name), getattr(self, name)) for name in names)
        return same and problem == self.problem and (not self.most or row.spills <= self.most)


NVIDIA = "tuned for NVIDIA; on AMD it need only compile"
CANDIDATE = "a candidate, not what ships: it is measured before it is chosen"
ODD = "rows of an odd length do not start at multiples of 16 bytes"
DRAWS = "ten rounds of Philox for every weight, beside two accumulators"
WIDE = "two accumulators of width 256 leave room for tiles of 32 rows, wgmma takes 64"
THREE = "float32 takes three TF32 products each, and their operands are registers"
ALLOWED = [
    Allowed("spills", "*", "*", "*", "gfx942", NVIDIA),
    Allowed("loads", "*", "*", "*", "gfx942", NVIDIA),
    Allowed("spills", "*", "*candidate*", "*", "sm_*", CANDIDATE),
    Allowed("spills", "linear_cross_entropy", "*(*, *)", "*", "sm_*", CANDIDATE),
    Allowed("loads", "cross_entropy", "*50257", "*", "*", ODD),
    Allowed("loads", "cross_entropy", "*one class", "*", "*", ODD),
    Allowed("loads", "linear_cross_entropy", "*517", "_labels_*", "*", ODD),
    Allowed("loads", "contrastive", "*", "combine_kernel", "*", "a few numbers of each row"),
    Allowed("spills", "attention", "*all features", "key_value_kernel", "sm_*", DRAWS, most=70),
    Allowed("spills", "attention", "*dropout", "key_value_kernel", "sm_*", DRAWS, most=25),
    Allowed("spills", "attention", "*dropout", "forward_kernel", "sm_80", DRAWS, most=4),
    Allowed("spills", "attention", "*fp32*", "forward_kernel", "sm_80", "two values", most=2),
    Allowed("spills", "attention", "*fp32*", "row_sums_kernel", "sm_90", "two values", most=2),
    Allowed("spills", "attention", "*fp32 width 128*", "*_kernel", "sm_*", THREE, most=10),
    Allowed("matrix", "attention", "*width 256*", "key_value_kernel", "sm_90", WIDE),
]


def problems(row):
    """What is wrong with a compiled kernel: {"spills": "38 spills", ...}."""
    if row.error:
        return {"compile": row.error}
    found = {}
    if row.spills:
        found["spills"] = f"{row.spills} spills"
    if row.shared > SHARED_LIMIT[row.target]:
        limit = SHARED_LIMIT[row.target] // 1024
        found["shared"] = f"{row.shared / 1024:.0f} KB of shared memory, the chip has {limit}"
    if row.dots and not row.matrix_count:
        found["matrix"] = "tl.dot without matrix units"
    hopper = row.target == "sm_90"
    if hopper and row.dots and row.dot_bits == 16 and row.matrix_unit != "wgmma":
        found["matrix"] = f"{row.matrix_unit} instead of wgmma: a block of fewer than 64 rows?"
    if hopper and row.ptx_target != "sm_90a":
        found["matrix"] = f"compiled for {row.ptx_target}, which has no wgmma"
    if "16" not in row.loads:
        found["loads"] = f"no load of 16 bytes, only {row.loads}: not divisible by 16?"
    return found


def test_every_launch_is_covered():
    """Each module of kernels has its launches here."""
    folder = child.ROOT / "kernels" / "minissl_kernels"
    sources = [path for path in folder.rglob("*.py") if "@triton.jit" in path.read_text("utf-8")]
    names = {path.relative_to(folder).parts[0].removesuffix(".py") for path in sources}
    with_launches = {path.stem.removeprefix("launches_") for path in KEPT.parent.glob("launches_*")}
    launched_by_others = {"layer_norm_wide", "matmul"}
    assert names - launched_by_others | {"linear_cross_entropy"} == with_launches


@pytest.mark.timeout(900)
@pytest.mark.parametrize("target", SHARED_LIMIT)
def test_every_launch_compiles_well(target, tmp_path):
    """No problem but the allowed ones, and the numbers of the kept table."""
    file = tmp_path / "rows.json"
    print(child.python("-m", HARNESS, "--target", target, "--json", str(file)))
    rows = [Row(**row) for row in json.loads(file.read_text())]
    assert rows
    unused = [a for a in ALLOWED if fnmatch(target, a.target)]
    wrong = []
    for row in rows:
        for problem, text in problems(row).items():
            covering = [allowed for allowed in ALLOWED if allowed.covers(row, problem)]
            unused = [allowed for allowed in unused if allowed not in covering]
            if not covering:
                wrong.append(f"{row.module}, {row.launch}, {row.kernel}, {target}: {text}")
    assert not wrong, "\n".join(wrong)
    assert not [a for a in unused if a.target == target], "allowed, but no longer needed"
    compare_with_kept_table(rows, target)


def compare_with_kept_table(rows, target):
    """Where the compiler is another one, the numbers are as well: then nothing is compared."""
    assert KEPT.exists(), "`make kernel-table` writes tests/kernels/compiled.md"
    kept = KEPT.read_text(encoding="utf-8").splitlines()
    if version_line() not in kept:
        return
    new = [line for line in table(rows).splitlines() if f"| {target} |" in line]
    old = [line for line in kept if f"| {target} |" in line]
    assert new == old, "kernels changed; `make kernel-table` rewrites the table:\n" + "\n".join(
        difflib.unified_diff(old, new, "kept", "compiled now", lineterm="", n=0)
    )


def test_bad_compilations_are_noticed():
    """Planted: each launch is labelled with the problem it must be found to have."""
    code = """
        import dataclasses, json
        from tests.kernels import compile_harness, planted_compiles
        compile_harness.keep_compiled_kernels()
        rows = compile_harness.rows_of(planted_compiles, "sm_90")
        print(json.dumps([dataclasses.asdict(row) for row in rows]))
        """
    rows = [Row(**row) for row in json.loads(child.run(code))]
    found = {row.launch: list(problems(row)) for row in rows}
    bad = ["compile", "spills", "matrix", "loads", "shared"]
    assert found == {"good": []} | {problem: [problem] for problem in bad}


def test_the_table_is_readable():
    row = Row("forward", "bf16 | causal", "sm_90", module="attention", warps=4, stages=2)
    row = dataclasses.replace(row, registers=128, shared=49152, loads={"4": 2, "16": 8}, programs=3)
    text = table([row, Row("backward", "bf16", "gfx942", module="attention", error="unsupported")])
    assert "## attention" in text
    assert f"Compiled by triton {triton.__version__}." in text
    assert (
        "| bf16 / causal | forward | sm_90 | 4 | 2 | 128 | 0 | 48.0 | - | 16 x 8, 4 x 2 | 3 |"
        in text
    )
    assert "| bf16 | backward | gfx942 | does not compile: unsupported |" in text
    assert {line.count("|") for line in text.splitlines() if line.startswith("|")} == {12}
