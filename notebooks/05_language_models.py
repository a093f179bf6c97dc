# %% [markdown]
# # 05 · Language models and the chain rule
#
# Beside lecture 05. We count pairs of tokens in the English that comes with Python, measure the
# same model in nats, perplexity and bits per byte, look at where a sentence is surprising, and see
# what the first token of a text costs. Then an LSTM reads a text window after window with a state
# that goes on, writes with that state as its cache, and answers questions of the cloze zoo; two of
# them, one in each direction, give one word two vectors.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np

from minissl.data import Kept
from minissl.data.cloze import answer_scores, small_zoo
from minissl.data.texts import Texts, encode_documents
from minissl.data.words import WordSequenceTexts
from minissl.losses.language_modeling import next_token_loss, perplexity
from minissl.models.gpt import GPT, GPTConfig
from minissl.models.held_out import carried_nats
from minissl.nn import evaluating
from minissl.palette import BLUE, GREY, RED, look
from minissl.pretrain.language.elmo import ELMo
from minissl.pretrain.language.lstm import LSTMPretraining
from minissl.pretrain.run import train as train_method
from minissl.text import Tokenizer, show_tokens
from minissl.text.baselines import (
    bigram_loss,
    bigram_probabilities,
    bits_per_byte,
    unigram_loss,
    unigram_probabilities,
)
from minissl.text.corpora import python_english
from minissl.text.documents import SEPARATOR, split_documents
from minissl.text.small_world import documents
from minissl.text.words import words_of

# %% [markdown]
# ## The text, in two vocabularies
#
# 257 tokens are the bytes and a separator between documents; 1,024 are learned pieces of words.

# %%
train, held_out = split_documents(python_english())
texts = [document.text for document in train]
data = {}
for size in (257, 1024):
    tokenizer = Tokenizer.train(texts, size, special_tokens=[SEPARATOR])
    data[size] = encode_documents(train, held_out, tokenizer)
    print(f"{size} tokens in the vocabulary: {len(data[size].stream):,} tokens of training text")

# %%
show_tokens(data[1024].tokenizer, "Return True if the file exists, or raise an exception.")

# %% [markdown]
# ## A language model that one can look at
#
# How often does each letter follow each? Row: the letter before; column: the letter after. This
# table of relative frequencies *is* the maximum-likelihood model with one letter of context.

# %%
letters = np.frombuffer(b" abcdefghijklmnopqrstuvwxyz", np.uint8)
place = np.full(256, -1)
place[letters] = np.arange(27)
codes = place[np.frombuffer(data[257].text.lower(), np.uint8)]
both = (codes[:-1] >= 0) & (codes[1:] >= 0)
counts = np.zeros((27, 27))
np.add.at(counts, (codes[:-1][both], codes[1:][both]), 1)
table = counts / counts.sum(axis=1, keepdims=True)

figure, axis = plt.subplots(figsize=(6, 5.4), layout="constrained")
image = axis.imshow(table, cmap="Blues")
axis.set_xticks(range(27), "␣abcdefghijklmnopqrstuvwxyz")
axis.set_yticks(range(27), "␣abcdefghijklmnopqrstuvwxyz")
_ = axis.set(xlabel="next", ylabel="after")
_ = figure.colorbar(image, label="p(next | before)")

# %% [markdown]
# Draw from it, letter by letter, and it writes. Compare with letters drawn without any context:

# %%
generator = np.random.default_rng(0)
alone = generator.choice(27, size=70, p=counts.sum(axis=0) / counts.sum())
pairs = [0]
for _ in range(70):
    pairs.append(generator.choice(27, p=table[pairs[-1]]))
for name, drawn in (("no context ", alone), ("one letter ", pairs)):
    print(name, bytes(letters[list(drawn)]).decode())

# %% [markdown]
# ## One loss, three units
#
# Held-out text. Per *token* the bytes look better, because a byte is easier to guess than a piece
# of a word. Per *byte of text*, which is the same for both, they are worse.

# %%
rows = []
for size, d in data.items():
    targets = len(d.held_out_stream) - 1
    for name, nats in (
        ("uniform", math.log(size)),
        ("unigram", unigram_loss(d.stream, d.held_out_stream, size)),
        ("bigram", bigram_loss(d.stream, d.held_out_stream, size)),
    ):
        bits = bits_per_byte(nats, targets, len(d.held_out_text))
        rows.append((f"{name}, {size} tokens", nats, bits))
        print(f"{rows[-1][0]:>22}: {nats:.3f} nats, perplexity {perplexity(nats):7.1f}, {bits:.3f}")

names, nats, bits = zip(*rows)
figure, axes = plt.subplots(2, 1, figsize=(6, 5), layout="constrained")
for axis, values, label in zip(axes, (nats, bits), ("nats per token", "bits per byte")):
    bars = axis.barh(names, values, color=[RED] * 3 + [BLUE] * 3)
    axis.bar_label(bars, fmt="%.2f", padding=3)
    axis.invert_yaxis()
    _ = axis.set(title=label, xlim=(0, 1.15 * max(values)))

