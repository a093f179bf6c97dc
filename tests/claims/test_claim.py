"""How claims are judged and kept: verdicts by hand, files that are whole, errors that help."""

import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, fields, replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from minissl.claims import claim_names, experiments, load_claim, report
from minissl.claims import run as running
from minissl.claims.claim import Cell, Expectation, Setup, ahead, chosen
from minissl.claims.report import judge, summary, to_markdown, verdict
from minissl.claims.run import redraw_claim, run_claim
from minissl.cli import main
from minissl.figures import new_figure
from minissl.options import Options, option
from tests.claims.toy import LIE, TOY, TRUTH, measure, measure_alone

KEPT = Path(__file__).resolve().parents[2] / "lectures" / "claims"

# ---- the verdict --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("differences", "margin", "held", "reproduced"),
    [
        ([2, 3, 4], 3, 3, True),  # the mean is the margin
        ([2, 3, 4], 3.01, 3, False),  # the mean misses it
        ([9, 9, -0.1], 3, 2, False),  # one seed has the wrong sign
        ([9, 9, 0], 3, 2, False),  # no difference is not the right sign
        ([1, 1, 7], 3, 3, True),  # single seeds may miss the margin
        ([0.0], 0, 1, True),  # nothing was asked
    ],
)
def test_reproduced_means_the_margin_on_average_and_the_sign_with_every_seed(
    differences, margin, held, reproduced
):
    tables = [{"truth": {"score": 1 + d}, "lie": {"score": 1}} for d in differences]
    judged = judge(Expectation(TRUTH, LIE, margin), tables)
    assert judged["differences"] == pytest.approx(differences)
    assert judged["mean"] == judged["seen"] == pytest.approx(np.mean(differences))
    assert (judged["held"], judged["reproduced"]) == (held, reproduced)


def test_an_expectation_can_be_about_a_number():
    tables = [{"truth": {"score": score}} for score in (4.0, 6.0)]
    at_least = Expectation(TRUTH, 3.0, 2.0)  # 5 or more, on average
    at_most = Expectation(7.0, TRUTH, 1.0)  # 6 or less
    assert judge(at_least, tables)["differences"] == [1.0, 3.0]
    assert judge(at_least, tables)["reproduced"]
    assert judge(at_most, tables)["differences"] == [3.0, 1.0]
    assert judge(at_most, tables)["seen"] == judge(at_least, tables)["seen"] == 5.0
    assert not judge(replace(at_most, margin=2.5), tables)["reproduced"]


@pytest.mark.parametrize(
    ("expectation", "text"),
    [
        (ahead("a", "b", "c", 2), "c: a exceeds b by at least 2"),
        (Expectation(Cell("a", "c"), Cell("a", "d"), 0.5), "a: c exceeds d by at least 0.5"),
        (Expectation(Cell("a", "c"), Cell("b", "d"), 1), "c of a exceeds d of b by at least 1"),
        (Expectation(Cell("a", "c"), 3.0, 1.5), "c of a is at least 4.5"),
        (Expectation(3.0, Cell("a", "c"), 0.5, "for once"), "c of a is at most 2.5 (for once)"),
    ],
)
def test_an_expectation_says_what_it_asks(expectation, text):
    assert str(expectation) == text


def test_a_verdict_is_one_for_all_expectations():
    def result(scale, *reproduced):
        return {"scale": scale, "expectations": [{"reproduced": r} for r in reproduced]}

    assert verdict(result("small", True, True)) == "reproduced"
    assert verdict(result("small", True, False)).startswith("reproduced in part at this scale (1")
    assert verdict(result("full", False, False)).startswith("not reproduced at this scale (0 of 2")
    assert "proves nothing" in verdict(result("quick", True, True))


