"""What a report says of curves: every sentence is made from the numbers."""

import numpy as np
import pytest

from minissl.report.readings import (
    course,
    first_and_last,
    number_of,
    panels,
    spoken,
    turned,
)
from minissl.training import History

STEPS = np.arange(5) * 10


def history(**columns):
    """A log with these values at steps 0, 1, 2, ..."""
    length = max(map(len, columns.values()))
    return History(
        {"step": step, "lr": 0.1, "seconds": float(step)}
        | {name: values[step] for name, values in columns.items() if step < len(values)}
        for step in range(length)
    )


def test_curves_are_grouped_by_what_they_measure():
    log = history(
        loss=[3.0, 2.0], held_out_loss=[3.1, 2.1], watched_knn_accuracy=[0.1, 0.5],
        watched_effective_rank=[2.0, 9.0], z_std=[0.1, 0.9],
    )  # fmt: skip
    found = {panel.heading: [*panel.curves] for panel in panels(log)}
    assert found == {
        "The loss": ["loss", "held_out_loss"],
        "What it knows": ["watched_knn_accuracy"],
        "How many directions it uses": ["watched_effective_rank"],
        "What else was measured": ["z_std"],
    }
    assert ["Watched k-NN accuracy", "10.0 %", "50.0 %"] in first_and_last(log)


def test_what_has_no_number_is_left_out():
    assert panels(History()) == []
    assert panels(history(loss=[None, None])) == []
    log = history(loss=[1.0, 0.5])
    log.records[0] |= {"device": "cuda", "grad_norm": 1.0}
    assert [[*panel.curves] for panel in panels(log)] == [["loss"]]


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("held_out_loss", [7.6, 5, 4.5, 4.1, 3.99], "Held-out loss: from 7.6 to 3.99 at step 40."),
        ("z_std", [0.5] * 5, "Z std: 0.5 all the way."),
        ("held_out_accuracy", [0.1, 0.2, 0.3, 0.4, 0.512], "from 10.0 % to 51.2 % at step 40."),
        ("held_out_perplexity", [4928.4, 1, 1, 1, 601.2], "from 4,928 to 601 at step 40."),
    ],
)
def test_from_where_to_where(name, values, said):
    assert course(name, STEPS, np.array(values)).endswith(said)


def test_a_single_value_is_no_course():
    assert course("z_std", np.array([7]), np.array([0.25])) == "Z std: 0.25 at step 7."


def test_a_small_change_is_not_hidden_by_few_digits():
    def said(values):
        return course("held_out_loss", np.arange(3), np.array(values))

    assert said([2.3974, 2.4, 2.3961]) == "Held-out loss: from 2.397 to 2.396 at step 2."
    assert said([2.5, 9.0, 2.5]) == "Held-out loss: from 2.5 to 2.5 at step 2."
    assert ["Loss", "2.397", "2.396"] in first_and_last(history(loss=[2.3974, 2.3961]))


def test_the_training_loss_is_the_mean_of_a_twentieth_at_each_end():
    values = np.concatenate([[4.0, 2.0], np.full(36, 1.0), [0.2, 0.4]])
    assert "from 3 to 0.3 at step 39" in course("loss", np.arange(40), values)


def test_what_has_become_worse_is_said_and_what_wavers_is_not():
    assert turned("held_out_loss", STEPS, np.array([5, 3, 2, 3, 4.0]), True) == (
        "Held-out loss was best at step 20, 2."
    )
    assert turned("held_out_accuracy", STEPS, np.array([0.1, 0.8, 0.6, 0.5, 0.4]), False) == (
        "Held-out accuracy was best at step 10, 80.0 %."
    )
    assert not turned("held_out_loss", STEPS, np.array([5, 3, 2, 1.9, 1.95]), True)
    assert not turned("held_out_loss", STEPS, np.array([5, 3, 2, 1.5, 1.4]), True)
    assert not turned("loss", STEPS, np.array([5, 3, 2, 3, 4.0]), True)
    assert not turned("effective_rank", STEPS, np.array([5, 3, 2, 3, 4.0]), None)
    assert not turned("held_out_loss", STEPS, np.full(5, 2.0), True)


def test_overfitting_is_said_only_where_the_training_loss_fell_on():
    rises, falls = [5.0, 3.0, 2.0, 2.5, 3.0, 3.5], [5.0, 3.0, 2.0, 1.5, 1.0, 0.5]

    def said(**columns):
        return "overfitting" in " ".join(panels(history(**columns))[0].sentences)

    assert said(loss=falls, held_out_loss=rises)
    assert not said(loss=rises, held_out_loss=rises)
    assert not said(loss=falls, held_out_loss=falls)
    assert not said(held_out_loss=rises)


def test_a_training_loss_that_only_jumps_has_not_fallen():
    """Else every second run whose loss stands still would be told that it overfits."""
    rises = [5.0, 3.0, 2.0, *np.linspace(2, 4, 37)]
    for seed in range(20):
        flat = 1 + 0.1 * np.random.default_rng(seed).standard_normal(40)
        said = panels(history(loss=flat.tolist(), held_out_loss=rises))[0].sentences
        assert "overfitting" not in " ".join(said)


@pytest.mark.parametrize("name", ["gloss", "crank", "perplexity_ranks", "inaccuracy", ""])
def test_a_name_that_ends_alike_by_accident_is_of_no_kind(name):
    (panel,) = panels(history(**{name: [3.0, 2.0]}))
    assert panel.heading == "What else was measured"


def test_only_what_is_there_is_explained():
    def said(**columns):
        return " ".join(one for panel in panels(history(**columns)) for one in panel.sentences)

    assert "held out" not in said(loss=[2.0, 1.0])
    assert "never trained on" in said(loss=[2.0, 1.0], held_out_loss=[2.0, 1.0])
    assert "vote" not in said(held_out_accuracy=[0.1, 0.2])
    assert "vote" in said(watched_knn_accuracy=[0.1, 0.2])
    assert "z std is" not in said(held_out_perplexity=[9.0, 8.0])
    assert "Perplexity is" in said(held_out_perplexity=[9.0, 8.0])


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (1e-9, "1e-09"), (999.4, "999"), (999.7, "1,000"), (-4321.0, "-4,321"), (7, "7"),
     (1e30, "1e+30")],
)  # fmt: skip
def test_numbers_of_every_size_are_short(value, shown):
    assert number_of("held_out_perplexity")(value) == shown


def test_what_is_solved_at_once_has_no_step():
    assert course("z_std", np.array([0]), np.array([0.25])) == "Z std: 0.25."


def test_names_are_spoken():
    assert spoken("held_out_bits_per_byte") == "Held-out bits per byte"
    assert spoken("watched_knn_accuracy") == "Watched k-NN accuracy"
    assert spoken("k-NN accuracy") == "k-NN accuracy"
