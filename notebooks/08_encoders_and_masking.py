# %% [markdown]
# # 08 · Encoders and masking
#
# Beside lecture 08. We hide pieces, words and spans of a sentence, count what stands in their
# place, look at pairs of texts and their labels, check that padding changes nothing and that a tied
# matrix gets both of its gradients, train a small BERT, fill gaps with it, score answers piece by
# piece, and let it write.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np

from minissl.data import Kept
from minissl.data.passages import PassageTexts
from minissl.losses.language_modeling import next_token_loss
from minissl.models.encoder import EncoderConfig, MaskedEncoder
from minissl.nn import evaluating
from minissl.palette import BLUE, GREY, RED
from minissl.pretrain.masked.bert import BERT, BERTSettings
from minissl.pretrain.run import train
from minissl.text.masking import KINDS, boundaries, budget, choose, replace, span_lengths

generator = np.random.default_rng(0)

# %% [markdown]
# ## What is hidden
#
# One row of pieces. `allowed` leaves out what is not text, `begins` says where words begin.
# **Change this and run again**: the share, or the seed.

# %%
pieces = (
    "[CLS] the ir ##res ##ist ##ibly good cake was gone before the guests ar ##rived [SEP]".split()
)
allowed = np.array([[not piece.startswith("[") for piece in pieces]])
begins = np.array([[not piece.startswith("##") for piece in pieces]])
share = 0.3
print("budget:", budget(allowed, share)[0], "of", allowed.sum())
for kind in KINDS:
    hidden = choose(kind, allowed, begins, np.random.default_rng(1), share)[0]
    print(f"{kind:7}", " ".join("_" * len(p) if h else p for p, h in zip(pieces, hidden)))

# %% [markdown]
# Spans: the mean length is 3.80 words for p = 0.2, and of each hidden token the boundary objective
# needs the visible place before and behind its span, and its number in there.

# %%
lengths = span_lengths(100_000, generator)
expected = sum(k * 0.2 * 0.8 ** (k - 1) for k in range(1, 11)) / (1 - 0.8**10)
print(f"mean length {lengths.mean():.2f}, expected {expected:.2f}")
hidden = np.array([[0, 0, 0, 1, 1, 1, 0, 0, 1, 0]], bool)
print("left, right, number:", [tuple(int(n) for n in row) for row in zip(*boundaries(hidden))])

# %% [markdown]
# ## What stands there instead
#
# A million tokens, 15 % hidden: 12 % are [MASK], 1.5 % another token, 1.5 % as they were.

# %%
originals = generator.integers(5, 1000, size=(8000, 125))
everything = np.ones(originals.shape, bool)
hidden = choose("pieces", everything, everything, generator)
read = replace(originals, hidden, generator, mask=4, vocab_size=1000)
for name, share in {
    "[MASK]": (read == 4).mean(),
    "another": (hidden & (read != originals) & (read != 4)).mean(),
    "kept": (hidden & (read == originals)).mean(),
}.items():
    print(f"{name:8} {100 * share:5.2f} % of all tokens")

# %% [markdown]
# So what is a visible word worth? At a place that is asked for it is the right one with probability
# p / (p + 1/V), where p is what the context gives it.

# %%
p, V = np.logspace(-8, 0, 100), 30_522
figure, axis = plt.subplots(figsize=(5, 2.6), layout="constrained")
axis.plot(p, p / (p + 1 / V), color=BLUE)
axis.axvline(1 / V, color=GREY, ls="--")
_ = axis.set(xscale="log", xlabel="p(word | context)", ylabel="p(it is the right one)")

# %% [markdown]
# ## Pairs
#
# Forty small documents. A row is [CLS] A [SEP] B [SEP]; label 0: B follows A, 1: it is from another
# document. Try `partners="same"`.

# %%
settings = BERTSettings(
    width=64, num_layers=2, context_length=32, vocab_size=200, steps=400, batch_size=16,
    learning_rate=5e-3, evaluations=8,
)  # fmt: skip
data = PassageTexts.toy().prepare(Kept(), settings)
bert = BERT.build(settings, data, seed=0)
batch = bert.batch(np.random.default_rng(3))
for row, length, label in zip(batch.tokens[:3], batch.lengths, batch.labels):
    print(label, " ".join(data.tokenizer.tokens[i] for i in row[:length]))

# %% [markdown]
# ## Padding changes nothing
#
# Each row alone gives the states that it has beside longer ones.

