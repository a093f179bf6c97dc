"""Homework 8, written in other styles."""

import math
import re

import numpy as np

from minissl.adapt.efficient.lora import LoRA
from minissl.autograd import operations as ops
from minissl.autograd.fused.convolution import conv2d
from minissl.nn.convolution import Conv2d
from tests.homework.planted import (
    hw8,
    hw8_answers,
    hw8_counting,
    hw8_experiment,
    hw8_prefix,
)


class LoRAByOperators(LoRA):
    """With @, and one branch for images."""

    def forward(self, x):
        layer = self.inner
        if isinstance(layer, Conv2d):
            settings = {name: getattr(layer, name) for name in ("stride", "padding", "relu")}
            return conv2d(x, self.update() + layer.weight, layer.bias, **settings)
        thin = ops.linear(x, self.down) * self.scale
        return ops.linear(thin, self.up) + layer(x)


def merged_by_eigenvalues(weight, down, up, alpha):
    """The singular values are those of two small triangles."""
    merged = np.array(weight)
    change = np.dot(up * (alpha / down.shape[0]), down)
    merged += change
    left, right = np.linalg.qr(up)[1], np.linalg.qr(down.T)[1]
    values = np.linalg.svd(left @ right.T)[1]
    largest = max(values, default=0.0)
    return merged, sum(bool(value > 1e-9 * largest) for value in values)


def slopes_by_einsum(weight, down, up, alpha, x, by_y):
    """By the names of the axes."""
    scale = alpha / down.shape[0]
    thin = np.einsum("ri,ni->nr", down, x)
    back = np.einsum("no,or->nr", by_y, up)
    by_x = np.einsum("no,oi->ni", by_y, weight) + scale * np.einsum("nr,ri->ni", back, down)
    by_down = scale * np.einsum("nr,ni->ri", back, x)
    return by_x, by_down, scale * np.einsum("no,nr->or", by_y, thin)


def prefixed_by_two_parts(query, key, value, prefix, lengths, *, causal):
    """Two sums of powers with one largest score, joined at the end."""
    outputs = np.zeros(query.shape)
    for row, length in enumerate(lengths):
        q = query[row, :length] / np.sqrt(query.shape[-1])
        inside = q @ key[row, :length].T
        if causal:
            inside[np.triu_indices(length, 1)] = -np.inf
        before = q @ prefix[0].T
        largest = np.max(np.hstack([before, inside]), axis=1)[:, None]
        a, b = np.exp(before - largest), np.exp(inside - largest)
        total = a.sum(axis=1) + b.sum(axis=1)
        outputs[row, :length] = (a @ prefix[1] + b @ value[row, :length]) / total[:, None]
    return outputs


def adapted_flat(h, weights):
    """All vectors in one matrix, z³ as a product."""
    rows = h.reshape(-1, h.shape[-1])
    z = rows @ weights[0].T
    z += weights[1]
    inside = (2 / np.pi) ** 0.5 * z * (1 + 0.044715 * z * z)
    z *= (0.5 * (1 + np.tanh(inside))).astype(z.dtype)
    added = z @ weights[2].T + weights[3]
    return (rows + added).reshape(h.shape)


def made_by_scaling(width, middle, generator):
    """Standard normal numbers, divided; both matrices from one draw."""
    numbers = generator.standard_normal((2, middle * width)) * 1e-2
    down = numbers[0].reshape(middle, width).astype(np.float32)
    up = numbers[1].reshape(width, middle).astype(np.float32)
    return down, np.zeros(middle, dtype="f4"), up, np.zeros(width, dtype="f4")


def span_by_sorting(start, end, context, *, longest, threshold=0.0):
    """All that may be, sorted."""
    spans = []
    for i in range(len(start)):
        j = i
        while j < len(end) and j < i + longest and context[j]:
            spans.append((-(start[i] + end[j]), i, j))
            j += 1
    if not spans:
        return None
    cost, i, j = min(spans)
    return (i, j) if not start[0] + end[0] > threshold - cost else None


def row_by_counting(words, tags, *, cls, sep, room):
    """The arrays are made first."""
    size = min(sum(len(word) for word in words) + 2, room)
    tokens, targets = np.full(size, sep, dtype=np.int64), np.full(size, -1, dtype=np.int64)
    tokens[0], place = cls, 1
    for word, tag in zip(words, tags):
        for number, token in enumerate(word):
            if place < size - 1:
                tokens[place] = token
                if number == 0:
                    targets[place] = tag
            place += 1
    return tokens, targets