def test_the_spread_is_over_the_seeds():
    cells = summary([{"a": {"x": 1, "y": 5}}, {"a": {"x": 4, "y": 5}}, {"a": {"x": 1, "y": 5}}])
    assert cells["a"]["x"] == {"mean": 2, "low": 1, "high": 4, "values": [1, 4, 1]}
    with pytest.raises(ValueError, match=r"different things: \[\('a', 'z'\)\]"):
        summary([{"a": {"x": 1}}, {"a": {"x": 1, "z": 2}}])
    with pytest.raises(ValueError, match=r"x of a is \[1, nan\]: expected finite"):
        summary([{"a": {"x": 1}}, {"a": {"x": float("nan")}}])
    with pytest.raises(KeyError, match="no 'score' of 'lie'; it has"):
        judge(Expectation(TRUTH, LIE, 1), [{"truth": {"score": 1.0}}])


# ---- settings -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Size(Options):
    width: int = option(3, "of the toy", least=1)
    depth: int = option(5, "of the toy", least=1)


def test_settings_are_defaults_then_the_scale_then_the_changes():
    setup = Setup(0, {"width": 7, "draws": 2})
    assert chosen(Size, Setup(0, {})) == Size(width=3, depth=5)
    assert chosen(Size, setup) == Size(width=7, depth=5)
    assert chosen(Size, setup, width=9, depth=1) == Size(width=9, depth=1)
    with pytest.raises(ValueError, match="Size has no setting heigth; it has depth, width"):
        chosen(Size, setup, heigth=2)
    with pytest.raises(ValueError, match="no setting draws"):  # though the scale has it
        chosen(Size, setup, draws=2)
    with pytest.raises(ValueError, match="width must be a whole number ≥ 1, got 0"):
        chosen(Size, Setup(0, {"width": 0}))


@pytest.mark.parametrize("name", claim_names())
def test_no_scale_has_a_name_that_nobody_reads(name):
    claim = load_claim(name)
    for scale, settings in claim.scales.items():
        typo = {**claim.scales, scale: {**settings, "stesp": 3}}
        with pytest.raises(ValueError, match=f"{name}, scale {scale}: nobody reads stesp; there"):
            replace(claim, scales=typo)
    read = {name for settings in claim.scales.values() for name in settings}
    assert {*claim.own} <= read  # and none is declared for nothing
    assert not {*claim.own} & {one.name for kind in claim.settings for one in fields(kind)}


# ---- what is kept -------------------------------------------------------------------------------


def test_a_run_writes_what_it_returns(tmp_path):
    result = run_claim(TOY, tmp_path / "new", progress=False)
    assert json.loads((tmp_path / "new" / "toy.json").read_text(encoding="utf-8")) == result
    assert ElementTree.parse(tmp_path / "new" / "toy.svg").getroot().tag.endswith("svg")
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["toy.json", "toy.svg"]
    assert result["table"]["truth"]["score"]["values"] == [
        measure_alone(seed) for seed in (0, 1, 2)
    ]
    assert result["curves"][1]["path"][0] == [0, 1]
    assert result["settings"] == {"gap": 2}
    assert result["conditions"]["packages"]["numpy"] == np.__version__
    assert verdict(result) == "reproduced"
    assert verdict(run_claim(TOY, tmp_path, scale="full", progress=False)).startswith("not")


def test_the_same_seeds_give_the_same_numbers_and_the_same_picture(tmp_path):
    seeds = [5, 3]
    first, second, other = (
        run_claim(TOY, tmp_path / name, seeds=s, progress=False)
        for name, s in (("1", seeds), ("2", seeds), ("3", [5, 4]))
    )
    assert first["table"] == second["table"] != other["table"]
    pictures = [(tmp_path / name / "toy.svg").read_bytes() for name in "123"]
    assert pictures[0] == pictures[1] != pictures[2]


def test_a_run_that_fails_leaves_the_old_result(tmp_path):
    run_claim(TOY, tmp_path, progress=False)
    old = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def once(setup):
        return measure(setup) if setup.seed == 0 else fail()

    with pytest.raises(RuntimeError, match="broke"):
        run_claim(replace(TOY, measure=once), tmp_path, scale="full", progress=False)
    assert {path: path.read_bytes() for path in old} == old


def fail(*_):
    raise RuntimeError("the experiment broke")


