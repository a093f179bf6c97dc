"""What the page says of a result turns around when the numbers do."""

import pytest

from minissl.demo import demo, sentences

LABELS = (1, 5, 50)


def curves(ours, scratch):
    return {"SimCLR, no labels": ours, "supervised from scratch": scratch}


@pytest.mark.parametrize(
    ("ours", "scratch", "says", "never"),
    [
        ((0.85, 0.95, 0.99), (0.70, 0.92, 0.985), ("15.0 points ahead", "meet"), "cross"),
        ((0.85, 0.90, 0.806), (0.70, 0.92, 0.952), ("14.6 points behind", "cross"), "meet,"),
        ((0.85, 0.95, 0.99), (0.70, 0.80, 0.90), ("9.0 points ahead", "have not met"), "cross"),
        ((0.50, 0.70, 0.806), (0.60, 0.80, 0.952), ("10.0 points behind", "saves no"), "meet"),
        ((0.60, 0.80, 0.95), (0.60, 0.80, 0.95), ("level", "saves no labels"), "meet"),
    ],
)
def test_where_the_help_ends(ours, scratch, says, never):
    said = sentences.where_the_help_ends(LABELS, curves(ours, scratch))
    assert all(part in said for part in says), said
    assert never not in said


@pytest.mark.parametrize(
    ("spread", "accuracy", "says", "never"),
    [
        ((0.95, 0.02), (0.84, 0.50), "goes with it", "no collapse"),
        ((0.95, 0.90), (0.84, 0.50), "not yet a collapse, and the representation is worse", "goes"),
        ((0.60, 0.90), (0.50, 0.60), "so no collapse, and the representation has not suf", "worse"),
        ((0.95, 0.02), (0.50, 0.60), "0.02 without, and the representation has not suf", "goes"),
    ],
)
def test_what_collapse_costs(spread, accuracy, says, never):
    spread = dict(zip(("with negatives", "without negatives"), spread))
    said = sentences.what_collapse_costs(spread, *accuracy)
    assert says in said
    assert never not in said
    assert f"{100 * accuracy[0]:.0f} % with negatives" in said
    fell = spread["without negatives"] < 0.1
    assert ("collapse" in sentences.without_negatives(spread)) == fell
    assert f"{spread['without negatives']:.2f} without" in sentences.collapse_description(spread)


@pytest.mark.parametrize(
    ("gpt", "says"),
    [(4.0, "ahead of both"), (5.5, "ahead of one of the two, the unigrams"), (7, "behind both")],
)
def test_against_counting(gpt, says):
    nats = {"uniform": 7.6, "unigram": 6.0, "bigram": 5.0, "GPT": gpt}
    assert says in sentences.against_counting(nats)
    assert f"ends at {gpt:.2f}" in sentences.curve_description(nats)


@pytest.mark.parametrize("best", ["raw pixels", "supervised from scratch", "SimCLR, no labels"])
def test_the_row_that_stands_out_is_the_best(best):
    rows = ("raw pixels", "random network", "supervised from scratch")
    rows += ("SimCLR without negatives", "SimCLR, no labels")
    accuracy = {name: [0.9 if name == best else 0.5] for name in rows}
    bits = {"GPT": 3.0, "xz after the training text": 2.0 if best == "raw pixels" else 4.0}
    results = {
        "images": {"accuracy": accuracy, "labels_per_class": [1]},
        "language": {"nats_per_token": {}, "bits_per_byte": bits},
    }
    stands_out = demo._tables(results).split("<tr class=best><td>")[1:]
    assert [row.split("<")[0] for row in stands_out] == [best, min(bits, key=bits.get)]
