# %% [markdown]
# # 07 · Attention and cross-entropy on a GPU
#
# Beside lecture 07. We count bytes, run the online softmax step by step, break it, and then run
# Triton kernels without a GPU: in Triton's interpreter, where a kernel is slow and easy to watch.

# %%
import os

os.environ["TRITON_INTERPRET"] = "1"  # read once, when triton is imported: so it comes first

import matplotlib.pyplot as plt
import numpy as np

from minissl.palette import BLUE, GREY, OCHRE, RED, look

try:
    import torch
    import triton
    import triton.language as tl
    from minissl_kernels import attention as kernels
    from minissl_kernels import cross_entropy as losses

    TRITON = True
except ImportError:
    TRITON = False
    print("triton is not installed (it exists for Linux only): the cells that need it are skipped.")

# %% [markdown]
# ## Bytes
#
# What one head of attention moves to and from memory in bfloat16: step by step, with the square of
# scores written out and read back; and fused, where the square never leaves the chip.


# %%
def megabytes(time, width=64, block=128):
    arrays, square = time * width, time * time
    return {
        "naive": 2 * (4 * arrays + 4 * square) / 1e6,
        "fused, keys read for every tile": 2 * (2 + 2 * np.ceil(time / block)) * arrays / 1e6,
        "fused, keys read once": 2 * 4 * arrays / 1e6,
    }


figure, axes = plt.subplots(1, 3, figsize=(9, 2.6), layout="constrained")
for axis, time in zip(axes, (512, 2048, 8192)):
    moved = megabytes(time)
    bars = axis.bar(["naive", "tiles", "once"], moved.values(), color=[RED, OCHRE, BLUE])
    axis.bar_label(bars, fmt="%.1f")
    axis.set(title=f"{time} tokens", ylabel="MB", ylim=(0, 1.15 * moved["naive"]))

# %% [markdown]
# ## The online softmax, step by step
#
# One query, its scores in tiles. Three things are kept: the maximum so far, the sum of exponentials
# relative to it, and the weighted sum of values. When the maximum rises, the two sums shrink.


# %%
def online_attention(scores, values, tile, rescale=True):
    """Yields (maximum, total, accumulator) after each tile."""
    maximum, total, accumulator = -np.inf, 0.0, 0.0
    for start in range(0, len(scores), tile):
        s, v = scores[start : start + tile], values[start : start + tile]
        new = max(maximum, s.max())
        r = np.exp(maximum - new) if rescale else 1.0
        weights = np.exp(s - new)
        total = r * total + weights.sum()
        accumulator = r * accumulator + weights @ v
        maximum = new
        yield maximum, total, accumulator


def whole_row(scores, values):
    weights = np.exp(scores - scores.max())
    return weights @ values / weights.sum()


scores, values = np.array([1.0, 3.0, 2.0, 5.0]), np.array([10.0, 20.0, 30.0, 40.0])
for state in online_attention(scores, values, tile=2):
    print("maximum {:g}   total {:.4f}   accumulator {:.3f}".format(*state))
print(f"output {state[2] / state[1]:.3f}, by the usual softmax {whole_row(scores, values):.3f}")


