"""Homework 7, the network: task 7.8, a head with its gradients by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.homework.assignments import hw7_oracle as oracle
from minissl.homework.assignments.differences import differences
from minissl.homework.assignments.hw7_hiding import BY_HAND, unless_near
from minissl.homework.assignments.hw7_network import SHARP
from minissl.homework.task import Draw, Task, Wrong, call, expect

# ---- 7.8 classify --------------------------------------------------------------------------------

classify = Task("7.8", f"{BY_HAND}:classify", "a classifier on [CLS]", "lecture 08, section 5")
NAMES = ("states", "weight", "bias", "output")


def _classified(subject: Any, draw: Draw) -> Any:
    """The case by name, the loss and the gradients that were given, and the labels."""

    def more(generator: np.random.Generator) -> tuple[int, int, int, int]:
        batch, time, width, classes = generator.integers(2, 4, 4).tolist()
        return batch, time, width, classes

    for batch, time, width, classes in draw.cases(
        (1, 2, 1, 2), (2, 3, 2, 3), (5, 1, 2, 2), more=more
    ):
        shapes = ((batch, time, width), (width, width), (width,), (classes, width))
        arrays = dict(zip(NAMES, (draw.normal(*shape) for shape in shapes)))
        labels = draw.generator.integers(classes, size=batch)
        given = {**arrays, "labels": labels}
        got = call(subject, *arrays.values(), labels)
        if not isinstance(got, tuple) or len(got) != 2 or len(got[1]) != 4:
            sentence = "expected the loss, and a tuple of four gradients"
            raise Wrong(sentence, given, got, "(loss, (four gradients))")
        found = [np.shape(gradient) for gradient in got[1]]
        if found != [*shapes] and sorted(found) == sorted(shapes):
            sentence = "the gradients are in the order states, weight, bias, output"
            raise Wrong(sentence, given, found, [*shapes])
        yield arrays, labels, given, got


@classify.check(1)
def loss_of_the_classifier(subject: Any, draw: Draw) -> None:
    """The mean of −ln softmax(tanh([CLS] · weightᵀ + bias) · outputᵀ) at the labels."""
    for arrays, labels, given, (loss, _) in _classified(subject, draw):
        states, weight, bias, output = arrays.values()

        def of(changed: Any = weight, **how: Any) -> float:
            return oracle.classified((states, changed, bias, output), labels, **how)  # noqa: B023

        symptoms = {
            "the last token's state was taken: [CLS] is the first": of(place=-1),
            "the mean of the states was taken: only that of [CLS]": oracle.classified(
                (states.mean(axis=1, keepdims=True), weight, bias, output), labels
            ),
            "the tanh is missing": of(squash=lambda x: x),
            "the weight is turned: state · weightᵀ": of(weight.T),
            "the bias is missing": of(squash=lambda x, b=bias: np.tanh(x - b)),
            "the sum was taken, not the mean": of() * len(labels),
            "the sign is wrong": -of(),
        }
        sentence = unless_near(float(loss), of())
        expect(float(loss), of(), given=given, symptoms=symptoms, otherwise=sentence)


def _check_slopes(subject: Any, draw: Draw, names: Sequence[str]) -> None:
    for arrays, labels, given, (_, gradients) in _classified(subject, draw):
        for name, got in zip(NAMES, gradients):
            if name not in names:
                continue

            def loss(x: NDArray, name: str = name, squash: Any = np.tanh) -> float:
                changed = {**arrays, name: x}  # noqa: B023
                return oracle.classified(changed.values(), labels, squash=squash)  # noqa: B023

            right = differences(loss, arrays[name])
            symptoms = {
                "this is the gradient of the sum over the batch, not of the mean": right
                * len(labels),
                "the sign is wrong": -right,
                "it is turned": right.T,
                "the slope of tanh is missing: 1 − pooled²": _slopes(
                    arrays, labels, slope=np.ones_like
                )[name],
                "the slope of tanh is 1 minus the square of the pooled state, not of its tanh":
                    _slopes(arrays, labels, slope=lambda pooled: 1 - np.tanh(pooled) ** 2)[name],
                "the gradient by the logits is p − 1 at the label: the 1 of the label is missing":
                    _slopes(arrays, labels, one=0.0)[name],
                "this was divided by the batch twice": right / len(labels),
            }  # fmt: skip
            if name == "states":
                everywhere = np.repeat(right[:, :1], right.shape[1], axis=1)
                symptoms["only [CLS] was read: the other states have a gradient of 0"] = everywhere
                symptoms["this is the gradient of [CLS]: that of all states is asked for"] = right[
                    :, 0
                ]
                alone = np.where(np.arange(len(right))[:, None, None] == 0, right, 0.0)
                symptoms["this is of the first example alone: each has a gradient"] = alone
            sentence = f"the gradient by {name} is wrong"
            expect(np.asarray(got), right, given=given, symptoms=symptoms, otherwise=sentence,
                   tolerance=1e-6)  # fmt: skip


def _slopes(
    arrays: dict[str, NDArray],
    labels: NDArray,
    slope: Any = lambda pooled: 1 - pooled**2,
    one: float = 1.0,
) -> dict[str, NDArray]:
    """The gradients as they are if the slope of tanh, or the 1 of the label, is another."""
    states, weight, bias, output = arrays.values()
    found = {name: np.zeros_like(array) for name, array in arrays.items()}
    for i, label in enumerate(labels):
        pooled = np.tanh(weight @ states[i, 0] + bias)
        by_logits = np.exp(oracle.log_softmax(list(output @ pooled)))
        by_logits[label] -= one
        back = slope(pooled) * (output.T @ by_logits) / len(labels)
        found["states"][i, 0] = weight.T @ back
        found["weight"] += np.outer(back, states[i, 0])
        found["bias"] += back
        found["output"] += np.outer(by_logits, pooled) / len(labels)
    return found


def _check_sharp_classifier(subject: Any, draw: Draw, names: Sequence[str]) -> None:
    """Three classes whose logits are 0, of rows of the output that are large and opposite."""
    state, factor, bias, large = (1 + draw.generator.random(4)) * [0.5, 0.5, 0.2, 1e4]
    states = np.concatenate([np.full((1, 1, 2), state), draw.normal(1, 2, 2)], axis=1)
    output = large * np.array([[1.0, -1.0], [-1.0, 1.0], [-1.0, 1.0]])
    label = int(draw.generator.integers(3))
    arrays = (states, factor * np.eye(2), np.full(2, bias), output)
    given = {**dict(zip(NAMES, arrays)), "labels": np.array([label])}
    back = (1 - math.tanh(state * factor + bias) ** 2) * (output.sum(axis=0) / 3 - output[label])
    by_states = np.concatenate([factor * back[None, None], np.zeros((1, 2, 2))], axis=1)
    right = {"states": by_states, "weight": np.outer(back, [state, state]), "bias": back}
    gradients = dict(zip(NAMES, call(subject, *given.values())[1]))
    for name in right.keys() & {*names}:
        got = np.asarray(gradients[name])
        expect(got, right[name], given=given, otherwise=SHARP, tolerance=1e-8)


@classify.check(3)
def slopes_of_the_heads(subject: Any, draw: Draw) -> None:
    """The gradients by weight, bias and output."""
    _check_slopes(subject, draw, ("weight", "bias", "output"))
    _check_sharp_classifier(subject, draw, ("weight", "bias", "output"))


@classify.check(2)
def slopes_of_the_states(subject: Any, draw: Draw) -> None:
    """The gradient by the states: 0 but for that of [CLS]."""
    _check_slopes(subject, draw, ("states",))
    _check_sharp_classifier(subject, draw, ("states",))