# %% [markdown]
# ## The chain rule, token by token
#
# $-\ln p$ of a sentence is the sum of the surprises of its tokens.
#
# ### Change this and run again

# %%
SENTENCE = "Return True if the file is a directory, or fry an egg."

# %%
d = data[1024]
separator = d.tokenizer.special_tokens[SEPARATOR]
tokens = np.array([separator, *d.tokenizer.encode(SENTENCE)])
p = bigram_probabilities(d.stream, tokens[:-1], tokens[1:], 1024)
surprise = -np.log(p)

figure, axis = plt.subplots(figsize=(7, 3.2), layout="constrained")
axis.bar(range(len(surprise)), surprise, color=BLUE)
axis.set_xticks(
    range(len(surprise)),
    [d.tokenizer.decode([token]).replace(" ", "·") for token in tokens[1:]],
    rotation=90,
)
axis.axhline(math.log(1024), color=GREY, linestyle="--", linewidth=1)
_ = axis.set(ylabel="−ln p after the token before")
print(f"product of the probabilities {np.prod(p):.3g}, its −ln {-np.log(np.prod(p)):.3f}")
print(f"sum of the surprises {surprise.sum():.3f}; per token {surprise.mean():.3f}")

# %% [markdown]
# ## The first token
#
# $p(x_1)$ has nothing to look back at. With a separator before each document it has: documents
# begin differently from how they go on.

# %%
first = d.stream[1:][d.stream[:-1] == separator]
first = first[first != separator]
held_first = d.held_out_stream[1:][d.held_out_stream[:-1] == separator]
begins = unigram_probabilities(first, 1024)
anywhere = unigram_probabilities(d.stream, 1024)
for name, p in (("uniform", np.full(1024, 1 / 1024)), ("anywhere", anywhere), ("begins", begins)):
    print(f"{name:>9}: {-np.log(p[held_first]).mean():.2f} nats for the first token")

top = np.argsort(-begins)[:15]
figure, axis = plt.subplots(figsize=(7, 3.4), layout="constrained")
axis.bar(np.arange(15) - 0.2, begins[top], 0.4, color=BLUE, label="begins a document")
axis.bar(np.arange(15) + 0.2, anywhere[top], 0.4, color=GREY, label="anywhere")
axis.set_xticks(range(15), [d.tokenizer.decode([token]) for token in top], rotation=60)
_ = axis.legend(frameon=False)

# %% [markdown]
# ## Is my loss value right?
#
# Before training, a network should know nothing: ln 1024 = 6.93. With large initial weights it is
# worse than knowing nothing, because it is sure of something.

# %%
windows = d.stream[: 32 * 65].reshape(32, 65)
stds = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3)
losses = []
for std in stds:
    config = GPTConfig(
        vocab_size=1024, context_length=64, num_layers=2, width=64, num_heads=4, init_std=std
    )
    model = GPT(config, generator=np.random.default_rng(0))
    with evaluating(model):
        losses.append(next_token_loss(model(windows[:, :-1]), windows[:, 1:]).item())

figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
axis.semilogx(stds, losses, "o-", color=BLUE)
axis.axhline(math.log(1024), color=RED, linestyle="--", linewidth=1)
_ = axis.set(xlabel="init_std", ylabel="first loss (nats)")

# %% [markdown]
# ## An LSTM reads windows that go on
#
# Sentences about a small world, from templates: colleges and towns, forks and spoons, fish and
# whales. 32 lanes of 16 tokens for each step; every lane goes on where it stopped, with its state.
# Some seconds.

# %%
world = documents(10_000)
chosen = [d for d in world if d.source in ("trivia", "grammar", "topic", "coreference")][:4000]
settings = LSTMPretraining.Settings(
    vocab_size=512, width=64, num_layers=1, context_length=16, batch_size=32, steps=250,
    learning_rate=0.03, evaluations=1,
)  # fmt: skip
streams = Texts(chosen).prepare(Kept(), settings)
lstm = LSTMPretraining.build(settings, streams, seed=0)
history = train_method(lstm, settings, progress=False)
lanes = lstm.model.state.shape
print(f"the state that is carried: {lanes} numbers (lanes, layers, h and c, width)")

# %% [markdown]
# What does it cost to forget? Held-out text, read with one state from beginning to end, and with a
# state of zeros every few tokens:

# %%
stream = streams.held_out_stream
targets = len(stream) - 1
sizes = (2, 4, 8, 16, 32, 64)
forgetting = []
with evaluating(lstm.network):
    for size in sizes:
        whole = stream[: targets // size * size + 1]
        places = np.arange(0, len(whole) - 1, size)[:, None] + np.arange(size)
        forgetting.append(next_token_loss(lstm.network(whole[places]), whole[places + 1]).item())
carried = carried_nats(lstm.network, stream, lanes=1) / targets

figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
axis.semilogx(sizes, forgetting, **look(RED, marker=True), label="zeros every so many tokens")
axis.axhline(carried, **look(BLUE), label="state carried")
axis.set_xticks(sizes, [str(size) for size in sizes])
axis.minorticks_off()
_ = axis.set(xlabel="tokens of a window", ylabel="nats per token")
_ = axis.legend(frameon=False)

# %% [markdown]
# ## The state is the cache
#
# To write a token the model needs the one before and its state, nothing else: as much memory and
# as much work for the thousandth token as for the first. A GPT of one layer of this width keeps
# 2 × 64 numbers *for each token*. And look whose hat, dog or eyes they are:
# is the owner the one who met?
#
# ### Change this and run again

# %%
PROMPT, TEMPERATURE = "The queen met the", 0.8

# %%
for seed in range(3):
    written: list[bytes] = []
    lstm.sample(
        PROMPT.encode(), 30, temperature=TEMPERATURE, generator=np.random.default_rng(seed),
        write=written.append,
    )  # fmt: skip
    print(PROMPT + b"".join(written).decode("utf-8", "replace"))
print(f"state of one text: {2 * settings.width} numbers, whatever its length")

# %% [markdown]
# ## Three pairs of the zoo
#
# Which of two words is likelier behind a prompt? The model was never asked during training, and no
# text that it read answers in so many words.
#
# ### Change this and run again

# %%
KINDS = ("trivia", "grammar", "topic")

# %%
zoo = small_zoo(40)
for kind in KINDS:
    pairs = [pair for pair in zoo if pair.kind == kind]
    scores = answer_scores(lstm, pairs)
    right = 100 * np.mean(scores[:, 0] > scores[:, 1])
    pair, (first, second) = pairs[0], scores[0]
    print(f"{kind}: {pair.prompt} ...")
    print(f"   {pair.right} {first:.2f}   {pair.wrong} {second:.2f}   ({first - second:+.2f})")
    print(f"   right in {right:.0f} % of {len(pairs)} pairs; a coin: 50")

# %% [markdown]
# ## One word, two vectors
#
# ELMo's form: one LSTM reads forwards, one backwards, over words. *garden* is a place to go and see
# roses in some texts and a room beside the hall in others. Its row is the same everywhere; its
# state is not. Number: cosine of the vectors of *garden* in two sentences.

# %%
rooms = [d for d in world if d.source in ("topic", "location")][:3000]
elmo_settings = ELMo.Settings(
    width=48, num_layers=1, context_length=16, steps=200, learning_rate=0.02, min_count=1,
    evaluations=1,
)  # fmt: skip
words = WordSequenceTexts(rooms).prepare(Kept(), elmo_settings)
elmo = ELMo.build(elmo_settings, words, seed=0)
_ = train_method(elmo, elmo_settings, progress=False)

# %%
SENTENCES = (
    "Anna ran from the garden to the hall",
    "Leo walked to the garden from the attic",
    "We went to the garden to see the roses",
    "They went to the garden to see the tulips",
)
WORD = "garden"
layers: list[list[np.ndarray]] = [[], []]
for sentence in SENTENCES:
    place = words_of(sentence).index(WORD) + 1  # a boundary stands before the first word
    for layer, states in enumerate(elmo.states(elmo.collate([words.vocabulary.encode(sentence)]))):
        layers[layer].append(states.numpy()[0, place])

figure, axes = plt.subplots(1, 2, figsize=(7, 3.2), layout="constrained")
for axis, rows, name in zip(axes, layers, ("the row of the word", "both LSTMs, side by side")):
    units = np.array(rows) / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = units @ units.T
    axis.imshow(cosines, cmap="Blues", vmin=0.5, vmax=1.2)
    for (i, j), value in np.ndenumerate(cosines):
        axis.text(j, i, f"{value:.2f}", ha="center", va="center")
    axis.set_xticks(range(4), ["room", "room", "roses", "tulips"])
    axis.set_yticks(range(4), ["room", "room", "roses", "tulips"])
    _ = axis.set(title=name)

# %% [markdown]
# ## Now try
#
# 1. Put a name or a misspelt word into `SENTENCE`. Which of its tokens pays?
# 2. Add 4,096 to the vocabulary sizes. Do nats per token and bits per byte move as you expect?
# 3. Train on the first 10% of `texts` only. Which loses more, unigram or bigram, and why?
# 4. Write the letter model with *two* letters of context, `counts` of shape (27, 27, 27), and draw
#    from it. How many of its rows were never seen?
# 5. Compute the entropy of each row of `table`. After which letter is the next easiest to guess?
# 6. Train the LSTM for 1,000 steps. Which kinds of the zoo does it learn, and does *coreference*
#    come? Put it into `KINDS`; then look up in `text/small_world.py` what the texts say of it.
# 7. Change `cell="lstm"` to `"gru"` in its settings. How many numbers is the state then?
# 8. Write two sentences of your own with *garden*, or with *hall*, and look at the cosines.