# %%
def watch(scores, values, tile):
    _, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
    left.bar(range(len(scores)), scores, color=BLUE, alpha=0.5)
    seen = [min(tile * (i + 1), len(scores)) for i in range(-(-len(scores) // tile))]
    maxima = [maximum for maximum, _, _ in online_attention(scores, values, tile)]
    left.step([0, *seen], [maxima[0], *maxima], where="pre", color=RED, label="maximum so far")
    left.set(xlabel="key", ylabel="score")
    left.legend(frameon=False)
    for rescale, color in ((True, BLUE), (False, RED)):
        states = list(online_attention(scores, values, tile, rescale))
        name = "rescaled" if rescale else "not rescaled"
        right.plot(seen, [a / t for _, t, a in states], **look(color, marker=True), label=name)
    right.axhline(whole_row(scores, values), color=GREY, linestyle="--", label="the whole row")
    right.set(xlabel="keys seen", ylabel="output so far")
    right.legend(frameon=False)


# %% [markdown]
# ### Change this and run again
#
# `SLOPE` is how much the scores rise along the row, `TILE` how many keys are seen at a time. For
# which rows does the forgotten rescaling *not* show?

# %%
SLOPE, TILE, KEYS = 4.0, 4, 32

generator = np.random.default_rng(0)
scores = generator.normal(np.linspace(0, SLOPE, KEYS), 0.7)
watch(scores, values=np.linspace(0, 1, KEYS), tile=TILE)
plt.show()

# %% [markdown]
# ## A kernel of our own
#
# The log-sum-exp of every row. A program is one row. `tl.load` takes a vector of addresses; the
# mask keeps lanes beyond the end of the row from reading, `other` says what they hold instead.

# %%
if TRITON:

    @triton.jit
    def log_sum_exp_kernel(x, out, columns, TILE: tl.constexpr):
        row = tl.program_id(0)
        maximum, total = -1e38, 0.0
        for start in range(0, columns, TILE):
            at = start + tl.arange(0, TILE)
            tile = tl.load(x + row * columns + at, mask=at < columns, other=float("-inf"))
            new = tl.maximum(maximum, tl.max(tile, 0))
            total = total * tl.exp(maximum - new) + tl.sum(tl.exp(tile - new), 0)
            maximum = new
        tl.store(out + row, maximum + tl.log(total))

    x, out = torch.randn(5, 300) * 3, torch.empty(5)
    log_sum_exp_kernel[(5,)](x, out, 300, TILE=64)
    print("largest difference from torch:", (out - x.logsumexp(1)).abs().max().item())

# %% [markdown]
# ## The library's attention, and its reference
#
# The same source that a GPU would compile, checked against NumPy in float64.

# %%
if TRITON:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 1, 1, 150, 32)
    out, lse = kernels.attention(query, key, value, causal=True, return_lse=True)

    q, k, v = (x.double().numpy() for x in (query, key, value))
    seen = kernels.reference.visible(1, 150, 150, right=0)
    expected, expected_lse = kernels.reference.forward(q, k, v, 32**-0.5, seen)
    error = np.abs(out.numpy() - expected)[0, 0]

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
    drawn = left.imshow(error.T, aspect="auto", cmap="magma")
    left.set(title=f"error against float64, at most {error.max():.1e}", xlabel="query")
    left.set_ylabel("column of the output")
    figure.colorbar(drawn, ax=left)
    right.plot(expected_lse[0, 0], color=BLUE, linewidth=3, alpha=0.4, label="float64")
    right.plot(lse[0, 0], **look(RED), linewidth=1, label="kernel")
    right.set(xlabel="query", title="log-sum-exp: later queries see more keys")
    right.legend(frameon=False)

# %% [markdown]
# ## A confident row
#
# The loss of a row whose target leads by more and more: as a difference in float32, and by the
# kernel, which leaves the target out of the sum.

# %%
if TRITON:
    leads = torch.arange(0, 31, dtype=torch.float32)
    rows = torch.stack([leads, torch.zeros(31), torch.zeros(31)], dim=1)
    targets = torch.zeros(31, dtype=torch.int64)
    kernel = losses.cross_entropy(rows, targets, reduction="none").numpy()
    difference = (rows.logsumexp(1) - rows[:, 0]).numpy()

    figure, axis = plt.subplots(figsize=(7, 3), layout="constrained")
    true = np.log1p(2 * np.exp(-leads.double().numpy()))
    axis.semilogy(leads, true, color=GREY, linewidth=5, alpha=0.4, label="float64")
    axis.semilogy(leads, kernel, color=BLUE, label="kernel")
    axis.semilogy(leads, np.where(difference > 0, difference, np.nan), "C3.", label="difference")
    axis.set(xlabel="lead of the target's logit", ylabel="loss")
    axis.legend(frameon=False)

# %% [markdown]
# ## Now try
#
# 1. In `online_attention`, begin with `maximum = 0` and give it scores around −800. What breaks?
# 2. In `log_sum_exp_kernel`, replace `other=float("-inf")` by `other=0.0`. For which rows is the
#    result wrong, and by how much? (Try `x - 20`.)
# 3. Set `columns` to 256 in that kernel's launch. Which rows does it read then, and why?
# 4. Give the attention kernel one query and 150 keys (decoding). Which does a causal query see?
# 5. Convert `query, key, value` to `torch.bfloat16` and look at the output. Lecture 07, section 10,
#    says why; on a GPU it would be right.
