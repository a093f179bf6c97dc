"""A claim that is stopped loses nothing, and never mixes what was measured in different ways."""

import json
import sys
from dataclasses import replace

import pytest

from minissl.claims import load_claim, origin, run
from minissl.claims.run import redraw_claim, run_claim
from minissl.cli import main
from minissl.demo.demo import run_demo
from tests.claims.toy import TOY, Counting, measure_alone


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def numbers(result):
    """All but times and dates."""
    changing = ("seconds", "cpu_seconds", "spent", "conditions", "command")
    return {name: value for name, value in result.items() if name not in changing}


def stop(folder, at=2, **options):
    stopped = Counting(stop_at=at)
    with pytest.raises(KeyboardInterrupt) as interrupt:
        run_claim(stopped.claim, folder, progress=False, **options)
    return str(interrupt.value)


def test_a_stopped_claim_goes_on_with_the_next_seed(tmp_path):
    said = stop(tmp_path)
    assert "stopped; seed 0, 1 is kept in" in said
    assert f"in {tmp_path}: the same command (without --fresh) goes on with seed 2" in said
    assert list(files(tmp_path)) == ["toy.json.unfinished"]
    again = Counting()
    result = run_claim(again.claim, tmp_path, progress=False)
    assert again.seeds == [2]
    assert result["table"]["truth"]["score"]["values"] == [measure_alone(s) for s in (0, 1, 2)]
    assert numbers(result) == numbers(run_claim(TOY, tmp_path / "whole", progress=False))
    assert sorted(files(tmp_path / "whole")) == ["toy.json", "toy.svg"]
    assert (tmp_path / "toy.svg").read_bytes() == (tmp_path / "whole" / "toy.svg").read_bytes()
    assert len(result["spent"]) == 3
    assert stop(tmp_path / "none", at=0) == "stopped before the first seed was measured"


def test_a_finished_claim_is_loaded_and_more_seeds_are_added(tmp_path, capsys, monkeypatch):
    first = run_claim(TOY, tmp_path, seeds=[3, 1], progress=False)
    today = run.conditions("cpu")
    monkeypatch.setattr(run, "conditions", lambda device: today | {"date": "a year later"})
    again = Counting()
    assert run_claim(again.claim, tmp_path, seeds=[3, 1], progress=False) == first
    assert again.seeds == []
    more = run_claim(again.claim, tmp_path, seeds=[1, 2, 3], progress=True)
    assert "kept from before: seed 1, 3\n" in capsys.readouterr().err
    assert again.seeds == [2]
    assert more["seeds"] == [1, 2, 3]
    assert more["conditions"]["date"] == "a year later" != first["conditions"]["date"]
    assert more["table"]["truth"]["score"]["values"] == [measure_alone(s) for s in (1, 2, 3)]
    anew = Counting()
    assert numbers(run_claim(anew.claim, tmp_path, fresh=True, seeds=[2], progress=False))
    assert anew.seeds == [2]


def test_seeds_that_nobody_asked_for_now_are_not_lost(tmp_path):
    stop(tmp_path)
    run_claim(TOY, tmp_path, seeds=[8], progress=False)
    again = Counting()
    run_claim(again.claim, tmp_path, progress=False)
    assert again.seeds == [2]
    assert sorted(files(tmp_path)) == ["toy.json", "toy.json.unfinished", "toy.svg"]  # with seed 8
    result = run_claim(TOY, tmp_path, seeds=[2, 8], progress=False)
    assert result["table"]["truth"]["score"]["values"] == [measure_alone(2), measure_alone(8)]


def test_an_error_costs_one_seed_as_ctrl_c_does(tmp_path):
    failing = Counting(stop_at=1, error=RuntimeError("diverged"))
    with pytest.raises(RuntimeError, match="diverged"):
        run_claim(failing.claim, tmp_path, progress=False)
    again = Counting()
    run_claim(again.claim, tmp_path, progress=False)
    assert again.seeds == [1, 2]


