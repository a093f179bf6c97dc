"""Text from a language model: sample the next token, append it, ask again. Lecture 10."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from minissl.autograd.threads import engine_threads
from minissl.models import decode
from minissl.nn.evaluating import evaluating


def generate(
    model: Any,
    prompt: Sequence[int],
    max_new_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: np.random.Generator | None = None,
    stop: Collection[int] = (),
    cache: bool = True,
    on_token: Callable[[int], None] | None = None,
) -> list[int]:
    """The tokens that continue ``prompt``, without it; at most ``max_new_tokens``.

    ``temperature``, ``top_k``, ``top_p``: see ``next_token_probabilities``; temperature 0 always
    takes the likeliest token (greedy) and needs no ``generator``. ``stop``: tokens after which to
    stop; the one that stopped is in the answer. ``cache``: keep the keys and values of the tokens
    so far, or the state (the same output, faster). ``on_token`` is called with each token as it
    comes.

    ``model``: a ``GPT``, or a ``RecurrentLM``, whose cache is its state. When the text is longer
    than a GPT's context, each token is predicted from the last context_length tokens alone. All of
    them move by one position then, so the cache is of no use any more, and a token costs a whole
    window. Nothing is dropped out, and afterwards the model is in the mode it was in.

    Raises ValueError for an empty prompt (begin with the separator), and for sampling without a
    generator.
    """
    if len(prompt) == 0:
        raise ValueError("an empty prompt predicts nothing: begin with the separator token")
    if temperature != 0 and generator is None:
        raise ValueError("sampling needs generator=np.random.default_rng(seed), or temperature=0")
    tokens = [int(token) for token in prompt]
    caches, quick = (model.new_caches(), decode.applies_to(model)) if cache else (None, False)
    with engine_threads(1), evaluating(model):  # one token is too little work to share
        for _ in range(max_new_tokens):
            logits = next_token_logits(model, tokens, caches, quick=quick)
            tokens.append(pick(logits, temperature, top_k, top_p, generator))
            if on_token is not None:
                on_token(tokens[-1])
            if tokens[-1] in stop:
                break
    return tokens[len(prompt) :]


def next_token_logits(
    model: Any,
    tokens: Sequence[int],
    caches: Sequence[Any] | None = None,
    *,
    quick: bool = False,
) -> np.ndarray:
    """Logits (vocab_size,) of what follows ``tokens``; of those, ``caches`` know the first ones.

    ``quick``: take the plain NumPy step where one token is new (if ``decode.applies_to(model)``).
    The model is used as it is: call inside ``evaluating(model)``.
    """
    known = caches[0].length if caches else 0
    if len(tokens) > model.context_length:
        tokens, known, caches = tokens[-int(model.context_length) :], 0, None
    if caches and quick and 0 < known == len(tokens) - 1:
        return decode.step(model, tokens[-1], caches)
    hidden = model.hidden(np.array([tokens[known:]]), caches=caches)
    return model.logits(hidden[0, -1:]).numpy()[0]


def next_token_probabilities(
    logits: np.ndarray,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> np.ndarray:
    """The distribution that sampling draws from: (vocab_size,) -> (vocab_size,), float64.

    softmax(logits / temperature): below 1 the likely become likelier. Then ``top_k`` keeps the k
    likeliest tokens (Fan et al., 2018), which are made to add up to 1, and of these ``top_p`` the
    smallest set of likeliest tokens whose probabilities reach p (Holtzman et al., 2020); the rest
    is 0 and what is kept adds up to 1. Ties go to the smaller token. Raises ValueError for a
    temperature ≤ 0, k < 1, p outside (0, 1], and for logits whose largest is not a finite number.
    """
    if not temperature > 0:
        raise ValueError(
            f"temperature must be positive (0 means greedy, no draw), got {temperature}"
        )
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be 1 or more, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must be in (0, 1], got {top_p}")
    scaled = logits.astype(np.float64)
    scaled -= scaled[_likeliest(scaled)]
    scaled /= temperature
    probabilities = np.exp(scaled, out=scaled)
    if top_k is not None or top_p is not None:
        order = np.argsort(-probabilities, kind="stable")[:top_k]
        if top_p is not None:
            reached = np.cumsum(probabilities[order])
            reached /= reached[-1]
            order = order[: np.searchsorted(reached, top_p) + 1]
        kept = probabilities[order]
        probabilities[:] = 0
        probabilities[order] = kept
    probabilities /= probabilities.sum()
    return probabilities


def _likeliest(logits: np.ndarray) -> int:
    """The token of the largest logit; −inf is a token that is ruled out."""
    likeliest = int(logits.argmax())
    if not np.isfinite(logits[likeliest]):  # argmax stops at a NaN
        raise ValueError(
            f"the largest logit, of token {likeliest}, is {logits[likeliest]}: it predicts "
            "nothing. Look at the weights, and whether the training diverged"
        )
    return likeliest


def pick(
    logits: np.ndarray,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    generator: np.random.Generator | None,
) -> int:
    """The likeliest token, or one drawn from ``next_token_probabilities``."""
    if temperature == 0:
        return _likeliest(logits)
    assert generator is not None
    probabilities = next_token_probabilities(
        logits, temperature=temperature, top_k=top_k, top_p=top_p
    )
    reached = np.cumsum(probabilities)
    return int(np.searchsorted(reached, generator.random() * reached[-1], side="right"))
