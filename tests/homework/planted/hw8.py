"""Wrong answers to homework 8, adaptation: thin matrices, and those of the other files."""

import numpy as np

from minissl.adapt.efficient.lora import LoRA
from minissl.autograd import operations as ops
from minissl.autograd.fused.convolution import conv2d
from minissl.nn.layers import Linear
from tests.homework.planted import (
    Collection,
    hw8_answers,
    hw8_borrowed,
    hw8_counting,
    hw8_experiment,
    hw8_prefix,
)

PLANTED = Collection(
    [
        *hw8_prefix.PLANTED,
        *hw8_answers.PLANTED,
        *hw8_counting.PLANTED,
        *hw8_borrowed.PLANTED,
        *hw8_experiment.PLANTED,
    ]
)


# ---- 8.1 LoRA.forward ----------------------------------------------------------------------------


def lora(
    first=lambda module, x: module.inner(x),
    middle=lambda module, x: ops.linear(x, module.down),
    thin=lambda module, h: ops.linear(h, module.up),
    scale=lambda module: module.scale,
    finish=lambda y: y,
    weight=lambda module: module.inner.weight + module.update(),
    bias=lambda inner: inner.bias,
    how=lambda inner: {"stride": inner.stride, "padding": inner.padding, "relu": inner.relu},
    convolved=None,
):
    """LoRA.forward with something to get wrong in it."""

    class Written(LoRA):
        def forward(self, x):
            inner = self.inner
            if isinstance(inner, Linear):
                added = thin(self, middle(self, x)) * scale(self)
                return finish(first(self, x) + added)
            if convolved is not None:
                return convolved(self, x)
            return conv2d(x, weight(self), bias(inner), **how(inner))

    return Written


class LoRAByMatmul(LoRA):
    """With transposed matrices, and the factor on x."""

    def forward(self, x):
        inner = self.inner
        if not isinstance(inner, Linear):
            whole = inner.weight + self.update()
            return conv2d(x, whole, inner.bias, stride=inner.stride, padding=inner.padding)
        if not hasattr(x, "requires_grad"):
            x = ops.reshape(inner.weight[:1, :1] * 0 + 1, ()) * x
        flat = ops.reshape(x, (-1, x.shape[-1]))
        thin = ops.matmul(flat * self.scale, ops.matrix_transpose(self.down))
        added = ops.matmul(thin, ops.matrix_transpose(self.up))
        return inner(x) + ops.reshape(added, (*x.shape[:-1], -1))


def _merged(module, x):
    """The update as a matrix."""
    return ops.linear(x, module.update() / module.scale)


for _mistake, _shows, _lora in [
    ("no factor", "factor alpha / rank is missing", lora(scale=lambda module: 1.0)),
    ("alpha alone", "not alpha", lora(scale=lambda m: m.scale * m.down.shape[0])),
    ("divided twice", "divided by the rank twice", lora(scale=lambda m: m.scale / m.down.shape[0])),
    ("a root", "its root was taken", lora(scale=lambda module: module.scale**0.5)),
    ("no layer", "frozen layer is missing", lora(first=lambda module, x: 0.0)),
    ("no update", "update is missing", lora(scale=lambda module: 0.0)),
    ("taken off", "added, not taken off", lora(scale=lambda module: -module.scale)),
    ("the factor of all", "of the update alone", lora(
        first=lambda module, x: module.inner(x) * module.scale)),
    ("the bias twice", "bias was added twice", lora(
        first=lambda m, x: m.inner(x) if m.inner.bias is None else m.inner(x) + m.inner.bias)),
    ("no bias", "bias of the layer is missing", lora(
        first=lambda module, x: ops.linear(x, module.inner.weight))),
    ("a large update", "overflows here", lora(
        middle=lambda module, x: x, thin=lambda m, x: ops.linear(x, ops.matmul(m.up, m.down)))),
    ("down is cut off", "no gradient reaches down|gradient by down", lora(
        middle=lambda module, x: ops.linear(x, module.down.numpy()))),
    ("up is cut off", "no gradient reaches up|gradient by up", lora(
        thin=lambda module, h: ops.linear(h, module.up.numpy()))),
    ("the weight learns", "got a gradient|raised", lora(
        first=lambda module, x: _thawed(module.inner)(x))),
    ("a convolution as it was", "update is missing: this is the frozen convolution", lora(
        weight=lambda module: module.inner.weight)),
    ("a convolution without bias", "bias of the convolution", lora(bias=lambda inner: None)),
    ("stride 1", "shape is", lora(how=lambda inner: {"padding": inner.padding})),
    ("no padding", "shape is", lora(how=lambda inner: {"stride": inner.stride})),
    ("no convolution", "shape is", lora(
        convolved=lambda module, x: ops.linear(x, module.down))),
    ("float64", "dtype is", lora(finish=lambda y: y.astype("float64"))),
    ("a bend between", "values are wrong", lora(thin=lambda m, h: ops.linear(ops.tanh(h), m.up))),
]:  # fmt: skip
    PLANTED.add("8.1", _mistake, shows=_shows)(_lora)