def test_a_figure_that_fails_costs_no_numbers(tmp_path):
    run_claim(TOY, tmp_path, seeds=[7], progress=False)
    with pytest.raises(RuntimeError, match="broke"):
        run_claim(replace(TOY, figure=fail), tmp_path, progress=False)
    with pytest.raises(ValueError, match=r"toy.json lacks 'loss', which the figure shows"):
        run_claim(replace(TOY, figure=lambda m, s: m[0].curves["loss"]), tmp_path, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["toy.json"]  # no picture of seed 7
    found = redraw_claim(replace(TOY, measure=fail), tmp_path)
    assert found["table"]["truth"]["score"]["values"] == [measure_alone(seed) for seed in (0, 1, 2)]
    assert (tmp_path / "toy.svg").exists()


def test_all_files_are_replaced_durably(tmp_path, monkeypatch):
    replaced = []
    monkeypatch.setattr(running, "replace_durably", lambda path, data: replaced.append(path.name))
    run_claim(TOY, tmp_path, progress=False)
    assert replaced == [*["toy.json.unfinished"] * 3, "toy.json", "toy.svg"]
    assert not list(tmp_path.iterdir())  # nothing is written in another way


def test_kept_numbers_can_be_judged_and_drawn_once_more(tmp_path):
    kept = run_claim(TOY, tmp_path, seeds=[4, 9], progress=False)
    picture = (tmp_path / "toy.svg").read_bytes()
    assert redraw_claim(TOY, tmp_path) == kept
    assert (tmp_path / "toy.svg").read_bytes() == picture

    def never(setup):
        raise AssertionError("nothing is to be run")

    stricter = replace(
        TOY, measure=never, about="Other words.", expectations=(Expectation(TRUTH, LIE, 50),)
    )
    again = redraw_claim(stricter, tmp_path)
    assert again["table"] == kept["table"]
    assert again["conditions"] == kept["conditions"]
    assert again["about"] == "Other words."
    assert not again["expectations"][0]["reproduced"]
    with pytest.raises(FileNotFoundError, match="run the claim first"):
        redraw_claim(TOY, tmp_path / "elsewhere")


def test_what_cannot_be_run(tmp_path):
    with pytest.raises(ValueError, match="scale must be one of quick, small, full, got 'huge'"):
        run_claim(TOY, tmp_path, scale="huge", progress=False)
    for seeds in ([], [1, 1]):
        with pytest.raises(ValueError, match="one or more different seeds"):
            run_claim(TOY, tmp_path, seeds=seeds, progress=False)
    assert not list(tmp_path.iterdir())


# ---- what a person reads ------------------------------------------------------------------------


@pytest.fixture
def result(tmp_path):
    return run_claim(TOY, tmp_path, progress=False)


def test_claim_and_verdict_come_first_then_table_expectations_and_command(result):
    text = to_markdown(result)
    assert text.startswith("**Claim.** Truth scores more.\n\n**Verdict: reproduced.**\n")
    header, _, truth, lie = text.splitlines()[4:8]
    assert [cell.strip() for cell in header.strip("|").split("|")] == ["who", "score", "length"]
    low, high = (f"{x(map(measure_alone, range(3))):.2f}" for x in (min, max))
    assert re.search(rf"\| truth +\| 2\.\d\d \({low} to {high}\) +\| 3 +\|", truth)
    assert lie.rstrip("| ").endswith(")")  # it has no length: the cell is empty
    row = r"\| score: truth exceeds lie by at least 1 \(it is true\) +\| 2\.1\d? +\| 3 of 3 +\| he"
    assert re.search(row, text)
    assert "\nMade for the tests.\n" in text
    assert "`python -m minissl claim toy`: scale small, seeds 0, 1, 2; " in text
    assert "did not hold" not in text
    result["table"] = {"half": {"length": result["table"]["truth"]["length"]}} | result["table"]
    assert "| who   | score " in to_markdown(result)  # the fullest row orders the columns
    result["expectations"][0]["reproduced"] = False
    assert "**did not hold**" in to_markdown(result)


def test_what_was_seen_is_said_of_the_run_that_saw_it(result):
    result["about"] = "Made for the tests. Seen: images; unseen: none. Seen: truth is far ahead."
    text = to_markdown(result)
    assert "\nMade for the tests. Seen: images; unseen: none.\n" in text
    assert "\nWhat we saw in the run that is kept with the lectures: truth is far ahead.\n" in text


def test_on_a_shared_machine_the_cost_is_the_processors_time(result):
    result |= {"seconds": 1000.0, "cpu_seconds": 240.0}
    assert "; 4 min of processor time; the machine was shared, cpu;" in to_markdown(result)
    result |= {"seconds": 80.0, "cpu_seconds": 75.0}
    assert "; 80 s, cpu;" in to_markdown(result)
    result |= {"seconds": 1000.0, "cpu_seconds": 40.0, "device": "cuda:0"}
    result["conditions"]["gpu"] = "GPU of the tests"
    assert "; 17 min, cuda:0; GPU of the tests, " in to_markdown(result)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("toy", "small", [0, 1, 2], "cpu"), ""),
        (
            ("toy", "full", [4, 5], "cuda:0"),
            " --scale full --seeds 4 5 --device cuda:0",
        ),
    ],
)
def test_the_command_does_it_again(arguments, expected):
    assert report.command(*arguments) == f"python -m minissl claim toy{expected}"


