"""``pytest -m gpu``, however it is spelled: compiled kernels, or a sentence that says why not.

The runs have a torch and a launcher of a few lines, so that a GPU can be there and start at once.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from tests.conftest import wants_gpu

ROOT = Path(__file__).parents[1]
FILES = {
    "torch.py": """
        import os
        class cuda:
            is_available = staticmethod(lambda: "GPU" in os.environ)
        """,
    "minissl_kernels/__init__.py": "",
    "minissl_kernels/launch.py": """
        import os
        asked = os.environ.get("TRITON_INTERPRET") == "1"  # once, as triton does
        interpreted = lambda: asked
        """,
    "triton.py": "",
    "pytest.ini": "[pytest]\nmarkers =\n gpu\n slow\n",
    "tests/kernels/conftest.py": "from minissl_kernels.launch import interpreted",
    "tests/kernels/test_tiny.py": """
        import pytest
        from minissl_kernels.launch import interpreted
        @pytest.mark.gpu
        def test_marked():
            print("marked", interpreted())
        def test_plain():
            print("plain", interpreted())
        """,
    "tests/test_other.py": """
        import a_package_that_a_rented_machine_lacks
        """,
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(dedent(text), encoding="utf-8")
    shutil.copy(ROOT / "tests" / "conftest.py", folder / "tests")
    return folder


def pytest_in(folder, *words, main=None, **environment):
    """The output of one run, and its exit status; plugins that are not named would take seconds."""
    environment = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **environment}
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("TRITON", "PYTEST"))}
    command = [sys.executable, "-c", main] if main else [sys.executable, "-m", "pytest", *words]
    run = subprocess.run(
        command, cwd=folder, env={**keep, "PYTHONPATH": str(folder), **environment},
        capture_output=True, encoding="utf-8", timeout=60,
    )  # fmt: skip
    return run.stdout + run.stderr, run.returncode


SPELLINGS = {
    "two words": {"words": ["-m", "gpu"]},
    "one word": {"words": ["-mgpu"]},
    "equals": {"words": ["-m=gpu"]},
    "an expression": {"words": ["-m", "not slow and gpu"]},
    "with other options": {"words": ["-k", "marked or plain", "-qm", "gpu", "tests/kernels"]},
    "the environment": {"words": [], "PYTEST_ADDOPTS": "-m gpu"},
    "a program": {"main": "import pytest, sys; sys.exit(pytest.main(['-m', 'gpu', '-rP']))"},
    "workers": {"words": ["-m", "gpu", "-p", "xdist", "-n", "1"]},
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_runs_compiled_kernels_or_says_why_not(project, spelling):
    options = dict(SPELLINGS[spelling])
    words = [*options.pop("words", ()), "-rP"]
    said, status = pytest_in(project, *words, **options, GPU="1")
    assert "marked False" in said
    assert "plain" not in said
    assert status == 0, said
    said, status = pytest_in(project, *words, **options)
    assert "runs compiled kernels: torch can use no GPU here" in said
    assert "marked" not in said
    assert status == pytest.ExitCode.USAGE_ERROR


def test_the_interpreter_by_wish_is_no_gpu_run(project):
    said, status = pytest_in(project, "-m", "gpu", GPU="1", TRITON_INTERPRET="1")
    assert "unset TRITON_INTERPRET (it is '1')" in said
    assert status == pytest.ExitCode.USAGE_ERROR
    main = "import minissl_kernels.launch, pytest, sys; sys.exit(pytest.main(['-m', 'gpu']))"
    said, status = pytest_in(
        project, main="import os; os.environ['TRITON_INTERPRET'] = '1'; " + main
    )
    assert status == pytest.ExitCode.USAGE_ERROR


@pytest.mark.parametrize("words", [[], ["-m", "not gpu"], ["-k", "gpu or plain"]], ids=str)
def test_all_other_runs_interpret_kernels(project, words):
    said, status = pytest_in(project, *words, "-rP", "tests/kernels", GPU="1")
    assert "plain True" in said
    assert status == 0, said


def test_a_gpu_test_where_it_would_not_be_found_is_an_error(project):
    hidden = project / "tests" / "test_hidden.py"
    hidden.write_text(
        "import pytest\n@getattr(pytest.mark, 'g' + 'pu')\ndef test_it(): pass\n", encoding="utf-8"
    )
    try:
        said, _ = pytest_in(project, "tests/test_hidden.py")
    finally:
        hidden.unlink()
    assert "test_hidden.py::test_it: mark the file" in said


@pytest.mark.parametrize(("expression", "wanted"), [
    ("gpu", True), ("not slow and gpu", True), ("slow and gpu", True), ("gpu or slow", True),
    ("a and not b and gpu", True), ("(gpu)", True), ("not (not gpu)", True),
    ("", False), ("not gpu", False), ("slow", False), ("not slow", False), ("gpus", False),
    ("gpu and", False), ("gpu and not gpu", False), ("gpu or not gpu", False),
])  # fmt: skip
def test_what_an_expression_asks_for(expression, wanted):
    assert wants_gpu(expression) == wanted


BARE = """
import sys
import pytest

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {hidden}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hidden())
sys.exit(pytest.main(["--collect-only", "-q", "-m", "gpu", *{words}]))
"""
ABSENT = {
    "info_nce", "pytorch_metric_learning", "tiktoken", "tokenizers", "transformers", "playwright",
    "jupytext", "nbclient", "sphinx", "myst_nb", "pooch", "sklearn", "scipy", "matplotlib", "PIL",
    "hypothesis", "liger_kernel", "cut_cross_entropy",
}  # fmt: skip


def test_a_bare_machine_finds_every_gpu_test():
    """Without a single oracle package; the tests that need one are skipped when they run."""
    pytest.importorskip("triton")
    found = []
    for hidden in (ABSENT, set()):
        environment = {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        main = BARE.format(hidden=hidden, words=["-p", "pytest_timeout"])
        said, status = pytest_in(ROOT, main=main, **environment)
        assert status == 0, said[-3000:]
        assert "rror" not in said
        found.append(said)
    assert "tests/kernels/test_contrastive_library.py: " in found[0]
    assert found[0] == found[1]
