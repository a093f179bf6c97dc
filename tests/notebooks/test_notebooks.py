"""Every notebook is in step with its source and runs from top to bottom."""

import base64
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from docs.site import notebooks, published
from docs.site.notebooks import NotebookFailed, convert, executed, sources
from docs.site.python_source import ROOT

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


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_is_shown_with_outputs_of_these_cells(source):
    again = "make notebooks EXECUTED=1"
    path = published.FOLDER / f"{source.stem}.ipynb"
    assert path.is_file(), f"{path.name} with outputs is missing: {again}"
    text = path.read_text("utf-8")
    shown, cells = json.loads(text)["cells"], json.loads(convert(source))["cells"]
    note = "".join(shown[0]["source"])
    assert re.search(r"outputs, as they were on 20\d\d-\d\d-\d\d \(Python 3\.", note)
    assert f"(../{source.stem}.ipynb)" in note
    assert [c["source"] for c in shown[1:]] == [c["source"] for c in cells], f"stale: {again}"
    outputs = [out for cell in shown for out in cell.get("outputs", ())]
    pictures = [kind for out in outputs for kind in out.get("data", ()) if "image" in kind]
    assert set(pictures) == {"image/png"}  # not every host shows SVG
    said = json.dumps(outputs)
    assert not re.search(r"(?<![\w.])/(tmp|root|home|Users|var)/|[A-Z]:\\\\", said)


def test_all_that_is_shown_is_small():
    sizes = [path.stat().st_size for path in published.FOLDER.iterdir()]
    assert sum(sizes) < 4_000_000


def test_no_notebook_without_a_source():
    for folder in (notebooks.FOLDER, published.FOLDER):
        assert {path.stem for path in folder.glob("*.ipynb")} == {s.stem for s in SOURCES}


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "99_small.py"
    path.write_text("# %% [markdown]\n# # Small\n\n# %%\nanswer = 6 * 7\nanswer\n", "utf-8")
    return path


def test_conversion_is_the_same_bytes_without_outputs(source):
    first = convert(source)
    assert convert(source) == first
    cells = json.loads(first)["cells"]
    assert [cell["cell_type"] for cell in cells] == ["markdown", "code", "code"]
    assert "".join(cells[1]["source"]) == notebooks.INSTALL.replace("EXTRAS", "demo")
    assert "".join(cells[2]["source"]) == "answer = 6 * 7\nanswer"
    assert cells[2]["outputs"] == []
    assert cells[2]["execution_count"] is None


@pytest.fixture
def install(tmp_path):
    """Runs the first code cell in a folder, with a pip that only writes down what it is asked."""
    pip = tmp_path / "path" / "pip"
    pip.mkdir(parents=True)
    said = "import pathlib, sys\npathlib.Path('asked.txt').write_text(' '.join(sys.argv[1:]))\n"
    (pip / "__init__.py").touch()
    (pip / "__main__.py").write_text(said, "utf-8")
    folder = tmp_path / "work"
    folder.mkdir()

    def run(cell, known=""):
        # -S: without the environment's packages, so without the minissl that is installed here
        path = os.pathsep.join(map(str, (pip.parent, known)))
        env = {**os.environ, "PYTHONPATH": path}
        command = [sys.executable, "-S", "-c", cell]
        ran = subprocess.run(command, cwd=folder, env=env, capture_output=True, encoding="utf-8")
        asked = folder / "asked.txt"
        return ran, asked.read_text("utf-8") if asked.is_file() else None

    return folder, run


def test_the_first_cell_installs_from_a_wheel_or_says_how_to_get_one(install):
    folder, run = install
    cell = first_code_cell(notebooks.FOLDER / "07_kernels.py")
    ran, asked = run(cell)
    assert asked is None
    assert "ModuleNotFoundError: minissl is not installed, and no minissl-*.whl lies" in ran.stderr
    assert "'pip wheel . --no-deps' makes one: upload it, run this again." in ran.stderr
    for version in ("0.9.0", "0.10.0"):
        (folder / f"minissl-{version}-py3-none-any.whl").touch()
        os.utime(folder / f"minissl-{version}-py3-none-any.whl", (1, 1))
    os.utime(folder / "minissl-0.10.0-py3-none-any.whl", (2, 2))
    ran, asked = run(cell)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert asked == "install -q ./minissl-0.10.0-py3-none-any.whl[demo,kernels]"


