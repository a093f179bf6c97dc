"""What grows in the engine, its networks and losses."""

import math
from collections.abc import Callable

import numpy as np

from benchmarks.growth.law import CONSTANT, LINEAR, SQUARE, Growth, Law, doublings
from minissl.adapt.heads.neighbors import nearest_neighbor_predictions
from minissl.autograd import Tensor, fused
from minissl.autograd import operations as ops
from minissl.losses.contrastive import info_nce, nt_xent
from minissl.models.generate import generate
from minissl.models.gpt import GPT, GPTConfig
from minissl.nn import LSTM, Conv2d
from minissl.nn.module import Parameter
from minissl.optim import AdamW
from minissl.pretrain.language.gpt import GPTPretraining
from minissl.training.diagnostics import uniformity

Run = Callable[[], object]


def leaf(*shape: int) -> Tensor:
    """Normal numbers that get a gradient."""
    draw = np.random.default_rng(sum(shape)).standard_normal(shape, np.float32)
    return Tensor(draw, requires_grad=True)


def backward(forward: Callable[..., Tensor], *leaves: Tensor) -> Run:
    """Forward and back, each time with new gradients."""

    def run() -> None:
        for one in leaves:
            one.grad = None
        ops.sum(forward(*leaves)).backward()

    return run


# ---- the GPT step -------------------------------------------------------------------------------

OBJECTS = {
    "time": "the objects of the graph leave the cache; backward() alone takes 13.0 to 13.7 µs for "
    "each of 2,048, 4,096, 8,192 and 16,384 slices"
}
BASE = {"num_layers": 2, "width": 128, "context_length": 128, "vocab_size": 1024}
KEPT = 20  # arrays of the width that each token leaves behind in a layer


def gpt_step(batch: int = 2, **changed: int) -> Run:
    """Forward, backward and AdamW of 4 heads."""
    config = GPTConfig(num_heads=4, **{**BASE, **changed})
    generator = np.random.default_rng(0)
    tokens = generator.integers(config.vocab_size, size=(batch, config.context_length + 1))
    method = GPTPretraining(GPT(config, generator=generator), tokens[0])
    optimizer = AdamW(method.model.named_parameters(), lr=1e-3)

    def run() -> None:
        optimizer.zero_grad()
        method.loss((tokens[:, :-1], tokens[:, 1:]), generator).backward()
        optimizer.step()

    return run


def gpt_laws(change: str, time: str, memory: str) -> tuple[Law, Law]:
    """The multiplications, and the numbers in memory, when one of the sizes is n."""

    def sizes(n: int) -> tuple[int, int, int, int, int]:
        s = {"batch": 2, **BASE, change: n}
        names = ("batch", "num_layers", "width", "context_length", "vocab_size")
        batch, layers, width, length, vocabulary = (s[name] for name in names)
        return batch, layers, width, length, vocabulary

    def products(n: int) -> float:
        b, layers, d, t, v = sizes(n)
        return 3 * b * t * (layers * (12 * d * d + d * t) + d * v)  # causal: half of 2 d t

    def numbers(n: int) -> float:
        b, layers, d, t, v = sizes(n)
        weights = layers * 12 * d * d + v * d + t * d
        return 4 * weights + b * t * (layers * (KEPT * d + 4 * t) + v)

    return Law(time, products), Law(memory, numbers)


GPT_GROWTH = [
    Growth(
        "GPT step", "context length", doublings(32),
        lambda n: gpt_step(context_length=n),
        *gpt_laws("context_length", "n (12 L d² + V d) + n² L d", "n (L d + V) + n² L heads"),
        {"time": "the attention weights, 34 MB a layer at 1,024, leave the cache of a core"},
    ),
    Growth(
        "GPT step", "width", doublings(16), lambda n: gpt_step(width=n),
        *gpt_laws("width", "12 L n² + V n + T n", "12 L n² + (V + B T L) n"),
    ),
    Growth(
        "GPT step", "batch", doublings(1), lambda n: gpt_step(n),
        *gpt_laws("batch", "n", "weights + n"),
    ),
    Growth(
        "GPT step", "vocabulary", doublings(512), lambda n: gpt_step(vocab_size=n),
        *gpt_laws("vocab_size", "layers + n d", "layers + n (d + B T)"),
    ),
    Growth(
        "GPT step", "layers", doublings(1, 5), lambda n: gpt_step(num_layers=n),
        *gpt_laws("num_layers", "n + V d", "n + V (d + B T)"),
    ),
]  # fmt: skip


