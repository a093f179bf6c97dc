"""Every notebook is in step with its source and runs from top to bottom."""

import json
from pathlib import Path

import pytest

from docs.site import notebooks
from docs.site.notebooks import NotebookFailed, convert, executed, sources

SOURCES = sources()
# Of the libraries that start a kernel, not of ours.
pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.timeout(600)]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_runs(source):
    ran = json.loads(executed(source).read_text("utf-8"))
    assert ran["metadata"]["minissl"]["seconds"] < notebooks.SECONDS
    outputs = [out for cell in ran["cells"] for out in cell.get("outputs", ())]
    kinds = [kind for out in outputs for kind in out.get("data", ())]
    pictures = sum(kind.startswith("image/") for kind in kinds)
    assert pictures > 0, f"{source.name} shows no picture"
    texts = ["".join(out.get("data", {}).get("text/plain", "")) for out in outputs]
    bare = [text for text, out in zip(texts, outputs) if len(out.get("data", ())) == 1]
    lost = [text for text in bare if text.startswith("<Figure")]
    assert not lost, f"{lost} is no picture: put '# %matplotlib inline' before the first figure"
    assert "stderr" not in [out.get("name") for out in outputs], "a warning, or a progress bar"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_lets_the_student_play(source):
    text = source.read_text("utf-8")
    assert "change this and run again" in text.lower()
    headings = [line for line in text.splitlines() if line.startswith("# ## ")]
    assert headings[-1].lower() == "# ## now try"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_is_in_step_with_its_source(source):
    kept = source.with_suffix(".ipynb")
    assert kept.is_file(), f"{kept.name} is missing: make notebooks"
    assert kept.read_text("utf-8") == convert(source), f"{kept.name} is stale: make notebooks"


def test_no_notebook_without_a_source():
    assert {path.stem for path in notebooks.FOLDER.glob("*.ipynb")} == {s.stem for s in SOURCES}


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "99_small.py"
    path.write_text("# %% [markdown]\n# # Small\n\n# %%\nanswer = 6 * 7\nanswer\n", "utf-8")
    return path


def test_conversion_is_the_same_bytes_without_outputs(source):
    first = convert(source)
    assert convert(source) == first
    cells = json.loads(first)["cells"]
    assert [cell["cell_type"] for cell in cells] == ["markdown", "code"]
    assert "".join(cells[1]["source"]) == "answer = 6 * 7\nanswer"
    assert cells[1]["outputs"] == []
    assert cells[1]["execution_count"] is None


def test_a_kept_notebook_is_not_run_again(source, tmp_path, monkeypatch):
    runs = []
    monkeypatch.setattr(notebooks, "run", lambda path: runs.append(path) or "{}")
    kept = tmp_path / "kept"
    first = executed(source, kept)
    assert executed(source, kept) == first
    assert len(runs) == 1
    source.write_text(source.read_text("utf-8") + "# more\n", "utf-8")
    second = executed(source, kept)
    assert len(runs) == 2
    assert list(kept.glob("*.ipynb")) == [second]
    monkeypatch.setattr(notebooks, "library_digest", lambda: b"the library has changed")
    assert executed(source, kept) != second


def test_a_failure_names_the_cell_and_the_exception(source, tmp_path):
    text = source.read_text("utf-8") + "\n# %%\nprint('before')\nanswer / 0\n\n# %%\nlast = 1\n"
    source.write_text(text, "utf-8")
    with pytest.raises(NotebookFailed) as failure:
        executed(source, tmp_path / "kept")
    message = str(failure.value)
    assert message.startswith("99_small.py failed in this cell:\n\nprint('before')\nanswer / 0\n")
    assert "ZeroDivisionError: division by zero" in message
    assert "\x1b" not in message
    assert "last = 1" not in message
    assert not list((tmp_path / "kept").glob("*.ipynb"))


def test_runs_in_a_folder_of_its_own_with_one_thread(source, tmp_path):
    source.write_text(
        "# %%\nimport os, pathlib\n"
        "assert os.environ['OPENBLAS_NUM_THREADS'] == '1'\n"
        "pathlib.Path('litter.txt').write_text('x')\n",
        "utf-8",
    )
    ran = json.loads(Path(executed(source, tmp_path / "kept")).read_text("utf-8"))
    assert 0 < ran["metadata"]["minissl"]["seconds"] < 60
    assert not list(tmp_path.rglob("litter.txt"))
    assert not Path("litter.txt").exists()
