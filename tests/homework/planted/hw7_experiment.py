"""Wrong answers to homework 7, encoders: the experiment and its report."""

import json

import numpy as np

from minissl.homework.assignments import hw7_experiment as ours
from minissl.homework.assignments.hw7_measured import experiment
from minissl.training.fit import fit
from tests.homework.planted import Collection, HandedIn

PLANTED = Collection()
handed = HandedIn(experiment, "hw7")
FILES, ROWS, TEXT = handed.files, handed.rows, handed.text


# ---- the functions -------------------------------------------------------------------------------


def views(
    at=lambda places: places,
    names=("masked", "kept", "random"),
    kept=lambda rows, masked: rows.copy(),
    copy=np.copy,
):
    """three_views by writing into copies, with something to get wrong in it."""

    def three_views(rows, places, others, mask):
        masked, random = copy(rows), copy(rows)
        masked[at(places)] = mask
        random[at(places)] = others[at(places)]
        return dict(zip(names, (masked, kept(rows, masked), random)))

    return three_views


def views_one_by_one(rows, places, others, mask):
    """Token by token."""
    found = {"random": others, "kept": rows, "masked": np.full_like(rows, mask)}
    return {
        name: np.array([[n if p else r for n, p, r in zip(*row)] for row in zip(new, places, rows)])
        for name, new in found.items()
    }


def nats(
    pick=lambda log_p, rows: np.take_along_axis(log_p, rows[..., None], axis=2)[..., 0],
    at=lambda places: places,
    finish=lambda costs, places: float(np.mean(costs)),
):
    """mean_nats of the picked costs, with something to get wrong in it."""

    def mean_nats(log_p, rows, places):
        return finish(-pick(log_p, rows)[at(places)], places)

    return mean_nats


def nats_one_by_one(log_p, rows, places):
    """Place by place."""
    costs = [-log_p[i, t, rows[i, t]] for i, t in zip(*np.nonzero(places))]
    return sum(costs) / len(costs)


def of_row_means(log_p, rows, places):
    """The mean of the rows' means."""
    return float(
        np.mean([nats()(log_p[i : i + 1], rows[i : i + 1], p[None]) for i, p in enumerate(places)
                 if p.any()])
    )  # fmt: skip


def measured(
    change=lambda found: found,
    held_out=lambda rows, given: given,
    options=lambda o: o,
    seed=lambda given: given,
):
    """measure, with something to get wrong in it."""

    def measure(rows, given, vocab_size, chosen, number):
        text = held_out(rows, given)
        return change(ours.measure(rows, text, vocab_size, options(chosen), seed(number)))

    return measure


def recipe(
    draws=lambda seed: np.random.default_rng(0),
    loop=lambda seed: seed,
    lowest=1,
    train=fit,
    text=lambda rows, held_out: rows,
    changed=dict,
    others_first=False,
):
    """measure written anew, by ``fit``, with something to get wrong in it."""

    def measure(rows, held_out, vocab_size, options, seed):
        options = changed(options)
        method = ours.Masked(text(rows, held_out), vocab_size, options, seed=seed)
        optimizer = ours.AdamW(method.model.named_parameters(), lr=options["learning_rate"])
        train(method, optimizer, steps=options["steps"], seed=loop(seed), progress=False)
        method.model.eval()
        generator = draws(seed)
        if others_first:
            others = generator.integers(lowest, vocab_size, held_out.shape)
        places = ours.choose_pieces(np.ones_like(held_out, dtype=bool), generator)
        if not others_first:
            others = generator.integers(lowest, vocab_size, held_out.shape)
        found = views_one_by_one(held_out, places, others, ours.MASK)
        return {
            name: nats_one_by_one(method.log_probabilities(shown), held_out, places)
            for name, shown in found.items()
        }

    return measure


def takes_steps(options):
    """Out of the caller's options."""
    return {"steps": options.pop("steps"), **options}


COUNTED = iter(range(10**9))