WEIGHTS = 2 * 12 * 128**2 + 1024 * 128  # of BASE, without positions


def sampling(tokens: int) -> Run:
    """So many greedy tokens, from a model that sees all of them."""
    config = GPTConfig(num_heads=4, **{**BASE, "context_length": tokens + 1})
    model = GPT(config, generator=np.random.default_rng(0))
    return lambda: generate(model, [0], tokens, temperature=0)


# ---- attention ----------------------------------------------------------------------------------


def attention(length: int = 256, heads: int = 4, head_dim: int = 64, causal: bool = False) -> Run:
    """Fused attention, forward and backward."""
    shape = (1, heads, length, head_dim)
    return backward(lambda *x: fused.attention(*x, causal=causal), *(leaf(*shape) for _ in "qkv"))


ATTENTION_GROWTH = [
    Growth(
        "Attention", "length", doublings(64), lambda n: attention(n, heads=1),
        SQUARE, Law("n² + n d: the weights are kept", lambda n: n * n + 8 * n * 64),
    ),
    Growth(
        "Attention, causal", "length", doublings(64), lambda n: attention(n, heads=1, causal=True),
        SQUARE, Law("2 n² + n d: and a mask", lambda n: 2 * n * n + 8 * n * 64),
    ),
    Growth("Attention", "heads", doublings(1), lambda n: attention(heads=n),
           why={"time": "the weights, 256 KB a head, leave the cache of a core"}),
    Growth(
        "Attention", "head size", doublings(8), lambda n: attention(head_dim=n),
        Law("T² (n + softmax)", lambda n: n + 16), Law("T² + T n", lambda n: 256 + 8 * n),
    ),
]  # fmt: skip

# ---- losses, optimizer, graph, other networks ---------------------------------------------------


def contrast(loss: Callable[[Tensor, Tensor], Tensor], batch: int, width: int) -> Run:
    """Two views of a batch, forward and backward."""
    return backward(loss, leaf(batch, width), leaf(batch, width))


def simclr(first: Tensor, second: Tensor) -> Tensor:
    """The SimCLR loss."""
    return nt_xent(first, second, 0.5)


def cross_entropy(classes: int) -> Run:
    """256 rows of logits."""
    targets = np.random.default_rng(0).integers(classes, size=256)
    return backward(lambda logits: fused.cross_entropy(logits, targets), leaf(256, classes))