def test_the_first_cell_does_nothing_where_minissl_is(install):
    folder, run = install
    (folder / "minissl-1.0-py3-none-any.whl").touch()
    ran, asked = run(first_code_cell(SOURCES[0]), known=ROOT)
    assert (ran.returncode, ran.stdout, ran.stderr, asked) == (0, "", "", None)


def first_code_cell(source):
    cells = json.loads(convert(source))["cells"]
    return "".join(next(cell for cell in cells if cell["cell_type"] == "code")["source"])


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_first_cell_brings_what_the_notebook_imports(source):
    """Only lecture 07's cells have torch, and only the extra `kernels` has it."""
    wanted = "[demo,kernels]" if "torch" in source.read_text("utf-8") else "[demo]"
    assert f'{{wheels[-1]}}{wanted}"]' in first_code_cell(source)


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


def test_a_shown_notebook_keeps_its_date_while_nothing_changes(source, tmp_path):
    text = published.publish(executed(source, tmp_path / "kept"))
    cells = json.loads(text)["cells"]
    assert [c.get("outputs", [{}])[0].get("data") for c in cells[3:]] == [{"text/plain": ["42"]}]
    path = tmp_path / "99_small.ipynb"
    assert not published.same(text, path)
    path.write_text(text.replace("as they were on 20", "as they were on 19"), "utf-8")
    assert published.same(text, path)
    assert not published.same(text.replace('"42"', '"43"'), path)


def test_shown_pictures_look_as_they_did_and_are_smaller():
    """A photograph-like picture may lose colours that nobody sees, a drawing none."""
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(4, 3))
    axis = figure.subplots()
    axis.plot([0, 1, 3], color="#c2452d")
    axis.imshow(np.linspace(0, 3, 4096).reshape(64, 64), extent=(0, 1, 0, 1))
    file = io.BytesIO()
    figure.savefig(file, format="png")
    output = _output({"image/png": base64.b64encode(file.getvalue()).decode()})
    published._shrink(output)
    small = base64.b64decode(output.data["image/png"])
    assert len(small) < 0.7 * len(file.getvalue())
    before, after = (np.asarray(Image.open(io.BytesIO(b)).convert("RGB"), float)
                     for b in (file.getvalue(), small))  # fmt: skip
    assert before.shape == after.shape
    assert np.abs(before - after).mean() < 1


def test_a_graph_is_shown_as_it_is_drawn():
    """Boxes, letters and arrows lie where the SVG says, in its colours."""
    from minissl.autograd import Tensor
    from minissl.autograd.graph import to_svg

    svg = to_svg(Tensor(1.0, requires_grad=True) * 2)
    picture = published.draw(svg)
    boxes = re.findall(
        r'<rect x="(\d+)" y="(\d+)" width="(\d+)" height="(\d+)".*?fill="(#\w+)"', svg
    )
    assert len(boxes) == 2
    for x, y, width, height, color in boxes:
        corner = 2 * (int(x) + 8), 2 * (int(y) + 3)
        assert "#{:02x}{:02x}{:02x}".format(*picture.getpixel(corner)) == color
        inside = np.asarray(picture)[2 * int(y) : 2 * (int(y) + int(height)),
                                     2 * int(x) : 2 * (int(x) + int(width))]  # fmt: skip
        assert 0.005 < (inside.sum(-1) < 300).mean() < 0.2  # letters
    assert picture.getpixel((1, 1)) == (255, 255, 255)
    output = _output({"image/svg+xml": svg, "text/plain": "Tensor"})
    published._shrink(output)
    assert sorted(output.data) == ["image/png", "text/plain"]
    sizes = re.search(r'width="(\d+)" height="(\d+)"', svg)
    assert output.metadata["image/png"] == {"width": int(sizes[1]), "height": int(sizes[2])}


def _output(data):
    import nbformat

    return nbformat.v4.new_output("display_data", data)
