"""The numbers that lecture 00 prints, computed."""

import math

import numpy as np
import pytest

from minissl import Tensor
from minissl.autograd import operations as ops
from minissl.autograd.composed import cross_entropy
from minissl.autograd.fused.convolution import conv2d
from minissl.nn import Conv2d, LayerNorm, Linear, Module
from minissl.nn.layers import Dropout, Embedding
from minissl.nn.module import Parameter
from minissl.optim import AdamW
from tests.lectures.reading import figures, says, text


def test_arrays():
    product = np.array([[1, 2], [3, 4]]) * np.array([10, 100])
    assert product.tolist() == [[10, 200], [30, 400]]
    assert r"\begin{pmatrix} 10 & 200 \\ 30 & 400 \end{pmatrix}" in text("00")
    says("00", "0.96", 24 / (5 * 5))
    assert np.dot([3, 4], [4, 3]) == 24
    assert np.hypot(3, 4) == 5


def test_chain_rule():
    w = Tensor(np.float64(2.0) * np.ones(()), requires_grad=True)
    ((w * 3.0 - 5.0) ** 2).backward()
    assert w.grad == 6
    says("00", "1.94", 2 - 0.01 * 6)
    says("00", "0.82", 3 * 1.94 - 5)
    says("00", "0.6724", (3 * 1.94 - 5) ** 2)
    w.grad = None
    ((w * 3.0 - 5.0) ** 2 + w).backward()
    assert w.grad == 7
    assert "(7: two uses of $w$.)" in text("00")


def test_loss():
    logits = Tensor(np.array([[0.0, math.log(3)]]), requires_grad=True)
    loss = cross_entropy(logits, np.array([1]))
    says("00", "0.288", float(loss.numpy()))
    says("00", "1.386", float(cross_entropy(logits, np.array([0])).numpy()))
    loss.backward()
    assert logits.grad == pytest.approx(np.array([[0.25, -0.25]]))


@pytest.mark.parametrize("gradient", [0.001, 1000.0])
def test_adams_first_step_is_the_learning_rate(gradient):
    place = Parameter(np.zeros(1))
    optimizer = AdamW([("place", place)], 0.01, weight_decay=0.0)
    place.grad = np.full(1, gradient)
    optimizer.step()
    assert place.array == pytest.approx([-0.01], rel=2e-5)  # epsilon is 1e-8


def test_the_figure():
    ends = {}
    for name in figures("00")["OPTIMIZERS"]:
        x, y = figures("00")["best"](name)[1][-1]
        ends[name] = (x * x + figures("00")["STEEPNESS"] * y * y) / 2
    says("00", "0.80", ends["gradient descent"])
    says("00", "0.030", ends["momentum 0.9"])
    says("00", "0.011", ends["Adam"])
    assert figures("00")["STEPS"] == 60
    assert len(figures("00")["RATES"]) == 7


def test_embedding():
    table = Embedding(3, 2, generator=np.random.default_rng(0))
    one_hot = np.array([[0.0, 0.0, 1.0]], np.float32)
    assert np.array_equal(table(np.array([2])).numpy(), one_hot @ table.weight.numpy())
    ops.sum(table(np.array([2, 2, 0]))).backward()
    assert table.weight.grad.tolist() == [[1, 1], [0, 0], [2, 2]]


def test_convolution():
    row = np.array([0.0, 0, 1, 1, 0]).reshape(1, 1, 5, 1)
    weight = np.array([-1.0, 1.0]).reshape(1, 1, 2, 1)
    assert conv2d(Tensor(row), Tensor(weight)).numpy().ravel().tolist() == [0, 1, 0, -1]

    def size(module: Module) -> int:
        return sum(parameter.size for _, parameter in module.named_parameters())

    generator = np.random.default_rng(0)
    assert size(Conv2d(16, 32, 3, generator=generator)) == 32 * (9 * 16 + 1)
    says("00", "4640", 32 * (9 * 16 + 1))
    assert pytest.approx(300e6, rel=0.1) == 28 * 28 * 16 * 28 * 28 * 32  # three hundred million
    says("00", "608", size(Conv2d(3, 8, 5, generator=generator)))
    assert size(Linear(3, 4, generator=generator)) == 16


def test_layer_norm():
    x = np.array([1.0, 2.0, 3.0, 6.0])
    assert (x.mean(), x.var()) == (3, 3.5)
    y = LayerNorm(4, eps=0.0)(Tensor(x.astype(np.float32)[None])).numpy()[0]
    says("00", "−1.069", y[0])
    says("00", "−0.535", y[1])
    says("00", "1.604", y[3])
    tenfold = LayerNorm(4, eps=0.0)(Tensor(10 * x.astype(np.float32)[None])).numpy()[0]
    assert tenfold == pytest.approx(y, abs=1e-6)


def test_dropout():
    x = Tensor(np.array([2.0, 4.0, 6.0, 8.0]))
    layer = Dropout(0.5)
    draws = [layer(x, np.random.default_rng(seed)).numpy() for seed in range(2000)]
    assert [4, 0, 0, 16] in [draw.tolist() for draw in draws]
    assert np.mean(draws, axis=0) == pytest.approx(x.numpy(), rel=0.1)
    layer.eval()
    assert layer(x) is x
