"""``checked()``: arrays written between forward and backward, and where NaN began."""

import re

import numpy as np
import pytest
import torch

from minissl.autograd import Tensor, checked, fused
from minissl.autograd import operations as ops
from minissl.autograd.processes import gather_rows
from minissl.autograd.recompute import recompute
from minissl.autograd.tensor import differentiable
from minissl.models.gpt import GPT, GPTConfig
from minissl.nn import LSTM, Linear
from tests.autograd.cases import CASES
from tests.autograd.compare import ours, random_like, to_float64
from tests.autograd.fused_cases import FUSED_CASES

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy says "divide by zero"
libraries = pytest.mark.parametrize("library", [np.array, torch.tensor], ids=["numpy", "torch"])


def run(case, tensors):
    return (getattr(case, "ours", None) or case.run)(*tensors)


@libraries
@pytest.mark.parametrize("case", [*CASES, *FUSED_CASES], ids=lambda case: case.name)
def test_every_write_that_would_change_a_gradient_is_noticed(case, library):
    """Write into each input: either the gradients stay right, or there is an error."""
    arrays = case.inputs(seed=3)
    function = getattr(case, "ours", None) or case.run
    cotangent = library(random_like(function(*map(Tensor, arrays))))
    _, expected = ours(function, [library(a) for a in arrays], cotangent)
    for written in [None, *range(len(arrays))]:
        tensors = [Tensor(library(a), requires_grad=a.dtype.kind == "f") for a in arrays]
        with checked():
            output = function(*tensors)
        if written is not None:
            changed = tensors[written].array.reshape(-1)
            changed[0] = not changed[0] if arrays[written].dtype == bool else changed[0] + 1
        said = error_of(lambda output=output: output.backward(cotangent))
        if said is None:
            found = [t.grad for t in tensors if t.requires_grad]
            for mine, theirs in zip(found, expected, strict=True):
                np.testing.assert_array_equal(to_float64(mine), to_float64(theirs))
        else:
            assert written is not None, said
            assert re.search(r"(input \d|output) of '\w+', of shape .*, was written", said)


@libraries
@pytest.mark.parametrize(
    "use",
    [
        lambda x, i: x[i],
        lambda x, i: x[:, i],
        lambda x, i: ops.take(x, i, axis=1),
        lambda x, i: ops.take_along_axis(x, i[:, None], axis=1),
        lambda x, i: fused.cross_entropy(x, i),
        lambda x, i: fused.contrastive_cross_entropy(x, x, i, temperature=0.5),
        lambda x, i: ops.where(i > 0, x[0, 0], x[1, 1]),  # a mask of one's own: nobody writes it
    ],
)
def test_an_index_that_is_written_changes_no_gradient_in_silence(use, library):
    def gradient(write):
        x = Tensor(library(np.random.default_rng(0).normal(size=(3, 3))), requires_grad=True)
        index = library(np.array([0, 1, 2]))
        with checked():
            y = use(x, index)
        if write:
            index[0] = 2
        said = error_of(lambda: y.backward(library(random_like(y))))
        return (None if said else to_float64(x.grad)), said

    expected, _ = gradient(False)
    found, said = gradient(True)
    if said is None:
        np.testing.assert_array_equal(found, expected)
    else:
        assert re.search(r"of '\w+', of shape \(.*\), was written", said)


def error_of(call):
    try:
        call()
    except RuntimeError as error:
        return str(error)
    return None


def test_the_example_of_the_lecture():
    x = Tensor([1.0, 2.0], requires_grad=True)
    with checked():
        y = x * x
    x.array[0] = 100.0
    with pytest.raises(RuntimeError, match=r"input 0 of 'multiply', of shape \(2,\), was written"):
        y.sum().backward()


def test_what_no_rule_needs_may_be_written():
    x, c = Tensor([1.0, 2.0], requires_grad=True), Tensor([3.0, 4.0])
    with checked():
        y = (x + 1.0) * c  # the rule for x needs c, and nobody needs x
    x.array[0] = 100.0
    y.backward(np.float32([1, 1]))
    assert x.grad.tolist() == [3, 4]


def test_an_output_that_a_rule_needs():
    x = Tensor([1.0], requires_grad=True)
    with checked():
        y = ops.exp(x)
    y.array[0] = 0.0
    with pytest.raises(RuntimeError, match="output of 'exp'"):
        y.backward()


def test_parameters_that_an_optimizer_moved_too_early():
    model = Linear(2, 2, generator=np.random.default_rng(0))
    x = Tensor(np.ones((1, 2), np.float32), requires_grad=True)
    with checked():
        loss = model(x).sum()
    model.weight.array -= 0.1
    with pytest.raises(RuntimeError, match="input 1 of 'linear_with_bias'"):
        loss.backward()


def test_recomputed_parts_are_watched_too():
    model = Linear(2, 2, generator=np.random.default_rng(0))
    x = Tensor(np.ones((1, 2), np.float32), requires_grad=True)
    for written in (model.weight, x):
        with checked():
            loss = recompute(lambda a, generator: ops.tanh(model(a)), x).sum()
        written.array += 0.1
        with pytest.raises(RuntimeError, match="recompute: the second pass gave other values"):
            loss.backward()


def test_where_not_finite_numbers_begin():
    x = Tensor([0.0, 1.0], requires_grad=True)
    with checked():
        with pytest.raises(FloatingPointError, match=r"'divide' made NaN or infinity.*\(2,\)"):
            1.0 / x
        assert ops.exp(ops.log(x)).array.tolist() == [0, 1]  # −∞ is how masks are written
        assert np.isnan((Tensor([np.nan]) * x).array).all()  # it was there before
        root = ops.sqrt(x).sum()
    with pytest.raises(FloatingPointError, match="'sqrt' sends back is not finite"):
        root.backward()


def test_a_rule_of_ones_own_is_watched():
    @differentiable
    def cube(a, /):
        kept = {"a": a}
        return a**3, (lambda g, n=3: g * n * kept["a"] ** 2,)

    @differentiable
    def by_default(a, /):
        return a**3, (lambda g, kept=a: g * 3 * kept**2,)

    for function, name in ((cube, "cube"), (by_default, "by_default")):
        x = Tensor([2.0], requires_grad=True)
        with checked():
            y = function(x)
        x.array[0] = 5.0
        with pytest.raises(RuntimeError, match=f"input 0 of '{name}'"):
            y.backward()


def test_real_networks_pass_and_learn_the_same():
    """A step of a GPT and of an LSTM: the same gradients as without, and nothing is reported."""
    config = GPTConfig(
        num_layers=1, width=8, num_heads=2, vocab_size=11, context_length=6, dropout=0.1
    )
    tokens = np.random.default_rng(0).integers(11, size=(2, 7))

    def gradients():
        model = GPT(config, generator=np.random.default_rng(0))
        logits = model(tokens[:, :-1], generator=np.random.default_rng(1))
        fused.cross_entropy(logits, tokens[:, 1:], overwrite_logits=True).backward()
        layer = LSTM(3, 4, generator=np.random.default_rng(0))
        layer(np.ones((2, 5, 3), np.float32))[0].mean().backward()
        gather_rows(Tensor(np.ones((2, 2))))
        return [p.grad for p in (*model.parameters(), *layer.parameters())]

    expected = gradients()
    with checked():
        found = gradients()
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_nothing_is_watched_outside_of_the_block():
    with checked():
        pass
    x = Tensor([1.0], requires_grad=True)
    y = x * x
    assert y.node.watched is None
    x.array[0] = 100.0
    y.backward()
    assert x.grad.tolist() == [200.0]
