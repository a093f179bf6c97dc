"""Wrong answers to homework 8, adaptation: somebody else's work in place of one's own."""

import functools
import importlib

import numpy as np

from minissl.adapt.efficient import experts, lora
from minissl.adapt.efficient.adapters import Adapter
from minissl.autograd import fused
from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.forms import spans, tags
from minissl.homework.assignments import hw8_by_hand as by_hand
from minissl.nn import init
from minissl.nn.layers import Linear, activation_function
from tests.homework.planted import Collection

PLANTED = Collection()
GUARD = "does not allow|library's own|nothing that you wrote"

NAMES = {
    "8.2": "merge", "8.3": "lora_gradients", "8.4": "attend_with_prefix", "8.5": "adapt",
    "8.6": "new_adapter", "8.7": "best_span", "8.8": "tagged_row", "8.9": "span_f1",
    "8.10": "gate", "8.11": "training_bytes",
}  # fmt: skip


def wrapper(name):
    """A function that finds the answer key by its name, once it is called."""

    def answer(*given, **how):
        module = importlib.import_module("minissl.homework.assignments." + "hw8_by_hand")
        return getattr(module, name)(*given, **how)

    return answer


for _task, _name in NAMES.items():
    PLANTED.add(_task, "the answer key, by its name", shows=GUARD)(wrapper(_name))
for _task, _name in (("8.7", "best_span"), ("8.11", "training_bytes")):
    _key = getattr(by_hand, _name)
    PLANTED.add(_task, "a partial of the answer key", shows=GUARD)(functools.partial(_key))


@PLANTED.add("8.1", "through super", shows=GUARD)
class ByTheBase(lora.LoRA):
    def forward(self, x):
        return super().forward(x)


@PLANTED.add("8.1", "another of the same kind", shows=GUARD)
class ByAnother(lora.LoRA):
    def forward(self, x):
        return lora.LoRA.forward(self, x)


@PLANTED.add("8.1", "the experts' layer, with one expert", shows=GUARD)
class ByOneExpert(lora.LoRA):
    def forward(self, x):
        if not isinstance(self.inner, Linear):
            return lora.conv2d(
                x, self.inner.weight + self.update(), self.inner.bias,
                stride=self.inner.stride, padding=self.inner.padding,
            )  # fmt: skip
        rank = self.down.shape[0]
        one = experts.Experts(
            self.inner, rank, experts=1, top=1, alpha=self.scale * rank,
            generator=np.random.default_rng(0),
        )  # fmt: skip
        one.down, one.up = self.down, self.up
        return one(x)


@PLANTED.add("8.2", "the library's merge", shows=GUARD)
def merged_by_the_library(weight, down, up, alpha):
    """Of a layer of its own."""
    rows, columns = weight.shape
    layer = Linear(columns, rows, bias=False, generator=np.random.default_rng(0)).astype("float64")
    layer.weight.array = weight.copy()
    module = lora.LoRA(layer, len(down), alpha=alpha, generator=np.random.default_rng(0))
    module.down.array, module.up.array = down, up
    change = module.update().numpy()
    values = np.linalg.svd(change, compute_uv=False)
    return weight + change, int((values > 1e-9 * values.max()).sum())


@PLANTED.add("8.3", "the engine's gradients", shows=f"{GUARD}|as large as the weight")
def slopes_by_the_engine(weight, down, up, alpha, x, by_y):
    """Not by hand."""
    thin = [Tensor(a, requires_grad=True) for a in (x, down, up)]
    rows, d, u = thin
    y = ops.linear(rows, weight) + ops.linear(ops.linear(rows, d), u) * (alpha / len(down))
    ops.sum(y * by_y).backward()
    return tuple(t.grad for t in thin)


@PLANTED.add("8.4", "the library's attention", shows=GUARD)
def attended_by_the_library(query, key, value, prefix, lengths, *, causal):
    """With keys and values put together."""
    real = (np.arange(query.shape[1]) < lengths[:, None])[..., None]
    query, key, value = (np.where(real, x, 0.0) for x in (query, key, value))
    places = len(prefix[0])
    whole = [
        np.concatenate([np.broadcast_to(p, (len(x), *p.shape)), x], axis=1)
        for p, x in zip(prefix, (key, value))
    ]
    outputs = fused.attention(
        *(Tensor(x[:, None]) for x in (query, *whole)), key_lengths=lengths + places, causal=causal
    )
    return np.where(real, outputs.numpy()[:, 0], 0.0)


@PLANTED.add("8.5", "the library's adapter", shows=GUARD)
def adapted_by_the_library(h, weights):
    """Behind a layer that does nothing."""
    width = h.shape[-1]
    layer = Linear(width, width, bias=False, generator=np.random.default_rng(0)).astype(h.dtype)
    layer.weight.array = np.eye(width, dtype=h.dtype)
    module = Adapter(layer, width, len(weights[0]), generator=np.random.default_rng(0))
    for name, array in zip(("down", "down_bias", "up", "up_bias"), weights):
        getattr(module, name).array = array
    return module(Tensor(h)).numpy()


@PLANTED.add("8.5", "the library's gelu", shows=GUARD)
def adapted_by_an_operation(h, weights):
    """Only the bend."""
    down, down_bias, up, up_bias = weights
    middle = activation_function("gelu")(Tensor(h @ down.T + down_bias)).numpy()
    return h + middle @ up.T + up_bias


@PLANTED.add("8.6", "the library's random numbers", shows=GUARD)
def made_by_the_library(width, middle, generator):
    """As its layers begin."""
    down, up = (init.normal(s, 0.01, generator) for s in ((middle, width), (width, middle)))
    return down, np.zeros(middle, np.float32), up, np.zeros(width, np.float32)


@PLANTED.add("8.7", "the library's, on the context alone", shows=f"{GUARD}|goes over a place")
def span_by_the_library(start, end, context, *, longest, threshold=0):
    """The context is one piece in most cases."""
    if not context.any():
        return None
    first = int(np.argmax(context))
    i, j = spans.best_span(start[context], end[context], longest)
    if start[0] + end[0] > start[context][i] + end[context][j] + threshold:
        return None
    return first + i, first + j


@PLANTED.add("8.9", "the library's score", shows=GUARD)
def f1_by_the_library(right, found):
    """One of its three numbers."""
    return tags.span_scores(found, right)["f1"]


@PLANTED.add("8.9", "the library's spans", shows=GUARD)
def f1_of_the_librarys_spans(right, found):
    """Only the counting is one's own."""
    ours, theirs = (
        {(number, *span) for number, own in enumerate(sentences) for span in tags.spans_of(own)}
        for sentences in (right, found)
    )
    common = len(ours & theirs)
    return 2 * common / (len(ours) + len(theirs)) if common else 0.0


@PLANTED.add("8.10", "the library's gate", shows=GUARD)
def gated_by_the_library(logits, top):
    """Its three steps."""
    p = ops.softmax(Tensor(logits), axis=-1)
    chosen = experts.largest(p.numpy(), top)
    weights = p.numpy() * chosen
    return (
        weights / weights.sum(axis=1, keepdims=True),
        float(experts.load_balance(p, chosen).item()),
    )