# ---- the command --------------------------------------------------------------------------------


def test_every_claim_is_listed_and_complete(capsys):
    assert main(["claim", "--list"]) == 0
    listed = capsys.readouterr().out
    for name in claim_names():
        claim = load_claim(name)
        assert claim.name == name
        assert f"{name}  (lecture {claim.lecture})\n    {claim.statement}\n" in listed
        assert list(claim.scales) == ["quick", "small", "full"]
        assert claim.expectations
        for expectation in claim.expectations:
            between_cells = isinstance(expectation.larger, Cell)
            between_cells = between_cells and isinstance(expectation.smaller, Cell)
            assert expectation.margin > 0 or (expectation.margin == 0 and not between_cells)
    assert listed.index("segmentation  (") < listed.index("causal  (") < listed.index("collapse  (")
    assert {"collapse", "few-labels", "augmentation", "projection-head"} <= set(claim_names())


@pytest.mark.parametrize("kept", sorted(KEPT.glob("*.json")), ids=lambda path: path.stem)
def test_what_the_lectures_show_is_what_the_claim_says_today(kept, tmp_path):
    """`minissl claim NAME --redraw --out lectures/claims` mends words; numbers are run again."""
    claim, result = load_claim(kept.stem), json.loads(kept.read_bytes())
    (tmp_path / kept.name).write_bytes(kept.read_bytes())
    drawn_elsewhere = replace(claim, figure=lambda *_: new_figure()[0])
    assert redraw_claim(drawn_elsewhere, tmp_path) == result
    assert result["settings"] == claim.scales[result["scale"]]
    assert result["scale"] != "quick"
    assert len(result["seeds"]) >= 3
    assert ElementTree.parse(kept.with_suffix(".svg")).getroot().tag.endswith("svg")


def test_a_file_in_a_family_is_a_claim_and_begins_with_its_lecture():
    files = [*Path(experiments.__path__[0]).glob("*/[!_]*.py")]
    assert sorted(file.stem.replace("_", "-") for file in files) == sorted(claim_names())
    for name in claim_names():
        about = import_module(load_claim(name).measure.__module__).__doc__
        assert about.startswith(f"Lecture {load_claim(name).lecture[:2]}: ")
        assert about.splitlines()[0].endswith(".")


def test_a_name_that_is_none(capsys, tmp_path):
    assert main(["claim", "colapse"]) != 0
    error = capsys.readouterr().err
    assert "there is no claim 'colapse'; choose one of: " in error
    assert "collapse" in error
    assert main(["claim"]) != 0
    assert "which claim? Choose one of: " in capsys.readouterr().err
    assert main(["claim", "collapse", "--redraw", "--out", str(tmp_path)]) != 0
    assert "run the claim first" in capsys.readouterr().err
