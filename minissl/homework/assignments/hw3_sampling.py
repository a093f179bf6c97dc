"""Homework 3, from logits to text: task 3.8."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd.tensor import Tensor
from minissl.homework.assignments import hw3_oracle as oracle
from minissl.homework.task import Draw, Task, Wrong, call, expect, expect_error
from minissl.models.gpt import GPT, GPTConfig
from minissl.nn.evaluating import evaluating

BEFORE = "a token of stop in the prompt does not stop it: only new ones do"


@contextmanager
def unwatched() -> Iterator[None]:
    """The guard looks away: what the checks compute themselves would take it long to follow."""
    watch = sys.getprofile()
    sys.setprofile(None)
    try:
        yield
    finally:
        sys.setprofile(watch)


# ---- 3.8 generate --------------------------------------------------------------------------------

generate = Task(
    "3.8",
    "minissl.models.generate:generate",
    "write text",
    "lecture 10, section 4",
    hides=("decode", "engine_threads", "next_token_logits", "pick"),
    allows=(
        *("GPT.*", "KeyValueCache.*", "Module.*", "Tensor.*", "no_grad"),
        *("engine_threads", "next_token_probabilities"),
    ),
)


class Counting(GPT):
    """A GPT that notes how many tokens it was given, call by call."""

    def hidden(self, tokens: Any, **settings: Any) -> Tensor:
        self.given: list[int] = [*getattr(self, "given", []), np.asarray(tokens).shape[1]]
        return super().hidden(tokens, **settings)


class Forgetful(GPT):
    """A GPT whose last hidden state is (1, 0, ... 0) after every text: its logits stay the same."""

    def hidden(self, tokens: Any, *, caches: Any = None, **settings: Any) -> Tensor:
        for cache in caches or ():
            cache.length += np.asarray(tokens).shape[1]
        return Tensor(np.broadcast_to(np.eye(8)[0], (*np.asarray(tokens).shape, 8)).copy())


def random_gpt(draw: Draw, kind: type[GPT] = GPT, context: int = 12, dropout: float = 0.0) -> Any:
    """Small, in float64, 7 tokens; so random that it does not repeat itself."""
    config = GPTConfig(
        num_layers=2,
        width=8,
        num_heads=2,
        vocab_size=7,
        context_length=context,
        dropout=dropout,
    )
    model = kind(config, generator=draw.generator).astype(np.float64)
    for name, parameter in model.named_parameters():
        if "norm" not in name:
            size = 3.0 if "positions" in name else 0.7
            parameter.array = size * draw.normal(*parameter.shape)
    return model


def _logits_after(model: Any, tokens: list[int], window: slice | None = None) -> NDArray:
    """From the last tokens of the context, all at once and without a cache."""
    seen = tuple(tokens[window or slice(-model.config.context_length, None)])
    known: dict[tuple[int, ...], NDArray] = vars(model).setdefault("known_logits", {})
    if seen not in known:
        with unwatched(), evaluating(model):
            known[seen] = model(np.array([seen])).numpy()[0, -1]
    return known[seen]


def _greedy(
    model: Any, prompt: list[int], count: int, *, pick: Any = np.argmax, window: Any = None
) -> list[int]:
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(int(pick(_logits_after(model, tokens, window))))
    return tokens[len(prompt) :]


def _check_greedy(subject: Any, model: Any, prompt: list[int], count: int, **options: Any) -> None:
    """Without the cache, unless ``options`` say otherwise."""
    longer, stop = _greedy(model, prompt, count + 1), options.get("stop", ())
    ends = [i + 1 for i, token in enumerate(longer[:count]) if token in stop]
    expected = longer[: min([*ends, count])]
    settings = {"temperature": 0, "cache": False, **options}
    mine = [*prompt]
    got = call(subject, model, mine, count, **settings)
    if mine != prompt:
        raise Wrong(
            "the prompt has changed: the answer is a list of its own", settings, mine, prompt
        )
    if isinstance(got, list) and got == expected:
        return
    symptoms: dict[str, list[int]] = {}
    if ends and set(stop) & {*prompt} and len(expected) > 1:
        symptoms[BEFORE] = expected[:1]
    if ends:
        symptoms["the token that stopped must be in the answer"] = expected[:-1]
    symptoms |= {
        "stop is not used": longer[:count],
        "the answer begins with the prompt: leave it out": prompt + expected,
        "one token too many": longer[: len(expected) + 1],
        "one token too few": expected[:-1],
        "the unlikeliest token is taken": _greedy(model, prompt, count, pick=np.argmin),
    }
    symptoms |= _other_windows(model, prompt, count, expected)
    otherwise = "the tokens are wrong"
    if settings["cache"]:
        uncached = call(subject, model, prompt, count, **settings | {"cache": False})
        if isinstance(uncached, list) and uncached == expected:
            otherwise = "with the cache other tokens come than without: give it only those it lacks"
            symptoms = {}
    given = {"model": "a random GPT", "prompt": prompt, "max_new_tokens": count, **settings}
    expect(got, expected, given=given, symptoms=symptoms, otherwise=otherwise)


def _other_windows(
    model: Any, prompt: list[int], count: int, expected: list[int]
) -> dict[str, list[int]]:
    """What comes when something else is read than the last tokens of the context."""
    symptoms: dict[str, list[int]] = {}
    if len(prompt) + count > model.config.context_length:
        context = model.config.context_length
        symptoms |= {
            "the first tokens of the context are read, not the last": _greedy(
                model, prompt, count, window=slice(context)
            ),
            "one token of the context is left out: the last context_length tokens are read": (
                _greedy(model, prompt, count, window=slice(1 - context, None))
            ),
        }
    if count > 3:
        symptoms |= {
            "each token is predicted from the prompt alone: append it and ask again": (
                expected[:1] * count
            ),
            "each token is predicted from the one before it alone: the past is lost": (
                _short_sighted(model, prompt, count)
            ),
        }
    return symptoms


def _short_sighted(model: Any, prompt: list[int], count: int) -> list[int]:
    tokens = [int(_logits_after(model, prompt).argmax())]
    while len(tokens) < count:
        tokens.append(int(_logits_after(model, tokens[-1:]).argmax()))
    return tokens[:count]


@generate.check(2)
def greedy(subject: Any, draw: Draw) -> None:
    """Temperature 0: the likeliest token, again and again, from everything before it."""
    fixed: list[tuple[list[int], int]] = [([1], 1), ([1], 2), ([2, 0, 5], 4), ([3, 3], 0), ([4], 8)]
    for prompt, count in draw.cases(
        *fixed, more=lambda g: (g.integers(7, size=3).tolist(), int(g.integers(1, 9)))
    ):
        _check_greedy(subject, random_gpt(draw), prompt, count)


@generate.check(1)
def evaluation_mode(subject: Any, draw: Draw) -> None:
    """Nothing is dropped out, and the model comes back in the mode it was in."""
    for prompt in draw.cases([1], [2, 0], more=lambda g: g.integers(7, size=3).tolist()):
        model = random_gpt(draw, dropout=0.5)
        _check_greedy(subject, model, prompt, 3)
        given = {"prompt": prompt, "model.training before": True}
        if not model.training or not all(p.requires_grad for p in model.parameters()):
            sentence = "the model is left in evaluation mode: give it back as it was"
            raise Wrong(sentence, given, f"model.training is {model.training}", True)
        call(subject, model.eval(), tuple(prompt), 2, temperature=0)
        if model.training:
            sentence = "the model was in evaluation mode, and is left in training mode"
            raise Wrong(sentence, {"prompt": tuple(prompt)}, model.training, False)


@generate.check(1)
def stopping(subject: Any, draw: Draw) -> None:
    """A token of ``stop`` is the last one; ``on_token`` is called with each as it comes."""
    for place in draw.cases(0, 1, 2, more=lambda g: int(g.integers(6))):
        model, prompt, came = random_gpt(draw, Counting), [1, 2], list[int]()
        right = _greedy(model, prompt, 6)
        stop = [right[place]]
        _check_greedy(subject, model, prompt, 6, stop=stop)
        model.given, calls = [], list[int]()

        def told(
            token: int, came: list[int] = came, calls: list[int] = calls, m: Any = model
        ) -> None:
            came.append(token)
            calls.append(len(m.given))

        options = {"temperature": 0, "cache": False, "stop": stop}
        got = call(subject, model, prompt, 6, on_token=told, **options)
        given = {"prompt": prompt, "max_new_tokens": 6, "stop": stop}
        expect(came, got, given=given, otherwise="on_token must be called with each new token")
        if len(calls) > 1 and calls[0] == calls[-1]:
            sentence = "on_token is called at the end: call it with each token as it comes"
            raise Wrong(sentence, given, "all calls after the last token", "a call after each")
        _check_stops(subject, model, right, place)


def _check_stops(subject: Any, model: Any, right: list[int], place: int) -> None:
    """With several tokens to stop at, of which one is in the prompt [1, 2]."""
    unused = [token for token in range(7) if token not in right][:1]
    stop = [*unused, 1, right[place]]
    first = min(right.index(token) for token in stop if token in right)
    given = {"prompt": [1, 2], "max_new_tokens": 6, "stop": stop}
    got = call(subject, model, [1, 2], 6, temperature=0, cache=False, stop=stop)
    symptoms: dict[str, list[int]] = {"every token of stop must stop it, not only the first": right}
    if first and right[0] not in stop:
        symptoms[BEFORE] = right[:1]
    expect(got, right[: first + 1], given=given, symptoms=symptoms, otherwise="it stops elsewhere")


@generate.check(1)
def beyond_the_context(subject: Any, draw: Draw) -> None:
    """A text longer than the context is continued from its last tokens."""
    for prompt in draw.cases(
        [1, 2], [1, 2, 3, 4, 5, 6], more=lambda g: g.integers(7, size=5).tolist()
    ):
        model = random_gpt(draw, context=4)
        _check_greedy(subject, model, prompt, 6)
        _check_greedy(subject, model, prompt, 6, cache=True)


@generate.check(1)
def with_a_cache(subject: Any, draw: Draw) -> None:
    """With the cache no token goes through the model twice."""
    for prompt in draw.cases([1], [1, 2, 3], more=lambda g: g.integers(7, size=4).tolist()):
        model = random_gpt(draw, Counting)
        _check_greedy(subject, model, prompt, 5, cache=True)
        model.given = []
        call(subject, model, prompt, 5, temperature=0)
        if sum(model.given) > len(prompt) + 5:
            sentence = "tokens go through the model twice: give it only those the caches lack"
            given = {"prompt": prompt, "max_new_tokens": 5, "cache": True}
            expected = [len(prompt), 1, 1, 1, 1]
            raise Wrong(sentence, given, f"calls with {model.given} tokens", expected)


@generate.check(1)
def drawn(subject: Any, draw: Draw) -> None:
    """Other temperatures: tokens come as often as next_token_probabilities says."""
    count = 250
    settings: list[dict[str, Any]] = [{}, {"top_k": 2}, {"top_p": 0.6}]
    for options in settings:
        options["temperature"] = 3.0
        model, logits = (
            random_gpt(draw, Forgetful, context=count + 1),
            0.9 * draw.generator.permutation(7),
        )
        model.tokens.weight.array[:, 0] = logits
        given = {"prompt": [1], "max_new_tokens": count, **options, "logits": logits}
        came = call(subject, model, [1], count, generator=draw.generator, **options)
        if not isinstance(came, list) or {type(token) for token in came} - {int, np.int64}:
            raise Wrong("expected a list of int", given, came, "a list of int")
        got, right = np.bincount(came, minlength=7), oracle.probabilities(logits, **options)
        plain: dict[str, Any] = options | {"top_k": None, "top_p": None}
        cold: dict[str, Any] = options | {"temperature": 1.0}
        wrong = {
            "top_k or top_p is not handed on": oracle.probabilities(logits, **plain),
            "the temperature is not handed on": oracle.probabilities(logits, **cold),
            "every token is as likely as the others": np.full(7, 1 / 7),
            "the likeliest token is always taken: draw one": np.eye(7)[logits.argmax()],
        }
        if not _plausible(got, right):
            named = [sentence for sentence, p in wrong.items() if _plausible(got, p)]
            otherwise = "the tokens do not come as often as their probabilities say"
            raise Wrong((named or [otherwise])[0], given, got / count, right)
        again = call(subject, model, [1], 20, generator=draw.generator, **options)
        if again == came[:20] and right.max() < 0.7:
            sentence = "the same tokens come at every call: draw them with `generator`"
            raise Wrong(sentence, given, again, "other tokens")
        seed = int(draw.generator.integers(1000))
        twice = [
            call(subject, model, [1], 20, generator=np.random.default_rng(seed), **options)
            for _ in range(2)
        ]
        sentence = "with the same generator other tokens come: draw from it, and from nothing else"
        given["generator"] = f"np.random.default_rng({seed}), twice"
        expect(twice[1], twice[0], given=given, otherwise=sentence)


def _plausible(counts: NDArray, p: NDArray) -> bool:
    """Every count within five standard deviations of what is expected."""
    n = counts.sum()
    return bool((abs(counts - n * p) <= 5 * np.sqrt(n * p * (1 - p)) + 1e-9).all())


@generate.check(1)
def refusals(subject: Any, draw: Draw) -> None:
    """ValueError for an empty prompt, and for sampling without a generator."""
    expect_error(ValueError, subject, random_gpt(draw), [], 3, temperature=0)
    expect_error(ValueError, subject, random_gpt(draw), [1], 3)
