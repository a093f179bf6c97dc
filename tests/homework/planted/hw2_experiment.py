"""Wrong answers to homework 2, the tokenizer: the experiment and its report."""

import json

import numpy as np

from minissl.homework.assignments.hw2_measured import experiment
from minissl.text.tokenizer import Tokenizer
from tests.homework.planted import Collection, HandedIn

PLANTED = Collection()
handed = HandedIn(experiment, "hw2")
FILES, ROWS, TEXT = handed.files, handed.rows, handed.text


# ---- the functions -------------------------------------------------------------------------------


def ratio(
    size=lambda text: len(text.encode()),
    count=len,
    total=lambda sizes, counts: sum(sizes) / sum(counts),
    allow="none",
):
    """bytes_per_token in lists, with something to get wrong in it."""

    def bytes_per_token(tokenizer, texts):
        sizes, counts = [], []
        for text in texts:
            sizes.append(size(text))
            counts.append(count(tokenizer.encode(text, allow_special=allow)))
        return float(total(sizes, counts))

    return bytes_per_token


def idle(least=2, share=True, inside=False, used=False):
    """unused with an array of counts, with something to get wrong in it."""

    def unused(tokenizer, texts):
        times = np.zeros(tokenizer.vocab_size, int)
        for text in texts:
            np.add.at(times, tokenizer.encode(text, allow_special="none"), 1)
        learned = [(t, number) for t, number in tokenizer.ranks.items() if len(t) >= least]
        data = "\n".join(texts).encode()
        found = [token in data if inside else times[number] > 0 for token, number in learned]
        hits = sum(found) if used else len(found) - sum(found)
        return hits / len(learned) if share else float(hits)

    return unused


def measured(
    change=lambda found: found,
    seed=lambda given: given,
    leak=False,
    shares=lambda given: given,
    size=lambda given: given,
    late=False,
    cut=round,
):
    """measure with places in arrays, with something to get wrong in it."""

    def measure(texts, share, vocab_size, number):
        held_out, learned = {}, []
        generator = np.random.default_rng(seed(number))
        for kind in ("code", "prose"):
            own = np.array(texts[kind], dtype=object)
            order = generator if late else np.random.default_rng(seed(number))
            places = order.permutation(len(own))
            if late:
                generator.random(int(10 * share[kind]))
            tenth = max(1, len(own) // 10)
            held_out[kind] = list(own[places[:tenth]])
            rest = own[places] if leak else own[places[tenth:]]
            learned += list(rest[: int(cut(len(rest) * shares(share)[kind]))])
        tokenizer = Tokenizer.train(learned, size(vocab_size))
        found = {kind: ratio()(tokenizer, held_out[kind]) for kind in ("prose", "code")}
        return change({**found, "unused": idle()(tokenizer, held_out["prose"])})

    return measure


def of_code(texts, shares, vocab_size, seed):
    """Unused tokens of the wrong texts."""
    found = measured()(texts, shares, vocab_size, seed)
    other = measured()(
        {"prose": texts["code"], "code": texts["prose"]},
        {"prose": shares["code"], "code": shares["prose"]},
        vocab_size,
        seed,
    )
    return {**found, "unused": other["unused"] / 2}  # fmt: skip


COUNTED = iter(range(10**9))

for _mistake, _shows, _functions in [
    (
        "a mean of ratios",
        "mean of the texts' ratios",
        {"bytes_per_token": ratio(total=lambda s, c: np.mean(np.divide(s, c)))},
    ),
    ("characters", "characters per token", {"bytes_per_token": ratio(size=len)}),
    (
        "upside down",
        "tokens per byte",
        {"bytes_per_token": ratio(total=lambda s, c: sum(c) / sum(s))},
    ),
    ("special tokens become ids", "ordinary text here", {"bytes_per_token": ratio(allow="all")}),
    ("special tokens are refused", "raised ValueError", {"bytes_per_token": ratio(allow="raise")}),
    (
        "different tokens of each text",
        "values are wrong|different tokens",
        {"bytes_per_token": ratio(count=lambda ids: len({*ids}))},
    ),
    ("single bytes too", "single bytes are counted", {"unused": idle(least=1)}),
    ("a number of tokens", "divide by how many", {"unused": idle(share=False)}),
    ("what is used", "that are used", {"unused": idle(used=True)}),
    ("bytes found in the text", "inside a longer one", {"unused": idle(inside=True)}),
    (
        "held-out texts are learned from",
        "held out were learned from",
        {"measure": measured(leak=True)},
    ),
    (
        "shares are ignored",
        "whose share is 0",
        {"measure": measured(shares=lambda given: {"prose": 1.0, "code": 1.0})},
    ),
    (
        "one text too many",
        "hold out a tenth",
        {"measure": measured(cut=lambda n: n and n + 1)},
    ),
    ("always 2,048 tokens", "hand vocab_size on", {"measure": measured(size=lambda given: 2048)}),
    ("always seed 0", "other seeds gave", {"measure": measured(seed=lambda given: 0)}),
    ("no seed", "same seed gave other", {"measure": measured(seed=lambda given: next(COUNTED))}),
    ("other texts in each setting", "shuffle before all", {"measure": measured(late=True)}),
    ("unused of the code", "numbers are known", {"measure": of_code}),
    (
        "a number too few",
        "three numbers",
        {"measure": measured(lambda found: {"prose": found["prose"]})},
    ),
    (
        "not a number",
        "no finite number",
        {"measure": measured(lambda found: {**found, "code": float("nan")})},
    ),
    ("not there", "does not define the function", {"measure": None}),
]:
    PLANTED.add("2.9", _mistake, shows=_shows)(handed(**_functions))


# ---- the files -----------------------------------------------------------------------------------


def results(rows):
    """The right files with these rows."""
    return {**FILES, "results.json": json.dumps(rows).encode()}


def report(old, new):
    """The right files with a report in which something was replaced."""
    assert old in TEXT
    return {**FILES, "report.md": TEXT.replace(old, new).encode()}


for _mistake, _shows, _files in [
    ("no results", "there is no results.json", {"report.md": FILES["report.md"]}),
    ("no report", "there is no report.md", {"results.json": FILES["results.json"]}),
    ("a text for a number", "needs a number as 'unused'", results([{**ROWS[0], "unused": "few"}])),
    ("one setting", "one setting compares nothing", results(ROWS[:3])),
    ("two seeds", "fewer than 3 seeds", results([row for row in ROWS if row["seed"] < 2])),
    ("a setting is missing", "no row for the setting 'mixed'", report("| mixed |", "| both |")),
    ("no heading", 'no section "## Expected"', report("## Expected", "## My guess")),
    ("no plot", "shows no plot", report("![", "[")),
]:
    PLANTED.add("2.9", _mistake, shows=_shows)(handed(_files, measure=None))
