"""What the page says of a result turns around when the numbers do."""

import numpy as np
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


@pytest.mark.parametrize(
    ("ours", "scratch", "says"),
    [
        (0.852, 0.668, "With one label per digit, pretraining is worth 18 points"),
        (0.668, 0.852, "With one label per digit, pretraining is not worth anything yet"),
        (0.66, 0.65, "With one label per digit, pretraining is not worth anything yet"),
    ],
)
def test_the_first_picture_says_its_message(ours, scratch, says):
    assert sentences.first_message(LABELS, curves((ours, 0.9, 1), (scratch, 0.9, 1))) == says


def test_what_is_seen_of_the_accuracies():
    said = sentences.accuracy_seen(LABELS, curves((0.5, 0.9, 0.97), (0.6, 0.9, 0.96)))
    assert "supervised from scratch is ahead (60 %, then SimCLR, no labels with 50 %)" in said
    assert "with 50 all lie between 96 and 97 %" in said
    points = sentences.points_seen(curves((0.5, 1, 1), (0.6, 1, 1)), ["SimCLR, no labels"])
    assert points.endswith("names rightly: 50 % (SimCLR, no labels).")


@pytest.mark.parametrize(
    ("gpt", "says"),
    [(8, "above all three"), (7, "below uniform."), (5.5, "below uniform and unigram."),
     (4, "below uniform, unigram and bigram.")],
)  # fmt: skip
def test_where_the_loss_ends(gpt, says):
    nats = {"uniform": 7.6, "unigram": 6.0, "bigram": 5.0, "GPT": gpt}
    assert f"ends at {gpt:.2f}, {says}" in sentences.loss_seen(nats)


def test_the_place_among_compressors():
    bits = {"gzip": 2.9, "GPT": 1.9, "xz": 1.8}
    assert sentences.bits_seen(bits) == "Of 3 the GPT is number 2 with 1.90, after xz."
    assert sentences.bits_seen({**bits, "xz": 2.0}) == "Of 3 the GPT is number 1 with 1.90."


def test_the_heaviest_look_back():
    weights = np.zeros((2, 3, 3))
    weights[1] = [[1, 0, 0], [0.2, 0.8, 0], [0.6, 0.1, 0.3]]
    said = sentences.head_seen(weights, [" a", " b", " c"], 1)
    assert "Head 1 is shown large" in said
    assert "from “c” to “a”: 60 %" in said