for _mistake, _shows, _functions in [
    ("the visible places", "of the visible places", {"three_views": views(np.logical_not)}),
    ("all places", "where nothing is hidden", {
        "three_views": views(lambda places: np.ones_like(places))}),
    ("exchanged", "are exchanged", {"three_views": views(names=("random", "kept", "masked"))}),
    ("kept is masked", "the text as it is", {
        "three_views": views(kept=lambda rows, masked: masked)}),
    ("other names", "three arrays", {"three_views": views(names=("mask", "kept", "random"))}),
    ("into the rows", "changed its input", {"three_views": views(copy=lambda rows: rows)}),
    ("all tokens", "over all tokens", {"mean_nats": nats(at=lambda places: places | True)}),
    ("the others", "no places", {"mean_nats": nats(at=np.logical_not)}),
    ("summed", "sum was taken", {"mean_nats": nats(finish=lambda c, _: float(np.sum(c)))}),
    ("the sign", "sign is wrong", {"mean_nats": nats(finish=lambda c, _: -float(np.mean(c)))}),
    ("bits", "these are bits", {
        "mean_nats": nats(finish=lambda c, _: float(np.mean(c) / np.log(2)))}),
    ("a mean of p", "mean of the probabilities", {
        "mean_nats": nats(finish=lambda c, _: float(-np.log(np.exp(-c).mean())))}),
    ("of the rows", "rows' means", {"mean_nats": of_row_means}),
    ("the likeliest", "likeliest token", {
        "mean_nats": nats(pick=lambda log_p, rows: log_p.max(axis=2))}),
    ("always seed 0", "not that of the seed|same seed|another than|loop has a seed", {
        "measure": measured(seed=lambda _: 0)}),
    ("the loop's seed", "loop has a seed", {"measure": recipe(loop=lambda seed: 0)}),
    ("no seed", "same seed gave other", {"measure": measured(seed=lambda _: next(COUNTED))}),
    ("places by the seed", "drawn by generator 0", {"measure": recipe(np.random.default_rng)}),
    ("[MASK] as another token", "from 1 on", {"measure": recipe(lowest=0)}),
    ("no training", "was not trained", {
        "measure": measured(options=lambda o: {**o, "steps": 0})}),
    ("of the training rows", "these are the training rows", {
        "measure": measured(held_out=lambda rows, _: rows)}),
    ("always BERT's shares", "shares are not handed on", {
        "measure": measured(options=lambda o: {**o, "shares": (0.8, 0.1)})}),
    ("the rows themselves", "give new arrays", {
        "three_views": lambda rows, places, others, mask: {
            **views()(rows, places, others, mask), "kept": rows}}),
    ("a median", "median", {"mean_nats": nats(finish=lambda c, _: float(np.median(c)))}),
    ("the worst", "the worst place", {"mean_nats": nats(finish=lambda c, _: float(np.max(c)))}),
    ("a perplexity", "perplexity", {
        "mean_nats": nats(finish=lambda c, _: float(np.exp(np.mean(c))))}),
    ("others before the places", "places are drawn first", {
        "measure": recipe(others_first=True)}),
    ("trained on the held-out rows, too", "trained on the held-out rows", {
        "measure": recipe(text=lambda rows, held_out: np.concatenate([rows, held_out]))}),
    ("a learning rate of its own", "learning_rate is not handed on", {
        "measure": recipe(changed=lambda o: {**o, "learning_rate": 3e-3})}),
    ("a batch size of its own", "batch_size is not handed on", {
        "measure": recipe(changed=lambda o: {**o, "batch_size": 32})}),
    ("a step too many", "a step too many", {
        "measure": recipe(changed=lambda o: {**o, "steps": o["steps"] + 1})}),
    ("takes the steps out of the options", "changed its input", {
        "measure": recipe(changed=takes_steps)}),
    ("bits of it", "another than", {
        "measure": measured(lambda found: {n: v / np.log(2) for n, v in found.items()})}),
    ("a number too few", "three numbers", {"measure": measured(lambda f: {"kept": f["kept"]})}),
    ("not a number", "no finite number", {
        "measure": measured(lambda found: {**found, "kept": float("nan")})}),
    ("not there", "does not define the function", {"measure": None}),
]:  # fmt: skip
    PLANTED.add("7.13", _mistake, shows=_shows)(handed(**_functions))


# ---- the files: what homework 5 does not try -----------------------------------------------------


def results(rows):
    """The right files with these rows."""
    return {**FILES, "results.json": json.dumps(rows).encode()}


for _mistake, _shows, _files in [
    ("no results", "there is no results.json", {"report.md": FILES["report.md"]}),
    ("nothing kept", "needs a number as 'kept'", results([{**ROWS[0], "kept": None}])),
    ("one setting", "one setting compares nothing", results(ROWS[:3])),
    (
        "BERT left out",
        "no row for the setting 'as in BERT'",
        {**FILES, "report.md": TEXT.replace("| as in BERT |", "| BERT |").encode()},
    ),
    ("no plot", "shows 'figure.svg'", {n: f for n, f in FILES.items() if n != "figure.svg"}),
]:
    PLANTED.add("7.13", _mistake, shows=_shows)(handed(_files, measure=None))
