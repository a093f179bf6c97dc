"""Homework 3, from logits to text: tasks 3.7 and 3.8."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd.tensor import Tensor
from minissl.homework.assignments import hw3_oracle as oracle
from minissl.homework.task import Draw, Task, Wrong, call, expect, expect_error
from minissl.models.gpt import GPT, GPTConfig
from minissl.nn.evaluating import evaluating

GENERATE = "minissl.models.generate"


# ---- 3.7 next_token_probabilities ----------------------------------------------------------------

sampling = Task(
    "3.7",
    f"{GENERATE}:next_token_probabilities",
    "what sampling draws from",
    "lectures/10, section 3",
)


def _check_probabilities(subject: Any, logits: NDArray, **options: Any) -> None:
    settings: dict[str, Any] = {"temperature": 1.0, "top_k": None, "top_p": None} | options

    def by(how: str = "right", **other: Any) -> NDArray:
        return oracle.probabilities(logits, **(settings | other), how=how)

    temperature = settings["temperature"]
    symptoms = {
        "the logits are multiplied with the temperature: divide": by(temperature=1 / temperature),
        "the temperature is not used": by(temperature=1.0),
        "the probabilities are divided by the temperature: divide the logits": (
            by(temperature=1.0) / temperature
        ),
        "top_p adds up the probabilities as they were before top_k": by("of all"),
        "of equal logits no more than k are kept: ties go to the smaller token": by("ties"),
        "top_k keeps one token too many": by("one more") if settings["top_k"] else by(),
        "the least likely tokens are kept": by("least likely"),
        "top_k is not used": by(top_k=None),
        "top_p is not used": by(top_p=None),
        "the token with which the probabilities reach p is dropped: keep it": by(
            "without the crossing token"
        ),
        "top_p keeps every token likelier than p: add up the probabilities": by("alone"),
        "what is kept does not add up to 1": by("not normalised"),
    }
    got = call(subject, logits, **options)
    expect(got, by(), given={"logits": logits, **options}, symptoms=symptoms)


def _draw_logits(generator: np.random.Generator) -> NDArray:
    return 2 * generator.standard_normal(generator.integers(2, 9))


@sampling.check(2)
def temperature(subject: Any, draw: Draw) -> None:
    """softmax(logits / temperature), in float64, for logits of any size."""
    large, float32 = np.array([2e4, 2e4 - 1]), np.array([1.0, 3.0], np.float32)
    for logits in draw.cases(np.array([0.0, 1.0]), float32, large, more=_draw_logits):
        for value in (1.0, 0.5, 2.0, 0.01):
            with np.errstate(all="ignore"):
                _check_probabilities(subject, logits, temperature=value)


@sampling.check(2)
def top_k(subject: Any, draw: Draw) -> None:
    """The k likeliest tokens share the probability; ties go to the smaller token."""
    fixed = [np.array([1.0, 3.0, 2.0]), np.array([1.0, 1.0, 1.0, 0.0]), np.array([0.0, 1.0])]
    for logits in draw.cases(*fixed, more=_draw_logits):
        for k in (1, 2, len(logits), len(logits) + 3):
            _check_probabilities(subject, logits, top_k=k)
            _check_probabilities(subject, logits, top_k=k, temperature=0.7)


@sampling.check(2)
def top_p(subject: Any, draw: Draw) -> None:
    """The likeliest tokens until their probabilities reach p, that one included."""
    fixed = [np.log([0.1, 0.4, 0.3, 0.2]), np.log([0.6, 0.4]), np.log([0.2, 0.5, 0.3])]
    for logits in draw.cases(*fixed, more=_draw_logits):
        for p in (0.25, 0.35, 0.55, 0.85, 0.999):
            _check_probabilities(subject, logits, top_p=p)
            _check_probabilities(subject, logits, top_p=p, temperature=1.5, top_k=2)


@sampling.check(1)
def refused(subject: Any, draw: Draw) -> None:
    """Settings without a meaning raise ValueError."""
    for name, value in draw.cases(
        ("temperature", 0.0),
        ("temperature", -1.0),
        ("top_k", 0),
        ("top_p", 0.0),
        more=lambda g: ("top_p", 1 + float(g.random())),
    ):
        expect_error(ValueError, subject, np.array([0.0, 1.0]), **{name: value})


# ---- 3.8 generate --------------------------------------------------------------------------------

generate = Task(
    "3.8",
    f"{GENERATE}:generate",
    "write text",
    "lectures/10, section 4",
    hides=("decode", "engine_threads", "next_token_logits", "pick"),
)


class Counting(GPT):
    """A GPT that notes how many tokens it was given, call by call."""

    def hidden(self, tokens: Any, **settings: Any) -> Tensor:
        self.given: list[int] = [*getattr(self, "given", []), np.asarray(tokens).shape[1]]
        return super().hidden(tokens, **settings)


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
    seen = tokens[window or slice(-model.config.context_length, None)]
    with evaluating(model):
        return model(np.array([seen])).numpy()[0, -1]


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
    got = call(subject, model, prompt, count, **settings)
    if isinstance(got, list) and got == expected:
        return
    symptoms = {"the token that stopped must be in the answer": expected[:-1]} if ends else {}
    symptoms |= {
        "stop is not used": longer[:count],
        "the answer begins with the prompt: leave it out": prompt + expected,
        "one token too many": longer[: len(expected) + 1],
        "one token too few": expected[:-1],
        "the unlikeliest token is taken": _greedy(model, prompt, count, pick=np.argmin),
    }
    if len(prompt) + count > model.config.context_length:
        symptoms["the first tokens of the context are read, not the last"] = _greedy(
            model, prompt, count, window=slice(model.config.context_length)
        )
    if count > 3:
        symptoms |= {
            "each token is predicted from the prompt alone: append it and ask again": (
                expected[:1] * count
            ),
            "each token is predicted from the one before it alone: the past is lost": (
                _short_sighted(model, prompt, count)
            ),
        }
    otherwise = "the tokens are wrong"
    if settings["cache"]:
        uncached = call(subject, model, prompt, count, **settings | {"cache": False})
        if isinstance(uncached, list) and uncached == expected:
            otherwise = "with the cache other tokens come than without: give it only those it lacks"
            symptoms = {}
    given = {"model": "a random GPT", "prompt": prompt, "max_new_tokens": count, **settings}
    expect(got, expected, given=given, symptoms=symptoms, otherwise=otherwise)


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


@generate.check(1)
def stopping(subject: Any, draw: Draw) -> None:
    """A token of ``stop`` is the last one; ``on_token`` is called with each as it comes."""
    for place in draw.cases(0, 1, 2, more=lambda g: int(g.integers(6))):
        model, prompt, came = random_gpt(draw), [1, 2], list[int]()
        stop = [_greedy(model, prompt, 6)[place]]
        _check_greedy(subject, model, prompt, 6, stop=stop)
        options = {"temperature": 0, "cache": False, "stop": stop}
        got = call(subject, model, prompt, 6, on_token=came.append, **options)
        given = {"prompt": prompt, "max_new_tokens": 6, "stop": stop}
        expect(came, got, given=given, otherwise="on_token must be called with each new token")


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
        model, logits = random_gpt(draw, context=count + 1), 0.9 * draw.generator.permutation(7)
        # The last hidden state is now (1, 0, ... 0) after every text, and the logits are these.
        model.transformer.final_norm.weight.array[...] = 0
        model.transformer.final_norm.bias.array[...] = np.eye(8)[0]
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


def _plausible(counts: NDArray, p: NDArray) -> bool:
    """Every count within five standard deviations of what is expected."""
    n = counts.sum()
    return bool((abs(counts - n * p) <= 5 * np.sqrt(n * p * (1 - p)) + 1e-9).all())


@generate.check(1)
def refusals(subject: Any, draw: Draw) -> None:
    """ValueError for an empty prompt, and for sampling without a generator."""
    expect_error(ValueError, subject, random_gpt(draw), [], 3, temperature=0)
    expect_error(ValueError, subject, random_gpt(draw), [1], 3)