def f1_by_a_pattern(right, found):
    """A sentence as a line of tags, names by a regular expression."""

    def names(sentences):
        kept = set()
        for number, tags in enumerate(sentences):
            line = " ".join(tags) + " "
            for name in re.finditer(r"[BI]-(\S+) (?:I-\1 )*", line):
                first = line[: name.start()].count(" ")
                kept.add((number, first, name[0].count(" "), name[1]))
        return kept

    a, b = names(right), names(found)
    if not a & b:
        return 0.0
    precision, recall = len(a & b) / len(b), len(a & b) / len(a)
    return 2 * precision * recall / (precision + recall)


def gate_by_lexsort(logits, top):
    """Sorted by P, then by number; the shares by bincount."""
    shifted = logits - np.max(logits, axis=1)[:, None]
    p = np.exp(shifted) / np.exp(shifted).sum(axis=1)[:, None]
    experts = p.shape[1]
    numbers = np.broadcast_to(np.arange(experts), p.shape)
    best = np.lexsort((numbers, -p), axis=1)[:, :top]
    weights = np.zeros_like(p)
    for token, chosen in enumerate(best):
        weights[token, chosen] = p[token, chosen] / p[token, chosen].sum()
    share = np.bincount(best.ravel(), minlength=experts) / best.size
    return weights, float(experts * np.dot(share, np.mean(p, axis=0)))


def bytes_by_sums(shapes, where, *, rank=0, number=4):
    """In one pass."""
    frozen = trained = 0
    for path, shape in shapes.items():
        matches = bool(re.compile(where).search(path))
        size = int(np.prod(shape))
        if rank or not matches:
            frozen += size
        if matches and not rank:
            trained += size
        elif matches and len(shape) == 2:
            out, columns = shape
            trained += rank * columns + out * rank
    if trained < 1:
        raise ValueError("nothing is trained")
    own = trained * number
    whole = frozen * number + own
    return {"saved": own, "weights": whole, "gradients": own, "optimizer": trained * 8}


RIGHT = {
    "8.1": hw8.lora(),
    "8.1 by matmul": hw8.LoRAByMatmul,
    "8.1 by operators": LoRAByOperators,
    "8.2": hw8.merger(),
    "8.2 by steps": hw8.merged_by_steps,
    "8.2 by triangles": merged_by_eigenvalues,
    "8.3": hw8.sloper(),
    "8.3 example by example": hw8.slopes_example_by_example,
    "8.3 by einsum": slopes_by_einsum,
    "8.4": hw8_prefix.prefixer(),
    "8.4 query by query": hw8_prefix.prefixed_query_by_query,
    "8.4 in two parts": prefixed_by_two_parts,
    "8.5": hw8_prefix.adapter(),
    "8.5 vector by vector": hw8_prefix.adapted_vector_by_vector,
    "8.5 flat": adapted_flat,
    "8.6": hw8_prefix.maker(),
    "8.6 number by number": hw8_prefix.made_number_by_number,
    "8.6 by scaling": made_by_scaling,
    "8.7": hw8_answers.spanner(),
    "8.7 by running ends": hw8_answers.span_by_running_ends,
    "8.7 by sorting": span_by_sorting,
    "8.8": hw8_answers.rower(),
    "8.8 by repeats": hw8_answers.row_by_repeats,
    "8.8 by counting": row_by_counting,
    "8.9": hw8_answers.scorer(),
    "8.9 by keys": hw8_answers.f1_by_keys,
    "8.9 by a pattern": f1_by_a_pattern,
    "8.10": hw8_counting.gater(),
    "8.10 token by token": hw8_counting.gate_token_by_token,
    "8.10 by lexsort": gate_by_lexsort,
    "8.11": hw8_counting.counter(),
    "8.11 of arrays": hw8_counting.bytes_of_arrays,
    "8.11 by sums": bytes_by_sums,
    "8.12": hw8_experiment.handed(
        open_up=hw8_experiment.opener(),
        kilobytes=hw8_experiment.counter(),
        measure=hw8_experiment.recipe(),
    ),
    "8.12 layer by layer": hw8_experiment.handed(
        open_up=hw8_experiment.open_layer_by_layer,
        kilobytes=lambda parameters: math.fsum(
            0.003 * p.size * p.numpy().itemsize for p in parameters if p.requires_grad
        ),
    ),
}