@pytest.mark.parametrize("change", ["scale", "settings", "sources", "machine"])
def test_what_was_measured_in_another_way_is_never_mixed_in(tmp_path, monkeypatch, change):
    run_claim(TOY, tmp_path, seeds=[5], progress=False)
    stop(tmp_path, at=1)
    options, claim, expected = {}, Counting(), "gap: 2, now 3"
    if change == "scale":
        options, expected = {"scale": "full"}, "scale: 'small', now 'full'; settings.gap: 2, now"
    elif change == "settings":
        claim.claim = replace(claim.claim, scales={"small": {"gap": 3}})
    elif change == "sources":
        monkeypatch.setattr(origin, "library_digest", lambda device: "of another library")
        expected = "sources: '"
    else:
        old = run.conditions("cpu")
        monkeypatch.setattr(run, "conditions", lambda device: old | {"python": "3.99"})
        expected = "python: "
    before = files(tmp_path)
    with pytest.raises(ValueError, match=r"toy.json.unfinished has seed 0 of a claim") as error:
        run_claim(claim.claim, tmp_path, progress=False, **options)
    assert expected in str(error.value)
    assert "Finish it (python -m minissl claim toy), give another --out, or" in str(error.value)
    assert (files(tmp_path), claim.seeds) == (before, [])
    run_claim(claim.claim, tmp_path, progress=False, fresh=True, **options)
    assert claim.seeds == [0, 1, 2]
    assert sorted(files(tmp_path)) == ["toy.json", "toy.svg"]


def test_a_finished_result_of_another_scale_is_replaced_when_the_new_one_is_complete(tmp_path):
    run_claim(TOY, tmp_path, progress=False)
    old = files(tmp_path)
    stop(tmp_path, scale="full")
    assert {**files(tmp_path), **old} == files(tmp_path)
    assert run_claim(TOY, tmp_path, scale="full", progress=False)["settings"] == {"gap": 0.5}
    assert sorted(files(tmp_path)) == ["toy.json", "toy.svg"]