# %%
texts = ["the cat sat on the mat.", "a dog ran to the log! my bird sang a song?", "my bird"]
examples = [data.tokens(text) for text in texts]
tokens, sizes, _ = bert.collate(examples)
with evaluating(bert.model):
    together = bert.model(tokens, lengths=sizes).numpy()
    for row, example in zip(together, examples):
        alone = bert.model(np.array([example])).numpy()[0]
        difference = np.abs(row[: len(alone)] - alone).max()
        print(f"{len(example):3} tokens: largest difference {difference:.1e}")

# %% [markdown]
# ## One matrix, two gradients
#
# The token vectors are read at the bottom and multiplied with at the top. We let the gradient come
# by both ways, then by each alone: they add up.

# %%
model = MaskedEncoder(
    EncoderConfig(num_layers=1, width=16, num_heads=2, vocab_size=50, context_length=8),
    generator=np.random.default_rng(0),
)
model.astype(np.float64)
ids, target = np.array([[1, 7, 4, 9]]), np.array([8])
vectors = model.encoder.tokens.weight


def gradient(bottom, top):
    """Of the token vectors, where the other way holds them still."""
    model.zero_grad()
    states = model(ids)
    if not bottom:
        states = states.detach()
    logits = model.words(states[0, 2:3], vectors if top else vectors.detach())
    next_token_loss(logits, target).backward()
    return np.zeros(vectors.shape) if vectors.grad is None else np.array(vectors.grad)


both, read_only, answer_only = gradient(True, True), gradient(True, False), gradient(False, True)
print("sum of both ways:", np.allclose(both, read_only + answer_only))
print("rows with a gradient, by reading:", np.flatnonzero(np.abs(read_only).sum(axis=1)))
print("rows with a gradient, by answering:", (np.abs(answer_only).sum(axis=1) > 0).sum(), "of 50")

# %% [markdown]
# ## Training
#
# Twenty seconds or less. Both losses begin where guessing is: ln V for tokens, ln 2 for pairs.

# %%
history = train(bert, settings, seed=0, progress=False)
figure, axes = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
for axis, name, level in zip(
    axes,
    ("held_out_loss", "held_out_next_loss"),
    (math.log(data.tokenizer.vocab_size), math.log(2)),
):
    axis.plot(*history.column(name), color=BLUE, marker="o", ms=3)
    axis.axhline(level, color=RED, ls="--", lw=1)
    axis.set(xlabel="step", title=name.replace("_", " "))

# %% [markdown]
# ## Gaps, answers, and writing
#
# What may stand in a gap, by what is on both sides:

# %%
for text in ("the cat sat on the [MASK].", "a [MASK] ran to the log!", "my bird [MASK] a song?"):
    best = ", ".join(f"{one.text} {one.probability:.2f}" for one in bert.fill(text, 3)[0])
    print(f"{text:30} {best}")

# %% [markdown]
# A score goes from left to right inside the answer, the rest of it hidden:

# %%
answers = [" sat on the mat", " ran to the log"]
for answer, score in zip(answers, bert.score(["a dog"] * 2, answers)):
    print(f"ln p({answer} | a dog) = {score:.2f}")

# %% [markdown]
# And it writes, with [MASK] behind the text again and again. Compare with a GPT of lecture 10.

# %%
written = []
bert.sample(b"the cat", 16, temperature=0.7, generator=generator, write=written.append)
print("the cat" + b"".join(written).decode())

# %% [markdown]
# ## Who looks at whom
#
# No triangle: every word sees both sides. Rows look, columns are looked at.

# %%
example = data.tokens("the cat sat on the mat. a dog ran")
weights = bert.model.encoder.attention_weights(np.array([example]))[1, 0]  # (heads, time, time)
names = [data.tokenizer.tokens[i] for i in example]
figure, axes = plt.subplots(1, 4, figsize=(11, 3.2), layout="constrained")
for axis, head in zip(axes, weights):
    axis.imshow(head, cmap="Blues", vmin=0)
    axis.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axis.set_yticks(range(len(names)), names, fontsize=7)

# %% [markdown]
# ## Now try
#
# - `mask_tokens=1, random_tokens=0` in the settings. What does the output say at places that are
#   visible, of a sentence without a gap?
# - `masking="spans"` in place of pieces: the loss rises. Is the model worse?
# - `objective="next"`: what is left of the masked loss, and how good do pairs become?
# - Cut a batch's rows to half of their length. How much does the loss of the same gaps rise?