def _thawed(inner):
    inner.weight.requires_grad = True
    return inner


# ---- 8.2 merge -----------------------------------------------------------------------------------


def merger(
    factor=lambda alpha, down: alpha / len(down),
    whole=lambda weight, change: weight + change,
    of=lambda weight, change: change,
    count=lambda values: int(np.sum(values > 1e-9 * values.max())),
    finish=lambda merged, rank: (merged, rank),
):
    """merge with something to get wrong in it."""

    def merge(weight, down, up, alpha):
        change = factor(alpha, down) * np.einsum("or,ri->oi", up, down)
        values = np.linalg.svd(of(weight, change))[1]
        return finish(whole(weight, change), count(values))

    return merge


def merged_by_steps(weight, down, up, alpha):
    """Row after row, the rank by NumPy."""
    merged = weight.copy()
    for u, d in zip(up.T, down):
        merged += alpha / len(down) * np.outer(u, d)
    update = up @ down
    largest = np.linalg.norm(update, 2)
    return merged, int(np.linalg.matrix_rank(update, tol=1e-9 * largest)) if largest else 0


def _into(weight, change):
    weight += change
    return weight


for _mistake, _shows, _merger in [
    ("no factor", "alpha / rank is missing", merger(factor=lambda alpha, down: 1.0)),
    ("alpha alone", "not alpha", merger(factor=lambda alpha, down: alpha)),
    ("the update alone", "add it to the weight", merger(whole=lambda weight, change: change)),
    ("taken off", "not taken off", merger(whole=lambda weight, change: weight - change)),
    ("nothing merged", "update is missing", merger(whole=lambda weight, change: weight.copy())),
    ("into the weight", "changed its input", merger(whole=_into)),
    ("the weight itself", "make a new array", merger(
        whole=lambda weight, change: weight + change if change.any() else weight)),
    ("the rank of the weight", "rank of the weight", merger(of=lambda weight, change: weight)),
    ("the rank of the merged", "rank of the weight", merger(of=lambda w, change: w + change)),
    ("the rank of down", "may be less", lambda weight, down, up, alpha: (
        merger()(weight, down, up, alpha)[0], len(down))),
    ("all singular values", "is no rank|rank of the weight", merger(
        count=lambda values: len(values))),
    ("all that are not 0", "is no rank|rank of the weight|may be less", merger(
        count=lambda values: int(np.sum(values > 0)))),
    ("an absolute bound", "updates may be small", merger(
        count=lambda values: int(np.sum(values > 1e-6)))),
    ("the bound as it stands", "updates may be small", merger(
        count=lambda values: int(np.sum(values > 1e-9)))),
    ("a sum of singular values", "expected int, got float|expected int", merger(
        count=lambda values: float(values.sum()))),
    ("the weight alone", "expected a weight and a rank", merger(
        finish=lambda merged, rank: merged)),
]:  # fmt: skip
    PLANTED.add("8.2", _mistake, shows=_shows)(_merger)