def test_the_sources_are_all_that_numbers_depend_on(tmp_path, monkeypatch):
    package = tmp_path / "minissl"
    for name in ("nn/module.py", "claims/claim.py", "claims/experiments/other.py", "cli/claim.py"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(f"# {name}", encoding="utf-8")
    monkeypatch.setattr(origin, "PACKAGE", package)

    def digests():
        origin.library_digest.cache_clear()
        return origin.library_digest("cpu"), origin.claim_digest(TOY, "cpu")

    elsewhere = replace(TOY, measure=load_claim("subwords").measure)
    assert origin.claim_digest(elsewhere, "cpu") != origin.claim_digest(TOY, "cpu")
    first = digests()
    (package / "cli/claim.py").write_text("# other words", encoding="utf-8")
    (package / "claims/experiments/other.py").write_text("# another claim", encoding="utf-8")
    assert digests() == first
    (package / "claims/claim.py").write_text("# what claims share", encoding="utf-8")
    library, claim = digests()
    assert library == first[0]
    assert claim != first[1]
    (package / "nn/module.py").write_text("# another library", encoding="utf-8")
    assert not {*digests()} & {library, claim}
    assert origin.library_digest("cuda") != origin.library_digest("cpu")  # the kernels are in it
    origin.library_digest.cache_clear()


# ---- files that are none ------------------------------------------------------------------------

WHOLE = {"name": "toy", "seeds": [0], "table": {"a": {"x": {"values": [1]}}}, "curves": [{}]}
WHOLE |= {"command": "", "scale": "", "device": "", "seconds": 0, "cpu_seconds": 0.5}
WHOLE |= {"settings": {}, "conditions": dict.fromkeys(("date", "processor", "cores", "python"), "")}
WHOLE["conditions"]["packages"] = {}
DAMAGED = {
    "empty": b"",
    "cut off": b'{"name": "to',
    "a list": b"[1, 2]",
    "nothing in it": b"{}",
    "no text": b"\xff\xfe",
    "deep": b"[" * 100_000,
    "of another claim": json.dumps({**WHOLE, "name": "other"}).encode(),
    "no numbers": json.dumps({**WHOLE, "table": {"a": {"x": 3}}}).encode(),
    "too few numbers": json.dumps({**WHOLE, "seeds": [0, 1]}).encode(),
    "no numbers in it": json.dumps({**WHOLE, "table": {"a": {"x": {"values": ["1"]}}}}).encode(),
    "no conditions": json.dumps({**WHOLE, "conditions": {}}).encode(),
    "seeds that are none": json.dumps({**WHOLE, "seeds": [True]}).encode(),
    "sources that are none": json.dumps({**WHOLE, "sources": 3}).encode(),
    "no seed": json.dumps({**WHOLE, "seeds": []}).encode(),
    "seconds that are none": json.dumps({**WHOLE, "spent": [["a", 1]]}).encode(),
    "a curve of two lengths": json.dumps({**WHOLE, "curves": [{"path": [[1], []]}]}).encode(),
    "a curve of one axis": json.dumps({**WHOLE, "curves": [{"path": [[1]]}]}).encode(),
}


@pytest.mark.parametrize("damage", DAMAGED)
@pytest.mark.parametrize("name", ["toy.json", "toy.json.unfinished"])
def test_a_damaged_or_foreign_file_is_named_and_left_alone(tmp_path, damage, name):
    path = tmp_path / name
    path.write_bytes(DAMAGED[damage])
    counting = Counting()
    with pytest.raises(ValueError, match=f"{name} cannot be read as a result of the claim toy: "):
        run_claim(counting.claim, tmp_path, progress=False)
    if name == "toy.json":
        with pytest.raises(ValueError, match=r"result of the claim toy: .* --fresh"):
            redraw_claim(TOY, tmp_path)
    assert (files(tmp_path), counting.seeds) == ({name: DAMAGED[damage]}, [])
    run_claim(counting.claim, tmp_path, progress=False, fresh=True)
    assert sorted(files(tmp_path)) == ["toy.json", "toy.svg"]


def test_the_file_that_the_damaged_ones_were_made_of_is_whole(tmp_path):
    (tmp_path / "toy.json").write_text(json.dumps(WHOLE), encoding="utf-8")
    assert list(run._seeds(run._read(TOY, tmp_path / "toy.json"))) == [0]


# ---- before the first seed ----------------------------------------------------------------------


@pytest.mark.parametrize("package", ["matplotlib", "sklearn"])
def test_missing_packages_are_said_first_with_what_to_install(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    counting = Counting()
    needs = replace(counting.claim, packages=["sklearn"])
    expected = rf'needs {package}, which cannot be imported .*: pip install "minissl\[demo\]"'
    with pytest.raises(ImportError, match=expected):
        run_claim(needs, tmp_path / "claims", progress=False)
    with pytest.raises(ImportError, match=expected):
        run_demo(tmp_path / "demo", quick=True, progress=False)
    assert counting.seeds == []
    assert not list(tmp_path.iterdir())
    if package == "matplotlib":
        with pytest.raises(ImportError, match=expected):
            redraw_claim(TOY, tmp_path)


def test_a_place_that_cannot_be_written_is_noticed_first(tmp_path):
    (tmp_path / "a file").write_text("", encoding="utf-8")
    counting = Counting()
    with pytest.raises(OSError, match="a file"):
        run_claim(counting.claim, tmp_path / "a file", progress=False)
    (tmp_path / "toy.json").mkdir()
    with pytest.raises(IsADirectoryError, match=r"toy\.json is a folder"):
        run_claim(counting.claim, tmp_path, progress=False)
    assert counting.seeds == []


def test_the_command_goes_on_and_begins_anew(tmp_path, monkeypatch, capsys):
    counting = Counting(stop_at=2)
    monkeypatch.setattr("minissl.claims.load_claim", lambda name: counting.claim)
    call = ["claim", "toy", "--out", str(tmp_path), "--quiet"]
    assert main(call) == 130
    assert "stopped; seed 0, 1 is kept in" in capsys.readouterr().err
    counting.stop_at = None
    assert main(call) == 0
    assert counting.seeds == [0, 1, 2]
    assert main(call) == 0
    assert counting.seeds == [0, 1, 2]
    assert main([*call, "--fresh"]) == 0
    assert counting.seeds == [0, 1, 2, 0, 1, 2]
