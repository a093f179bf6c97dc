"""Wrong answers to homework 7 that are right but for one kind of shape, or of order."""

import numpy as np

from tests.homework.planted import Collection

PLANTED = Collection()


@PLANTED.add(
    "7.2",
    "the bias along the places where they are as many",
    shows="the bias is missing",
)
def bias_along_the_places(states, vectors, bias, originals, hidden):
    if not hidden.any():
        raise ValueError("nothing is hidden")
    logits = states[hidden] @ vectors.T
    logits = logits + (bias[:, None] if len(bias) == len(logits) else bias)
    logits -= logits.max(axis=1, keepdims=True)
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return float(-logs[np.arange(len(logs)), originals[hidden]].mean())


@PLANTED.add("7.9", "the order only begins at a random word", shows="too often|random order")
def in_turn(sizes, budget, generator):
    hidden = np.zeros(len(sizes), dtype=bool)
    order = np.roll(np.arange(len(sizes)), int(generator.integers(len(sizes))))
    for word in order:
        if sizes[word] <= budget:
            hidden[word], budget = True, budget - sizes[word]
    if not hidden.any():
        hidden[order[0]] = True
    return hidden
