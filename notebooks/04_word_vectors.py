# %% [markdown]
# # 04 · Word vectors: the company a word keeps
#
# Beside lecture 04. We count which words stand together in the English that ships with Python,
# train skip-gram on it for a few seconds, ask for neighbours and analogies, and look at what
# negative sampling, NCE and GloVe each do with a pair.

# %%
# %matplotlib inline
import matplotlib.pyplot as plt
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.linalg import svds

from minissl import Tensor
from minissl.data import Kept
from minissl.data.vectors import WordVectors
from minissl.data.word_tests import WordPairs
from minissl.data.words import WordTexts
from minissl.losses.words import glove_weights, negative_sampling, noise_contrastive
from minissl.palette import BLUE, GREY
from minissl.pretrain.run import train
from minissl.pretrain.words.noise_contrastive import NoiseContrastive
from minissl.pretrain.words.skipgram import SkipGram
from minissl.text.cooccurrence import (
    cooccurrences,
    keep_probabilities,
    noise_distribution,
    pointwise_mutual_information,
)
from minissl.text.corpora import python_english

settings = SkipGram.Settings(width=64, steps=150)
data = WordTexts(python_english()).prepare(Kept(), settings)
vocabulary, stream = data.vocabulary, data.stream
size = vocabulary.vocab_size
print(data.describe())

# %% [markdown]
# ## Counting, by hand and by machine
#
# The four words of section 2, then the whole text. Which words seek each other?


# %%
def table_of(words, window, **how):
    """Pairs and their PMI, for a text of few words."""
    names = sorted(set(words))
    ids = np.array([names.index(word) for word in words])
    pairs = cooccurrences(ids, np.zeros(len(ids), int), len(names), window, **how)
    mutual = pointwise_mutual_information(pairs, len(names))
    return [(names[r], names[c], n, round(m, 3)) for r, c, n, m in zip(*pairs, mutual)]


for line in table_of("the cat the dog".split(), window=2):
    print(*line)

# %%
pairs = cooccurrences(stream.words, stream.documents, size, window=5)
mutual = pointwise_mutual_information(pairs, size)
often = pairs.counts >= 10
order = np.flatnonzero(often & (pairs.rows < pairs.columns))
order = order[np.argsort(-mutual[order])]
print(
    f"{len(pairs.counts):,} pairs of {size**2:,}; {np.mean(pairs.counts <= 1):.0%} count 1 or less"
)
for number in order[:12]:
    first, second = (vocabulary.tokens[i] for i in (pairs.rows[number], pairs.columns[number]))
    print(f"{first:14} {second:14} {pairs.counts[number]:7.1f} {mutual[number]:7.2f}")

# %% [markdown]
# Without `often` the list is full of words that occur five times and always together: PMI believes
# in rare events. **Try it.**
#
# The rows of the table are vectors already. Positive PMI, cut down to 64 numbers by a singular
# value decomposition:

# %%
positive = coo_array((np.maximum(mutual, 0), (pairs.rows, pairs.columns)), shape=(size, size))
left, values, _ = svds(positive.tocsr(), k=64, v0=np.ones(size))
counted = WordVectors(vocabulary.tokens[1:], (left * np.sqrt(values))[1:])
ASKED = ["red", "day", "thread", "integer", "socket", "directory"]
for word in ASKED:
    print(f"{word:10}", *[f"{near} {cosine:.2f} " for near, cosine in counted.neighbors(word, 5)])

# %% [markdown]
# ## Who is read, and who is drawn

# %%
counts = vocabulary.counts[1:]
share = counts / counts.sum()
keep, noise = keep_probabilities(counts), noise_distribution(counts)
print("word          share    stays  as noise")
for row in (0, 1, 10, 100, 1000, len(counts) - 1):
    print(f"{vocabulary.tokens[row + 1]:10} {share[row]:8.5f} {keep[row]:8.3f} {noise[row]:9.5f}")
print(f"{keep @ counts:,.0f} of {counts.sum():,} words are left")

# %% [markdown]
# ## Negative sampling by hand

# %%
w = Tensor(np.array([[1.0, 2.0]]), requires_grad=True)
loss = negative_sampling(w, np.array([[1.0, 0.5]]), np.array([[[-1.0, 1.0], [2.0, -1.0]]]))
loss.backward()
print("loss", round(loss.item(), 4), "gradient of w", w.grad.round(4))

# %% [markdown]
# ## Training
#
# A few seconds. The loss starts at 6 ln 2 = 4.159: all contexts are 0.
#
# **Change this and run again:** window, negatives, threshold, the power of the noise.