def adamw(parameters: int) -> Run:
    """One update of 16 arrays."""
    leaves = {str(i): Parameter(leaf(parameters // 16).array) for i in range(16)}
    for one in leaves.values():
        one.grad = one.array * 0.1
    return AdamW(leaves.items(), lr=1e-3).step


def chain(x: Tensor, length: int) -> Tensor:
    """So many operations, one after the other."""
    for _ in range(length):
        x = x * 1.0
    return x


def slices(x: Tensor) -> Tensor:
    """Each row by itself."""
    return ops.stack([x[i] * 2.0 for i in range(len(x))])


def lstm(length: int) -> Run:
    """One layer of 64, forward and backward."""
    network, x = LSTM(64, 64, generator=np.random.default_rng(0)), leaf(8, length, 64)
    return backward(lambda x, *_: network(x)[0], x, *network.parameters())


def convolution(images: int = 4, side: int = 32, channels: int = 16) -> Run:
    """Images (images, side, side, channels) and 3 × 3 filters, forward and backward."""
    layer = Conv2d(channels, channels, 3, padding=1, generator=np.random.default_rng(0))
    x = leaf(images, side, side, channels)
    return backward(lambda x, *_: layer(x), x, *layer.parameters())


def neighbors(examples: int, tests: int) -> Run:
    """Features of 64 numbers, ten classes."""
    features, test = leaf(examples, 64).array, leaf(tests, 64).array
    return lambda: nearest_neighbor_predictions(features, np.arange(examples) % 10, test, k=20)


def stream_batch(tokens: int) -> Run:
    """64 windows out of a stream of so many tokens."""
    stream = np.random.default_rng(0).integers(500, size=tokens).astype(np.uint16)
    config = GPTConfig(num_layers=1, width=8, num_heads=1, vocab_size=500, context_length=128)
    model = GPT(config, generator=np.random.default_rng(0))
    method, generator = GPTPretraining(model, stream, batch_size=64), np.random.default_rng(1)
    return lambda: method.batch(generator)


OTHERS = [
    Growth("SimCLR loss", "batch", doublings(32), lambda n: contrast(simclr, n, 64),
           SQUARE, Law("4 n² + n w", lambda n: 4 * n * n + 10 * n * 64)),
    Growth("SimCLR loss", "width", doublings(16), lambda n: contrast(simclr, 256, n),
           Law("B² (n + softmax)", lambda n: n + 16), Law("B² + B n", lambda n: 512 + 8 * n)),
    Growth("InfoNCE", "batch", doublings(64),
           lambda n: contrast(lambda a, b: info_nce(a, b, temperature=0.1), n, 64),
           SQUARE, Law("n² + n w", lambda n: n * n + 10 * n * 64)),
    Growth("Cross-entropy", "vocabulary", doublings(512), cross_entropy),
    Growth("AdamW", "parameters", doublings(1 << 17), adamw),
    Growth("Backward", "chain", doublings(512),
           lambda n: backward(lambda x: chain(x, n), leaf(4)), why=OBJECTS),
    Growth("Backward", "leaves", doublings(256),
           lambda n: backward(lambda *x: ops.stack(x), *(leaf(4) for _ in range(n))), why=OBJECTS),
    Growth("Backward", "slices", doublings(128), lambda n: backward(slices, leaf(n, 64)),
           why=OBJECTS),
    Growth("LSTM", "length", doublings(16), lstm),
    Growth("Convolution", "images", doublings(1), lambda n: convolution(images=n)),
    Growth("Convolution", "side", doublings(8, 5), lambda n: convolution(side=n), SQUARE, SQUARE,
           {"time": "a piece is at least one image, and from side 256 on its windows are not in "
            "the cache: half as much time again for each pixel, and then no more"}),
    Growth("Convolution", "channels", doublings(4), lambda n: convolution(channels=n),
           SQUARE, Law("n pixels + n²", lambda n: 4096 * n + 4 * 9 * n * n)),
    Growth("Neighbours", "examples", doublings(1024), lambda n: neighbors(n, 64),
           Law("n (w + log n)", lambda n: n * (64 + math.log2(n)))),
    Growth("Neighbours", "tests", doublings(256), lambda n: neighbors(512, n)),
    Growth("Uniformity", "examples", doublings(128),
           lambda n: lambda: uniformity(np.random.default_rng(0).normal(size=(n, 32))), SQUARE,
           Law("n, 256 at once", lambda n: n * min(n, 256) + n * 32)),
    Growth("Batch of a stream", "tokens", doublings(1 << 16), stream_batch, CONSTANT, LINEAR,
           {"time": "64 places at random: of a long stream they are not in the cache"}),
    Growth("Sampling", "tokens", doublings(32), sampling,
           Law("n weights + n² L d", lambda n: n * WEIGHTS + n * n * 2 * 128),
           Law("weights + n L d", lambda n: WEIGHTS + 5 * n * 128)),
]  # fmt: skip

GROWTHS = [*GPT_GROWTH, *ATTENTION_GROWTH, *OTHERS]
