# %% [markdown]
# # 06 · Attention and the Transformer
#
# Beside lecture 06. We compute attention by hand, look at masks, plant a leak and find it, shuffle
# tokens to see what positions are for, and train a small Transformer until its attention shows
# what it does.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np

from minissl.autograd import Tensor, fused
from minissl.autograd.composed import allowed_keys
from minissl.autograd.threads import engine_threads
from minissl.losses.language_modeling import IGNORE, next_token_loss
from minissl.models.gpt import GPT, GPTConfig
from minissl.nn import Transformer, TransformerConfig, evaluating
from minissl.optim import AdamW
from minissl.palette import BLUE, GREY, RED, look

generator = np.random.default_rng(0)


def normal(*shape):
    return generator.standard_normal(shape).astype(np.float32)


# %% [markdown]
# ## By hand
#
# Three tokens, every query (2, 0, 0, 0), keys that differ in one place. The causal outputs are
# (1, 0), (1/3, 2/3) and (1/2, 3/4): the lecture computes them.

# %%
query, key = np.zeros((1, 1, 3, 4)), np.zeros((1, 1, 3, 4))  # (batch, heads, time, head_dim)
query[..., 0] = 2
key[0, 0, 1, 0] = math.log(2)
value = np.array([[[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]]])
print(fused.attention(query, key, value, causal=True).numpy()[0, 0])

# %% [markdown]
# ## Masks
#
# Who may look at whom. Change the lengths or the shapes and look again.

# %%
masks = {
    "encoder, lengths 8, 5": allowed_keys((2, 1, 8, 8), False, [8, 5])[1, 0],
    "decoder": allowed_keys((1, 1, 8, 8), True, None),
    "3 new tokens after 5": allowed_keys((1, 1, 3, 8), True, None),
}
figure, axes = plt.subplots(1, 3, figsize=(8, 3), layout="constrained")
for axis, (name, allowed) in zip(axes, masks.items()):
    rows = 8 if len(allowed) == 1 else len(allowed)  # one row: the same for every query
    axis.pcolormesh(np.broadcast_to(allowed, (rows, 8)), cmap="Blues", ec="white")
    axis.invert_yaxis()
    _ = axis.set(title=name, xlabel="key", ylabel="query", aspect="equal")

# %% [markdown]
# ## The leak test
#
# Attention in eight lines of NumPy, with a mask that can be wrong. `OFFSET = 0` is causal:
# query $i$ sees keys $j \le i$.
#
# ### Change this and run again
#
# Try 1 (the answer leaks), -1 (a token does not see itself), and `AXIS = -2` with `OFFSET = 0`
# (softmax over the wrong axis: the mask is right, and it leaks).

# %%
OFFSET = 0
AXIS = -1


# %% jupyter={"source_hidden": true}
def attention(query, key, value):
    scores = query @ key.T / math.sqrt(query.shape[-1])
    i, j = np.indices(scores.shape)
    scores = np.where(j <= i + OFFSET, scores, -1e30)
    weights = np.exp(scores - scores.max(axis=AXIS, keepdims=True))
    weights /= weights.sum(axis=AXIS, keepdims=True)
    return weights @ value


def changes(function, x):
    """Largest change of output t when input s is exchanged: (s, t)."""
    before = function(x)
    rows = []
    for s in range(len(x)):
        other = x.copy()
        other[s] = normal(x.shape[1])
        rows.append(np.abs(function(other) - before).max(axis=-1))
    return np.array(rows)


model = Transformer(
    TransformerConfig(num_layers=2, width=16, num_heads=2, init_std=0.3), generator=generator
)


def transformer(x):
    with evaluating(model):
        return model(Tensor(x[None]), causal=True).numpy()[0]


x = normal(10, 16)
mixing = [normal(16, 16) / 4 for _ in range(3)]
figure, axes = plt.subplots(1, 2, figsize=(7, 3.6), layout="constrained")
for axis, (name, function) in zip(
    axes,
    {
        f"yours, OFFSET {OFFSET}": lambda x: attention(*(x @ m for m in mixing)),
        "Transformer, causal": transformer,
    }.items(),
):
    found = changes(function, x)
    axis.imshow(np.where(found == 0, np.nan, found), cmap="Blues", vmin=0)
    s, t = np.indices(found.shape)
    leaks, blind = int((found[t < s] != 0).sum()), int((np.diag(found) == 0).sum())
    axis.set_title(f"{name}\n{leaks} leaks, {blind} blind to themselves", fontsize=10)
    _ = axis.set(xlabel="output that changes", ylabel="input exchanged")

