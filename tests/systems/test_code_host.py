"""For a code host: the workflow calls what there is, and CITATION.cff says the version."""

import json
import re
import tomllib
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")  # jupytext brings it

ROOT = Path(__file__).parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOW = (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
JOBS = yaml.safe_load(WORKFLOW)["jobs"]
STEPS = [step for job in JOBS.values() for step in job["steps"]]
CREATE = (ROOT / ".devcontainer" / "create.sh").read_text(encoding="utf-8")


def test_three_systems_and_two_pythons():
    systems, pythons = set(), set()
    for job in JOBS.values():
        matrix = job["strategy"]["matrix"]
        systems |= {*matrix.get("system", [job["runs-on"]])}
        pythons |= {*matrix.get("python", [])}
        assert job["timeout-minutes"] <= 60
        assert not job["strategy"]["fail-fast"]
    assert {system.partition("-")[0] for system in systems} == {"ubuntu", "macos", "windows"}
    oldest = PROJECT["requires-python"].removeprefix(">=")
    assert len(pythons) == 2
    assert oldest in pythons


def test_nobody_may_write_and_actions_are_pinned():
    assert yaml.safe_load(WORKFLOW)["permissions"] == {"contents": "read"}
    used = [step["uses"] for step in STEPS if "uses" in step]
    assert used
    assert all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", action) for action in used)


def test_what_is_called_is_there():
    """Targets of make, extras of the package, commands of minissl."""
    calls = "\n".join([*(step.get("run", "") for step in STEPS), CREATE])
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^ *(?:- run: )?make (\S+)", calls, flags=re.MULTILINE)
    assert {"lint", "test"} <= {*targets}
    for target in targets:
        name = target.replace(".venv/", "$(VENV)/").replace("$(VENV)/bin/", "$(BIN)/")
        assert re.search(rf"^(.* )?{re.escape(name)}\b.*:", makefile, re.MULTILINE), target
    extras = re.findall(r"\[(\w+)\]", calls)
    assert extras
    assert {*extras} <= PROJECT["optional-dependencies"].keys()
    for command in re.findall(r"^minissl (\w+)", calls, flags=re.MULTILINE):
        assert (ROOT / "minissl" / "cli" / f"{command}.py").is_file()


def test_the_devcontainer_calls_its_script():
    about = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    assert (ROOT / about["onCreateCommand"].removeprefix("bash ")).is_file()


def test_the_citation_is_of_this_version():
    about = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (about["version"], about["license"]) == (PROJECT["version"], PROJECT["license"])
    assert about["authors"] == PROJECT["authors"]
    assert "url" not in about
    assert "repository-code" not in about