# %%
method = SkipGram.build(settings, data, seed=0)
history = train(method, settings, progress=False)
vectors = method.vectors()
figure, axis = plt.subplots(figsize=(6, 2.8), layout="constrained")
_ = axis.axhline(6 * np.log(2), color=GREY, linestyle="--")
_ = axis.plot(*history.column("loss"), color=BLUE, alpha=0.4, label="batch")
_ = axis.plot(*history.column("held_out_loss"), color=BLUE, marker="o", label="held-out")
_ = axis.set(xlabel="step", ylabel="nats for a pair and its noise")
_ = axis.legend(frameon=False)

# %%
for word in ASKED:
    print(f"{word:10}", *[f"{near} {cosine:.2f} " for near, cosine in vectors.neighbors(word, 5)])

# %% [markdown]
# ## Analogies
#
# Both rules; then without leaving the three words out. How far does the sum get from the third?

# %%
QUESTIONS = [
    ("input", "output", "stdin"),
    ("read", "reading", "write"),
    ("string", "strings", "integer"),
    ("day", "days", "year"),
]


def unit(word):
    return vectors.units[vectors.row(word)]


for a, b, c in QUESTIONS:
    added, multiplied = (vectors.analogy(a, b, c, rule, 2) for rule in ("add", "multiply"))
    nothing_left_out = vectors.neighbors(unit(b) - unit(a) + unit(c), 2)
    print(f"{a} : {b} = {c} : ?")
    for name, found in (("3CosAdd", added), ("3CosMul", multiplied), ("all", nothing_left_out)):
        print(f"    {name:8}", *[f"{word} {score:.3f} " for word, score in found])

# %% [markdown]
# ## People
#
# The library's small set of pairs. Look at the coverage before you look at the correlation.

# %%
for name, table in (("counted", counted), ("skip-gram", vectors)):
    print(name, WordPairs.toy().measure(table))

# %% [markdown]
# ## Noise-contrastive estimation
#
# Three contexts and one center. Contexts come with probabilities 0.6, 0.3, 0.1, noise with 0.5,
# 0.3, 0.2: a hundred pairs that have exactly these shares. We walk down each loss and see where
# eˢ ends, and what it adds up to.

# %%
p, q = np.array([0.6, 0.3, 0.1]), np.array([0.5, 0.3, 0.2])
seen = np.repeat([0, 1, 2], [60, 30, 10])
drawn = np.tile(np.repeat([0, 1, 2], [5, 3, 2]), 10)[:, None]  # k = 1
center = np.ones((100, 1))
log_noise = np.log(q[seen]), np.log(q[drawn])

for kind, more in ((negative_sampling, ()), (noise_contrastive, log_noise)):
    s = np.zeros((3, 1))
    for _ in range(300):
        scores = Tensor(s, requires_grad=True)
        kind(center, scores[seen], scores[drawn], *more).backward()
        s = s - scores.grad
    ends = np.exp(s[:, 0])
    print(f"{kind.__name__:18} eˢ = {ends.round(3)}, together {ends.sum():.3f}")
print(f"{'truth':18} p  = {p},   p / q = {(p / q).round(3)}")

# %% [markdown]
# The same with words. `log_normalizer` is the mean of ln Σ eˢ over frequent centers, which nobody
# tells to be 0.

# %%
method = NoiseContrastive.build(settings, data, seed=0)
history = train(method, settings, progress=False)
for step, value in zip(*history.column("log_normalizer")):
    print(f"step {step:4}: log Σ eˢ = {value:6.3f}")

# %% [markdown]
# ## GloVe's weight

# %%
figure, axis = plt.subplots(figsize=(6, 2.8), layout="constrained")
x = np.linspace(0, 150, 301)
for power in (0.5, 0.75, 1.0):
    _ = axis.plot(x, glove_weights(x, power=power), label=f"power {power}")
_ = axis.set(xlabel="count of a pair", ylabel="weight")
_ = axis.legend(frameon=False)
weight = glove_weights(pairs.counts)
rare = pairs.counts <= 1
print(f"pairs that count 1 or less are {rare.mean():.0%} of all, and have "
      f"{weight[rare].sum() / weight.sum():.0%} of the weight")  # fmt: skip

# %% [markdown]
# ## Now try
#
# 1. Change `negatives` to 1 and to 20. Which losses can you still compare?
# 2. Set `threshold=0`. What happens to the neighbours of *the*, and of *red*?
# 3. Set `noise_power` to 0 and to 1, and look at the neighbours of the rarest words.
# 4. Take the dot product of a center with a *context* of another word
#    (`method.model.contexts.weight`) in place of two centers. What is near to *red* now?
# 5. Plot w·c of skip-gram against PMI − ln 5 for pairs that were counted 20 times or more. (Count
#    them with the weights that the windows have: 1, 0.8, 0.6, 0.4, 0.2.)
# 6. Train `minissl.pretrain.words.glove.GloVe` and count how many of the ten nearest of each word
#    it has in common with skip-gram.