# %% [markdown]
# ## Without positions, a set
#
# Shuffle the inputs of an encoder: the outputs are the same vectors, shuffled. With a vector added
# for each place they are not.

# %%
order = generator.permutation(10)
places = normal(10, 16)


def encoder(x):
    with evaluating(model):
        return model(Tensor(x[None])).numpy()[0]


for name, added in (("no positions", 0), ("positions", places)):
    straight, shuffled = encoder(x + added), encoder(x[order] + added)
    print(f"{name:>12}: shuffled differs by {np.abs(shuffled - straight[order]).max():.1e}")

# %% [markdown]
# ## What attention learns
#
# A task that needs one look: *say the token that stood three places before*. The tokens are random,
# so nothing else helps. One layer, one head, and once without the position vectors.

# %%
TOKENS, LENGTH, BACK = 8, 24, 3


def batch(size=32):
    tokens = generator.integers(TOKENS, size=(size, LENGTH))
    targets = np.full_like(tokens, IGNORE)
    targets[:, BACK:] = tokens[:, :-BACK]
    return tokens, targets


def train(with_positions, steps=150):
    config = GPTConfig(
        vocab_size=TOKENS, context_length=LENGTH, num_layers=1, width=32, num_heads=1, init_std=0.1
    )
    gpt = GPT(config, generator=np.random.default_rng(0))
    if not with_positions:
        gpt.positions.weight.array[:] = 0
        gpt.positions.freeze()
    named = [(name, p) for name, p in gpt.named_parameters() if p.requires_grad]
    optimizer = AdamW(named, lr=5e-3)
    losses = []
    with engine_threads():  # as in fit: BLAS would wake its own threads for tiny products
        for _ in range(steps):
            tokens, targets = batch()
            optimizer.zero_grad()
            loss = next_token_loss(gpt(tokens), targets)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return gpt, losses


runs = {"with positions": train(True), "without": train(False)}

# %%
figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
for (name, (_, losses)), color in zip(runs.items(), (BLUE, RED)):
    axis.plot(losses, **look(color), label=name)
axis.axhline(math.log(TOKENS), color=GREY, linestyle="--", linewidth=1)
axis.annotate("ln 8: knows nothing", (0, math.log(TOKENS)), va="bottom", color=GREY)
_ = axis.set(xlabel="step", ylabel="loss (nats)", ylim=(0, 2.6))
_ = axis.legend(frameon=False)

# %% [markdown]
# Without positions it stays a little below ln 8: it knows *which* tokens there were, not where they
# stood. With them nobody told it where to look:

# %%
tokens, _ = batch(1)
figure, axes = plt.subplots(1, 2, figsize=(7.4, 3.8), layout="constrained")
for axis, (name, (gpt, _)) in zip(axes, runs.items()):
    axis.imshow(gpt.attention_weights(tokens)[0, 0, 0], cmap="Blues", vmin=0, vmax=1)
    _ = axis.set(title=name, xlabel="key", ylabel="query")

# %% [markdown]
# ## Parameters
#
# $Vd + Td + L(12d^2 + 13d) + 2d$, and GPT-2's smallest is at the right size:

# %%
small = GPTConfig(vocab_size=50257, context_length=1024, num_layers=12, width=768, num_heads=12)
d, L = small.width, small.num_layers
parts = {"tokens": 50257 * d, "positions": 1024 * d, "attention": L * (4 * d * d + 4 * d)}
parts |= {"MLP": L * (8 * d * d + 5 * d), "norms": L * 4 * d + 2 * d}
assert sum(parts.values()) == small.num_parameters()
figure, axis = plt.subplots(figsize=(6, 2.6), layout="constrained")
bars = axis.barh(list(parts), [n / 1e6 for n in parts.values()], color=BLUE)
axis.bar_label(bars, fmt="%.1f", padding=3)
axis.invert_yaxis()
_ = axis.set(xlabel=f"million parameters; {small.num_parameters() / 1e6:.1f} in all", xlim=(0, 64))

# %% [markdown]
# ## Now try
#
# 1. In the leak test, put a LayerNorm over both axes before `attention`. Does it leak?
# 2. Set `BACK = 1`, then `BACK = 10`. Does the diagonal move? Is the far one slower to learn?
# 3. Ask for the token that *equals the first one of the sequence plus one*. One head is enough:
#    predict its picture before you look.
# 4. Multiply the queries by `sqrt(head_dim)` to undo the scale, at `init_std=0.5`. Does it learn?
# 5. Train with `num_heads=4`. Which heads do the work?
