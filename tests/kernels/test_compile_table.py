"""Which rows of the kept table are trusted: only those whose machine code cannot have changed."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import triton

from tests.kernels import child, compile_report, compile_table
from tests.kernels.compile_report import Row
from tests.kernels.compile_table import Trust, as_json, read_json, sealed, table, write
from tests.kernels.test_compiled import compare_with_kept_table

KEPT = Path(__file__).with_name("compiled.json")
ROWS = [
    sealed(Row("forward", f"bf16 width {width}", "sm_90", "attention", registers=width), "launch")
    for width in (32, 64, 128)
]


def test_the_table_is_readable():
    row = Row("forward", "bf16 | causal", "sm_90", module="attention", warps=4, stages=2)
    row = dataclasses.replace(
        row, registers=128, shared=49152, loads={"4": 2, "16": 8}, programs=3, loops=[30, 20, 17]
    )
    text = table([row, Row("backward", "bf16", "gfx942", module="attention", error="unsupported")])
    assert "## attention" in text
    assert f"Compiled by triton {triton.__version__}." in text
    assert (
        "| bf16 / causal | forward | sm_90 | 4 | 2 | 128 | 0 | 48.0 | - | 16 x 8, 4 x 2 "
        "| 30, 20 | 3 |" in text
    )
    assert "| bf16 | backward | gfx942 | does not compile: unsupported |" in text
    assert {line.count("|") for line in text.splitlines() if line.startswith("|")} == {13}


def test_innermost_loops_are_counted():
    """20 to 39 lies within 10 to 59; 70 to 72 waits, 75 jumps ahead, 99 comes back from a wait."""
    code = {39: "@P0 BRA 0x140", 59: "@!P1 BRA 0xa0", 72: "@P2 BRA 0x460", 75: "@P0 BRA 0x620"}
    code |= {93: "BRA 0x4d0", 95: "EXIT", 99: "BRA 0x320"}
    sass = "".join(
        f"        /*{16 * i:04x}*/          {code.get(i, 'FADD R0, R1, R2')} ;  /* 0x0 */\n"
        for i in range(100)
    )
    assert compile_report.loops(sass) == [20, 17]
    assert compile_report.loops("") == []


def test_rows_come_back_from_json(tmp_path):
    (tmp_path / "compiled.json").write_text(as_json(ROWS[::-1]), encoding="utf-8")
    assert read_json(tmp_path / "compiled.json") == sorted(ROWS, key=lambda row: row.launch)
    assert read_json(tmp_path / "absent.json") == []
    for broken in ("[", '[{"kernel": "forward", "colour": "red"}]', "<<<<<<< HEAD\n[]"):
        (tmp_path / "compiled.json").write_text(broken, encoding="utf-8")
        with pytest.raises(ValueError, match="make kernel-table"):
            read_json(tmp_path / "compiled.json")


def test_trusted_is_what_was_compiled_from_the_same_launch():
    asked = dataclasses.replace(ROWS[0], registers=0, hash="")
    assert Trust(ROWS).find(asked, "launch") == ROWS[0]
    assert Trust(ROWS).find(asked, "launch of another kernel") is None
    for change in ({"registers": 31}, {"dots": 1}, {"loads": {"16": 4}}, {"hash": "0" * 20}):
        assert Trust([dataclasses.replace(ROWS[0], **change)]).find(asked, "launch") is None
    for name in ("kernel", "launch", "target", "module"):
        assert Trust(ROWS).find(dataclasses.replace(asked, **{name: "other"}), "launch") is None
    failed = sealed(dataclasses.replace(ROWS[0], error="ptxas was killed"), "launch")
    assert Trust([failed]).find(asked, "launch") is None


def test_every_row_is_drawn_some_time():
    def drawn(seed, draw=1):
        trust = Trust(ROWS, draw, seed)
        return [row.launch for row in ROWS if trust.find(row, "launch") is None]

    assert [len(drawn(seed)) for seed in range(9)] == [1] * 9
    assert drawn(4) == drawn(4)
    assert {drawn(seed)[0] for seed in range(30)} == {row.launch for row in ROWS}
    assert len(drawn(0, draw=7)) == 3
    assert drawn(0, draw=0) == []


def test_another_report_fails(tmp_path):
    write(tmp_path, ROWS)
    compare_with_kept_table(ROWS, "sm_90", "", tmp_path)
    for change in ({"registers": 33}, {"dots": 2}, {"launch": "bf16"}):  # dots: only in the JSON
        rows = [dataclasses.replace(ROWS[0], **change), *ROWS[1:]]
        with pytest.raises(AssertionError, match=r"(?s)make kernel-table.*drawn by seed 5"):
            compare_with_kept_table(rows, "sm_90", "drawn by seed 5", tmp_path)
    with pytest.raises(AssertionError, match="make kernel-table"):
        compare_with_kept_table(ROWS[1:], "sm_90", "", tmp_path)
    (tmp_path / "compiled.json").unlink()
    with pytest.raises(AssertionError, match="make kernel-table"):
        compare_with_kept_table(ROWS, "sm_90", "", tmp_path)


def test_old_hashes_are_told(tmp_path):
    """They fail nothing, for the rows were compiled and are the same; but each run takes longer."""
    write(tmp_path, [dataclasses.replace(ROWS[0], hash="0" * 20), *ROWS[1:]])
    with pytest.warns(UserWarning, match=r"old hashes.*1 of 3.*make kernel-table"):
        compare_with_kept_table(ROWS, "sm_90", "", tmp_path)


def test_each_version_has_its_files():
    assert compile_table.stem("3.6.0") == compile_table.stem("3.6.1") == "compiled_3.6"
    assert compile_table.stem("3.9.0") == compile_table.stem("3.60.0") == "compiled"


def test_sources_are_code_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(compile_table, "KERNELS", tmp_path)

    def line(text):
        (tmp_path / "gelu.py").write_text(text, encoding="utf-8")
        return compile_table.sources_line()

    first = line("def f(x):\n    return 2 * x\n")
    assert line('def f(x):  # twice\n    """Two\n    times."""\n    return 2*x\n') == first
    assert line("def f(x):\n    return 3 * x\n") != first


def test_another_compiler_is_not_compared(tmp_path):
    write(tmp_path, ROWS)
    text = (tmp_path / "compiled.md").read_text("utf-8").replace(triton.__version__, "3.0.0")
    (tmp_path / "compiled.md").write_text(text, encoding="utf-8")
    compare_with_kept_table(ROWS[1:], "sm_90", "", tmp_path)


CHANGES = {  # file: (what stands there, what shall)
    "attention/tiles.py": ("tile.to(base.dtype.element_ty)", "tile.to(base.dtype.element_tz)"),
    "cross_entropy/tiles.py": ("LOG2E = tl.constexpr(1.4", "LOG2E = tl.constexpr(1.5"),
    "gelu.py": ("BLOCK = 4096", "BLOCK = 2048"),
    "dropout.py": ("def keep_mask", "# Code above the kernel.\ndef keep_mask"),
}


@pytest.fixture(scope="module")
def compiled_again(tmp_path_factory):
    """{module: names of the kernels that are compiled again} after CHANGES and two planted rows."""
    folder = tmp_path_factory.mktemp("changed")
    shutil.copytree(child.ROOT / "kernels" / "minissl_kernels", folder / "minissl_kernels")
    for name, (old, new) in CHANGES.items():
        file = folder / "minissl_kernels" / name
        text = file.read_text("utf-8")
        assert text.count(old) == 1, f"{name} has {old!r} {text.count(old)} times"
        file.write_text(text.replace(old, new), encoding="utf-8")
    rows = read_json(KEPT)
    for row in (row for row in rows if row.module == "adamw" and row.launch == "float32"):
        if row.kernel == "_squares_kernel":
            row.registers -= 1
        else:
            row.hash = row.hash[::-1]
    (folder / "compiled.json").write_text(as_json(rows), encoding="utf-8")
    code = """
        import importlib, json, os
        from pathlib import Path
        from unittest import mock
        from tests.kernels import compile_harness
        from tests.kernels.compile_table import Trust, read_json
        rows = [row for row in read_json(Path("compiled.json").absolute()) if row.target == "sm_90"]
        again = {}
        with mock.patch.object(compile_harness, "compiled_row", lambda row, compile_it: row):
            for name in ("adamw", "attention", "cross_entropy", "dropout", "gelu"):
                module = importlib.import_module(f"tests.kernels.launches_{name}")
                new = compile_harness.rows_of(module, "sm_90", Trust(rows))
                again[name] = [f"{row.launch} {row.kernel}" for row in new if not row.warps]
        print(json.dumps(again))
        """
    code = code.replace("compiled.json", str(folder / "compiled.json"))
    return json.loads(child.run(code, PYTHONPATH=str(folder)))


def rows_for_hopper(module):
    return [row for row in read_json(KEPT) if row.target == "sm_90" and row.module == module]


def test_a_function_in_another_file_is_seen(compiled_again):
    """One letter of ``store_rows``: by the kernels that store rows, and no others."""
    rows = rows_for_hopper("attention")
    names = ("forward_kernel", "query_kernel", "key_value_kernel")
    storing = [row for row in rows if row.kernel in names]
    expected = sorted(f"{row.launch} {row.kernel}" for row in storing)
    assert sorted(compiled_again["attention"]) == expected
    assert 0 < len(storing) < len(rows)


@pytest.mark.parametrize("module", ["cross_entropy", "gelu"])
def test_constants_are_seen(compiled_again, module):
    """One digit of a constant in another file; a block size that the launcher passes."""
    rows = [row for row in rows_for_hopper(module) if row.kernel != "_reduce_kernel"]  # has none
    assert sorted(compiled_again[module]) == sorted(f"{row.launch} {row.kernel}" for row in rows)


def test_a_kernel_that_moved_is_the_same(compiled_again):
    assert compiled_again["dropout"] == []


def test_planted_rows_are_compiled(compiled_again):
    """A number that was changed, though its hash was not, and a wrong hash."""
    assert compiled_again["adamw"] == ["float32 _squares_kernel", "float32 _update_kernel"]
    assert len(rows_for_hopper("adamw")) > 2
