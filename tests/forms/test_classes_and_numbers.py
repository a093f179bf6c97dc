"""A class or a number for each example: heads, losses and gradients by torch, what is refused."""

import numpy as np
import pytest
import torch

from minissl.autograd.tensor import Tensor
from minissl.data.labels import Labelled
from minissl.forms import FORMS, load_form
from minissl.forms.classes import Classes
from minissl.forms.numbers import NumberHead, Numbers
from minissl.nn.module import Module
from minissl.optim import AdamW
from minissl.pretrain.method import Represents


class Pixels(Represents):
    """What represents an example is the example."""

    def __init__(self, width=4):
        self.model, self._width = Module(), width

    @property
    def width(self):
        return self._width

    def encode(self, batch, generator=None):
        return Tensor(batch)

    def represent(self, examples, *, batch_size=512, progress=""):
        return np.asarray(examples)


def numbers(values):
    """Labelled examples of which only the labels are known."""
    return Labelled([], (), np.array(values, np.float64), (), None, "")


def with_torch(head, x, loss):
    """A loss in torch of the same weights, with the gradients of these."""
    weights = [torch.tensor(p.numpy(), requires_grad=True) for p in head.parameters()]
    value = loss(torch.tensor(x) @ weights[0].T + weights[1])
    value.backward()
    return value.item(), [weight.grad.numpy() for weight in weights]


@pytest.mark.parametrize("batch", [1, 7])
def test_a_class_costs_what_torch_says(batch):
    draw = np.random.default_rng(batch)
    form, x = Classes(("a", "b", "c")), draw.standard_normal((batch, 4))
    labels = draw.integers(3, size=batch)
    head = form.head(4, draw, None)
    head.astype(np.float64)
    collated, targets = form.batch(Pixels(), x, labels)
    loss = form.loss(form.outputs(Pixels(), head, collated), targets)
    loss.backward()
    entropy = torch.nn.functional.cross_entropy
    value, grads = with_torch(head, x, lambda y: entropy(y, torch.tensor(labels)))
    assert loss.item() == pytest.approx(value, rel=1e-12)
    for parameter, grad in zip(head.parameters(), grads):
        np.testing.assert_allclose(parameter.grad, grad, rtol=1e-9, atol=1e-15)
    probabilities = form.probabilities(Pixels(), head, x)
    expected = torch.softmax(torch.tensor(head(x).numpy()), dim=1).numpy()
    np.testing.assert_allclose(probabilities, expected, rtol=1e-12)
    held_out = Labelled(x, ("",) * batch, labels, form.class_names, x, "")
    found = form.evaluate(Pixels(), head, held_out)
    assert found["loss"] == pytest.approx(value, rel=1e-9)
    assert found["accuracy"] == np.mean(expected.argmax(axis=1) == labels)
    columns, rows = form.table(Pixels(), head, x)
    assert columns == ["prediction", "probability"]
    assert rows[0] == ["abc"[expected[0].argmax()], f"{expected[0].max():.4f}"]


@pytest.mark.parametrize("batch", [1, 7])
def test_a_number_costs_what_torch_says(batch):
    """(label − mean) / deviation is learned, of labels with mean 3 and deviation 2."""
    draw = np.random.default_rng(batch)
    form, x, labels = Numbers(), draw.standard_normal((batch, 4)), draw.standard_normal(batch)
    head = form.head(4, draw, numbers([1.0, 5.0, 1.0, 5.0]))
    head.astype(np.float64)
    assert (head.mean.item(), head.deviation.item()) == (3, 2)
    collated, targets = form.batch(Pixels(), x, form.standardized(head, labels))
    loss = form.loss(form.outputs(Pixels(), head, collated), targets)
    loss.backward()

    def squared(y):
        return torch.nn.functional.mse_loss(3 + 2 * y[:, 0], torch.tensor(labels)) / 4

    value, grads = with_torch(head, x, squared)
    assert loss.item() == pytest.approx(value, rel=1e-12)
    for parameter, grad in zip(head.parameters(), grads):
        np.testing.assert_allclose(parameter.grad, grad, rtol=1e-9, atol=1e-15)
    held_out = Labelled(x, ("",) * batch, labels, (), x, "")
    if batch > 1:
        found = form.evaluate(Pixels(), head, held_out)["loss"]
        assert found == pytest.approx(4 * value, rel=1e-9)  # of the labels as they are
    columns, rows = form.table(Pixels(), head, x)
    assert columns == ["prediction"]
    assert rows == [[f"{y:.6g}"] for y in form.predict(Pixels(), head, x)]


def test_mean_and_deviation_are_kept_and_not_trained():
    draw = np.random.default_rng(0)
    head = Numbers().head(4, draw, numbers([2.0, 2.0, 2.0]))
    assert (head.mean.item(), head.deviation.item()) == (2, 1)  # no deviation is no factor
    assert [name for name, _ in head.named_parameters()] == ["linear.weight", "linear.bias"]
    head = Numbers().head(4, draw, numbers([1.0, 5.0]))
    other = NumberHead(4, 0.0, 1.0, np.random.default_rng(1))
    other.load_state_dict(head.state_dict())
    x = draw.standard_normal((3, 4)).astype(np.float32)
    np.testing.assert_array_equal(other(x).numpy(), head(x).numpy())


@pytest.mark.parametrize(("factor", "zero"), [(1e-8, 0.0), (1e25, 0.0), (50.0, 1.7e9)])
def test_the_unit_of_the_labels_and_their_zero_make_no_difference(factor, zero):
    """Squares of such labels end in float32, are below AdamW's epsilon, or lose their digits."""
    draw = np.random.default_rng(0)
    x = draw.standard_normal((40, 4)).astype(np.float32)
    plain, form = x @ np.array([1.0, -2.0, 0.5, 0.0]), Numbers()
    labels = zero + factor * plain
    head = form.head(4, draw, numbers(labels))
    optimizer = AdamW(head.named_parameters(), lr=0.05, weight_decay=0.0)
    for _ in range(300):
        optimizer.zero_grad()
        collated, targets = form.batch(Pixels(), x, form.standardized(head, labels))
        form.loss(form.outputs(Pixels(), head, collated), targets).backward()
        optimizer.step()
    held_out = Labelled(x, ("",) * len(x), labels, (), x, "")
    assert form.evaluate(Pixels(), head, held_out)["r2"] > 0.999


def test_what_is_not_finite_is_named():
    draw = np.random.default_rng(0)
    x = np.zeros((3, 4), np.float32)
    x[1, 0] = np.nan
    with pytest.raises(ValueError, match="what is predicted for example 1 is nan: look at its"):
        Numbers().predict(Pixels(), Numbers().head(4, draw, None), x)
    form = Classes(("a", "b"))
    with pytest.raises(ValueError, match="the features of example 1 are not finite"):
        form.predict(Pixels(), form.head(4, draw, None), x)
    with pytest.raises(ValueError, match="labels of the kind 'number' have no classes"):
        Numbers().probabilities(Pixels(), None, x)


def test_forms_are_found_by_the_kind_of_their_labels():
    assert load_form("class") is Classes
    assert load_form("number") is Numbers
    with pytest.raises(ValueError, match=f"there is no form 'x'; .* {', '.join(FORMS)}"):
        load_form("x")
    labelled = Labelled([], (), np.array([1, 0]), ("a", "b"), None, "")
    np.testing.assert_array_equal(Classes.labels_of(labelled, ("b", "c", "a")), [0, 2])
    with pytest.raises(ValueError, match="class 'b' is not one of this run: a, c"):
        Classes.labels_of(labelled, ("a", "c"))
