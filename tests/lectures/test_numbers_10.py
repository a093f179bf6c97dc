"""The numbers of lecture 10 on GPT-3's data, on growth and on zero-shot, computed."""

import math
import re

import numpy as np
import pytest

from minissl.adapt.prompts import find_answer
from tests.lectures.reading import LECTURES, figures, says, text


def table(first_cell, lecture="10"):
    """The rows of the table whose header begins so, as lists of cells."""
    (path,) = LECTURES.glob(f"{lecture}_*.md")
    lines = path.read_text(encoding="utf-8").splitlines()
    (start,) = [i for i, line in enumerate(lines) if line.startswith(f"| {first_cell}")]
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            return rows
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def number(cell):
    """The first number of a cell; G and M are powers of ten, as in 2,000 G."""
    value, unit = re.search(r"([\d,.]+(?:e\d+)?) ?([GM]?)", cell).groups()
    return float(value.replace(",", "")) * {"": 1, "M": 1e6, "G": 1e9}[unit]


def test_the_data_of_gpt_3():
    *sources, together = table("source")
    size, weight, read, computed = (
        np.array([number(row[column]) for row in sources]) for column in (1, 2, 3, 4)
    )
    assert number(together[1]) == size.sum() == 499
    assert number(together[2]) == weight.sum() == 101
    np.testing.assert_allclose(300 * weight / 100 / size, computed, atol=0.005)
    least = 300 * (weight - 0.5) / 100 / (size + 0.5)
    most = 300 * (weight + 0.5) / 100 / (size - 0.5)
    fits = (least <= read + 0.05) & (read - 0.05 <= most)
    assert [row[0] for row, one in zip(sources, fits) if not one] == ["WebText2"]
    says("10", "3.31", least[1])
    says("10", "2.1", least[4])
    says("10", "4.2", most[4])
    says("10", "18", 100 * 2.9 * 19 / 300)
    says("10", "292", (read * size).sum())
    says("10", "82", 100 * size[0] / size.sum())
    says("10", "0.6", 100 * size[4] / size.sum())
    says("10", "2.85", 600 * 0.095 / 20)
    says("10", "3.15", 600 * 0.105 / 20)


def slope(points):
    """Factor per year by the closed form of least squares, of (year, value)."""
    years, logs = np.array([(year, math.log(value)) for year, value in points]).T
    deviation = years - years.mean()
    return math.exp((deviation * logs).sum() / (deviation**2).sum())


def test_growth_per_year():
    models = figures("10")["published"]()
    assert len(models) == 18
    assert "Eighteen published" in text("10")
    known = {m.name: i for i, m in enumerate(models)}["GPT-3"]
    rows = {row[0].split()[0]: row[1:] for row in table("factor per year")}
    for key, column in (
        ("parameters", "parameters"),
        ("tokens", "tokens"),
        ("operations", "estimate"),
    ):
        for cell, part in zip(rows[key], (models[: known + 1], models[known:])):
            points = [(m.year, getattr(m, column)) for m in part]
            found = slope([p for p in points if math.isfinite(p[1])])
            assert float(cell) == pytest.approx(
                found, abs=0.5 * 10.0 ** -len(cell.partition(".")[2])
            )
    early = [(m.year, m.parameters) for m in models[: known + 1]]
    says("10", "3.2", slope([(m.year, m.parameters) for m in models]))
    without = [slope(early[:i] + early[i + 1 :]) for i in range(len(early))]
    says("10", "19", without[-1])
    says("10", "30", min(without[:-1]))
    says("10", "38", max(without[:-1]))
    says("10", "2.6", figures("10")["per_year"]("parameters", "GPT", "GPT-3")[1])
    says("10", "4.7", 1.4e12 / 300e9)


def test_operations_are_those_of_the_file():
    models = {m.name: m for m in figures("10")["published"]()}
    (path,) = (LECTURES / "figures").glob("10_growth.csv")
    assert path.read_text(encoding="utf-8").count("\n") == len(models) + 1
    rows = [row for row in table("| $N$") if len(row) == 5]
    assert len(rows) == 7
    for row in rows:
        one = models[re.sub(r" \(.*", "", row[0])]
        assert number(row[1]) == pytest.approx(one.parameters, rel=0.01)
        assert number(row[2]) == pytest.approx(one.tokens, rel=0.01)
        assert number(row[3]) == pytest.approx(one.estimate, rel=0.02)
        assert number(row[4]) == pytest.approx(one.operations, rel=0.02)
    assert pytest.approx(models["BERT large"].tokens, rel=0.001) == 256 * 512 * 1e6
    assert pytest.approx(models["Megatron-LM"].tokens, rel=0.002) == 300_000 * 512 * 1024


def test_zero_shot_by_hand():
    p, free = np.array([0.30, 0.20, 0.02]), np.array([0.60, 0.20, 0.01])
    for shown, value in zip(("-0.693", "0", "0.693"), np.log(p / free)):
        says("10", shown, value)
    for shown, value in zip(("0.143", "0.286", "0.571"), p / free / (p / free).sum()):
        says("10", shown, value)
    says("10", "0.67", 4 / 6)
    says("10", "0.125", 0.5**3)
    says("10", "0.064", 0.4**3)
    says("10", "-2.303", math.log(0.1))
    says("10", "-0.916", math.log(0.4))
    says("10", "2.8", 100 * math.sqrt(0.58 * 0.42 / 300))
    assert find_answer("not bad", ["good", "bad"]) == 1
