"""What the tests of all families ask of a claim's result."""

import json

from minissl.claims import load_claim
from minissl.claims.claim import Cell


def cells(result, column):
    """row -> the values of the seeds, for the rows that have the column."""
    return {row: c[column]["values"] for row, c in result["table"].items() if column in c}


def require_whole(name, result, folder):
    """Both files are there, and the table has each cell that the claim expects something of."""
    assert json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) == result
    assert (folder / f"{name}.svg").stat().st_size > 10_000
    claim, table = load_claim(name), result["table"]
    for expectation in claim.expectations:
        sides = [expectation.larger, expectation.smaller]
        assert any(isinstance(side, Cell) for side in sides)
        for side in sides:
            assert not isinstance(side, Cell) or side.column in table[side.row]
        assert expectation.margin >= 0