# ---- 8.3 lora_gradients --------------------------------------------------------------------------


def sloper(
    scale=lambda alpha, down: alpha / len(down),
    by_x=lambda by_y, weight, back, down: by_y @ weight + back @ down,
    by_down=lambda back, x: back.T @ x,
    by_up=lambda by_y, thin: by_y.T @ thin,
    finish=lambda by_x, by_down, by_up: (by_x, by_down, by_up),
):
    """lora_gradients with something to get wrong in it."""

    def lora_gradients(weight, down, up, alpha, x, by_y):
        scaled = by_y * scale(alpha, down)
        back = np.einsum("no,or->nr", scaled, up)
        thin = np.einsum("ni,ri->nr", x, down)
        return finish(by_x(by_y, weight, back, down), by_down(back, x), by_up(scaled, thin))

    return lora_gradients


def slopes_example_by_example(weight, down, up, alpha, x, by_y):
    """Outer products, added up."""
    gradients = [np.zeros(x.shape), np.zeros(down.shape), np.zeros(up.shape)]
    for i, (row, g) in enumerate(zip(x, by_y)):
        back = up.T @ g * (alpha / len(down))
        gradients[0][i] = g @ weight + back @ down
        gradients[1] += np.outer(back, row)
        gradients[2] += np.outer(g, down @ row) * (alpha / len(down))
    return tuple(gradients)


def by_the_whole(weight, down, up, alpha, x, by_y):
    """Through the gradient of the weight."""
    scale = alpha / len(down)
    by_weight = by_y.T @ x
    by_x = by_y @ (weight + scale * up @ down)
    return by_x, scale * up.T @ by_weight, scale * by_weight @ down.T


for _mistake, _shows, _sloper in [
    ("no factor", "alpha / rank is missing", sloper(scale=lambda alpha, down: 1.0)),
    ("alpha alone", "not alpha", sloper(scale=lambda alpha, down: alpha)),
    ("no way through the weight", "through the weight is missing", sloper(
        by_x=lambda by_y, weight, back, down: back @ down)),
    ("the weight alone", "through the thin matrices is missing", sloper(
        by_x=lambda by_y, weight, back, down: by_y @ weight)),
    ("the mean", "not their mean", sloper(by_up=lambda by_y, thin: by_y.T @ thin / len(by_y))),
    ("uphill", "sign is wrong", sloper(finish=lambda *found: tuple(-g for g in found))),
    ("turned", "it is turned|shape is", sloper(finish=lambda x, down, up: (x, down.T, up))),
    ("exchanged", "shape is|is wrong", sloper(finish=lambda x, down, up: (x, up, down))),
    ("by down without up", "by down is wrong|shape is|raised", sloper(
        by_down=lambda back, x: np.ones_like(back).T @ x)),
    ("by up without down", "by up is wrong", sloper(
        by_up=lambda by_y, thin: by_y.T @ np.ones_like(thin))),
    ("through the weight's gradient", "as large as the weight", by_the_whole),
    ("down moves at once", "though up is 0|by down is wrong", sloper(
        by_down=lambda back, x: back.T @ x + 1e-3)),
    ("two gradients", "expected three gradients", sloper(finish=lambda x, down, up: (down, up))),
]:  # fmt: skip
    PLANTED.add("8.3", _mistake, shows=_shows)(_sloper)


@PLANTED.add("8.3", "the factor is squared", shows="taken twice")
def squared_factor(weight, down, up, alpha, x, by_y):
    by_x, by_down, by_up = slopes_example_by_example(weight, down, up, alpha, x, by_y)
    return by_x, by_down * alpha / len(down), by_up


@PLANTED.add("8.3", "of the examples one alone", shows="by down is wrong|by up is wrong")
def of_the_first(weight, down, up, alpha, x, by_y):
    by_x = slopes_example_by_example(weight, down, up, alpha, x, by_y)[0]
    return by_x, *slopes_example_by_example(weight, down, up, alpha, x[:1], by_y[:1])[1:]
