# %% [markdown]
# # 03 · Subwords: what a model reads
#
# Beside lecture 03. We train a tokenizer on the English that ships with Python, look at its tokens
# in colour, and ask it about words that it has never seen.

# %%
from collections import Counter
from itertools import islice, pairwise

import matplotlib.pyplot as plt
import numpy as np

from minissl.models.segmentations import log_sum
from minissl.models.word_pieces import byte_spans, pieces_of_words, words_between_spaces
from minissl.palette import BLUE, GREY, OCHRE, RED, look
from minissl.text import GPT2, Bytes, Characters, Tokenizer, WordPiece, WordVocabulary, show_tokens
from minissl.text.bag_of_words import count_vectors, inverse_document_frequency, tf_idf
from minissl.text.bpe import count_pairs, learn_merges, merge
from minissl.text.cleaning import html_to_text
from minissl.text.corpora import python_english, split_documents
from minissl.text.patterns import count_pieces

train, held_out = (
    "\n\n".join(document.text for document in part)
    for part in split_documents(python_english(), 0.1)
)
print(f"{len(train.encode()):,} bytes to learn from, {len(held_out.encode()):,} held out")

# %% [markdown]
# ## A vocabulary of words
#
# The words that occur five times or more in the training text; everything else is `[UNK]`. Which
# sentences survive? Then: how many of the held-out words are unknown, however much was read.

# %%
vocabulary = WordVocabulary.train(train, min_count=5)
print(vocabulary)
for text in ("The list is empty.", "The laern is taaaasty: Transformerify it!", held_out[:200]):
    print(vocabulary.decode(vocabulary.encode(text)))
characters, raw = Characters.train(train), Bytes()
print("naïve 🙂 as characters:", characters.decode(characters.encode("naïve 🙂")))
print("naïve 🙂 as bytes:     ", raw.decode(raw.encode("naïve 🙂")))

# %%
parts = np.geomspace(0.01, 1, 8)
figure, axis = plt.subplots(figsize=(6.4, 3), layout="constrained")
for least, color in ((5, OCHRE), (1, RED)):
    rates = [
        100 * WordVocabulary.train(train[: int(part * len(train))], least).unknown_rate(held_out)
        for part in parts
    ]
    _ = axis.semilogx(100 * parts, rates, **look(color, marker=True), label=f"met {least} times")
_ = axis.set(xlabel="part of the training text (%)", ylabel="unknown words (%)", ylim=0)
_ = axis.legend(title="known if", frameon=False)

# %% [markdown]
# ## A document as a bag of words
#
# Each document as tf-idf of its words. The product of two rows of length 1 is the cosine of the
# angle between them: a search engine in one line. **Change this and run again:** the question.

# %%
question = "remove all items from the list"

documents = python_english()[:3000]
vocabulary = WordVocabulary.train((document.text for document in documents), most=3000)


def count(texts):
    return count_vectors([vocabulary.encode(t) for t in texts], vocabulary.vocab_size, unknown=0)


counts = count(document.text for document in documents)
idf = inverse_document_frequency(counts)
similarity = tf_idf(counts, idf) @ tf_idf(count([question]), idf)[0]
for place in np.argsort(-similarity)[:5]:
    print(f"{similarity[place]:.2f}  {documents[place].name}: {documents[place].text[:60]!r}")
telling = np.argsort(idf[1:]) + 1
print("least telling:", *(vocabulary.tokens[i] for i in telling[:8]))
print("most telling: ", *(vocabulary.tokens[i] for i in telling[-8:]))

# %% [markdown]
# ## Merges by hand
#
# The four words of section 3, with their counts. Each line: the pair that is merged, its count, and
# what the words look like afterwards.

# %%
counts = {b"low": 5, b"lower": 2, b"newest": 6, b"widest": 3}
words = {tuple(bytes([byte]) for byte in word): count for word, count in counts.items()}
for pair in islice(learn_merges(counts), 7):
    times = count_pairs(words)[pair]
    words = {merge(word, pair): count for word, count in words.items()}
    shown = "   ".join(" ".join(t.decode() for t in word) for word in words)
    print(f"{b'+'.join(pair).decode():10} {times:3}    {shown}")

# %% [markdown]
# ## Merges by machine

# %%
tokenizer = Tokenizer.train(train, 4096)
show_tokens(tokenizer, held_out[:600])

# %% [markdown]
# **Change this and run again:** your text, in any language, and the size of the vocabulary. The
# first tokens of a vocabulary are a vocabulary too, so nothing is trained anew.

# %%
text = "Transformerify it! The tokenizer has never seen taaaasty, laern, naïve or 你好 🙂."
size = 1024

smaller = Tokenizer({t: rank for t, rank in tokenizer.ranks.items() if rank < size})
show_tokens(smaller, text)

# %% [markdown]
# ## Shorter and shorter
#
# Bytes per token of held-out text against the size of the vocabulary, and how much of the
# vocabulary a text uses.

# %%
sizes = [256, 320, 512, 1024, 2048, 4096]
lengths = []
for size in sizes:
    smaller = Tokenizer({t: rank for t, rank in tokenizer.ranks.items() if rank < size})
    lengths.append(len(held_out.encode()) / len(smaller.encode(held_out)))
ids = np.array(tokenizer.encode(held_out))
uses = np.sort(np.bincount(ids, minlength=tokenizer.vocab_size))[::-1]
figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3), layout="constrained")
_ = left.semilogx(sizes, lengths, marker="o", color=BLUE, base=2)
_ = left.set(xlabel="vocabulary size", ylabel="bytes per token", ylim=0)
_ = right.loglog(np.arange(1, len(uses) + 1), np.maximum(uses, 0.5), color=BLUE)
_ = right.set(xlabel="tokens, most frequent first", ylabel="uses in held-out text")
print(f"{np.sum(uses == 0):,} of {len(uses):,} tokens do not occur in the held-out text")

# %% [markdown]
# ## Common words are whole, rare words are cut
#
# Words (with the space before them) sorted by how often they occur in the training text; the curve
# is the mean number of tokens over stretches of neighbouring ranks.

# %%
pieces = count_pieces(train, GPT2)
ranked = [p for p, _ in pieces.most_common() if p[:1] == b" " and p[1:].isalpha()]
cuts = np.array([len(tokenizer.encode(word)) for word in ranked])
borders = np.unique(np.geomspace(1, len(ranked), 25).astype(int))
middles = np.sqrt(borders[:-1] * borders[1:])
means = [cuts[a - 1 : b].mean() for a, b in pairwise(borders)]
letters = [np.mean([len(w) - 1 for w in ranked[a - 1 : b]]) for a, b in pairwise(borders)]
figure, axis = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
_ = axis.semilogx(middles, means, marker="o", markersize=4, color=BLUE, label="tokens")
_ = axis.semilogx(middles, letters, color=GREY, linestyle="--", label="letters")
_ = axis.set(xlabel="rank of the word", ylabel="mean per word", ylim=0)
_ = axis.legend(frameon=False)
whole = int(np.argmax(cuts > 1))
print(
    f"the {whole} most frequent words are one token each; the first that is cut is {ranked[whole]}"
)

# %% [markdown]
# ## What was learned, and when
#
# Each point is a merge: when it was learned, and how long the new token is. Names mark the longest
# of every stretch; the very long ones are borders of tables.

# %%
learned = sorted((rank, t) for t, rank in tokenizer.ranks.items() if rank >= 256)
figure, axis = plt.subplots(figsize=(7.2, 3.4), layout="constrained")
_ = axis.scatter(*zip(*[(r, len(t)) for r, t in learned]), s=3, color=BLUE, alpha=0.4)
for start in range(256, 4096, 480):
    stretch = [
        (len(t), r, t) for r, t in learned if start <= r < start + 480 and t.strip().isalpha()
    ]
    length, rank, token = max(stretch)
    _ = axis.annotate(token.decode(), (rank, len(token)), fontsize=8, rotation=25)
_ = axis.set(xlabel="id of the token", ylabel="bytes", yscale="log", xlim=(200, 4500))

# %% [markdown]
# ## Why a tie rule
#
# Two learners read the same words in two orders. One breaks ties by the bytes of the pair, the
# other takes the pair it met first.


# %% jupyter={"source_hidden": true}
def learn(counts, number, key):  # answers 2.3
    words = {tuple(bytes([byte]) for byte in word): count for word, count in counts.items()}
    learned = []
    for _ in range(number):
        pairs = count_pairs(words)
        learned.append(max(pairs, key=lambda pair: key(pairs, pair)))
        words = {merge(word, learned[-1]): count for word, count in words.items()}
    return [a + b for a, b in learned]


sample = count_pieces(train[:6000])
shuffled = dict(sorted(sample.items(), key=lambda item: item[0][::-1]))
rules = {
    "greatest pair": lambda pairs, pair: (pairs[pair], pair),
    "first one met": lambda pairs, pair: pairs[pair],
}
for name, key in rules.items():
    one, other = (learn(order, 300, key) for order in (sample, shuffled))
    same = len(set(one) & set(other))
    print(f"{name}: {same} of 300 new tokens are the same in both orders")

# %% [markdown]
# ## At the edges

# %%
broken = b"caf\xe9, then \xff\xfe"
print("not UTF-8:", broken, "->", tokenizer.decode_bytes(tokenizer.encode(broken)))
parts = tokenizer.encode("🙂")
print(
    "one character, several tokens:",
    [tokenizer.decode([i]) for i in parts],
    "->",
    tokenizer.decode(parts),
)
closing = Tokenizer.from_merges(tokenizer.merges(), special_tokens=["<|endoftext|>"])
try:
    closing.encode("a user types <|endoftext|> here")
except ValueError as error:
    print("special:", error)

# %% [markdown]
# ## WordPiece, beside BPE
#
# The same text, the same size of vocabulary, learned from the top down. Case and accents go, a mark
# says what goes on inside a word, and what cannot be cut is unknown: all of the word.

# %%
pieces = WordPiece.train(train[: len(train) // 4], 2048)  # of a part of it, to be quick
sample_text = "Unbelievable: the naïve tokenizer reads 3.5% 你好 🙂"
print("BPE:      ", show_tokens(tokenizer, sample_text).terminal(color=False))
print("WordPiece:", show_tokens(pieces, sample_text).terminal(color=False))
print("and back: ", pieces.decode(pieces.encode(sample_text)))

# %% [markdown]
# ## One word, several ways
#
# BPE-dropout passes over merges at random. How often each way to cut a word comes out of 2,000
# draws, beside the tokens that replay gives (dark).

# %%
word, dropout = " unbelievable", 0.2
generator = np.random.default_rng(0)
draws = Counter(tuple(tokenizer.encode_with_dropout(word, dropout, generator)) for _ in range(2000))
usual = tuple(tokenizer.encode(word))
ways = draws.most_common(12)
labels = ["|".join(tokenizer.decode([i]) for i in way) for way, _ in ways]
colours = [BLUE if way == usual else GREY for way, _ in ways]
figure, axis = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
_ = axis.barh(labels[::-1], [count for _, count in ways][::-1], color=colours[::-1])
_ = axis.set(xlabel="of 2,000 draws")
print(f"{len(draws)} different ways to cut {word!r}")

# %% [markdown]
# A model that gives each token 1/V, whatever came before: what it thinks of the word by the usual
# way alone, and by the sum over more and more ways. The sum can only rise, and stays a lower bound.

# %%
found = list(draws)
found.insert(0, found.pop(found.index(usual)))
log_p = np.array([-len(way) * np.log(tokenizer.vocab_size) for way in found])
bounds = [log_sum(found[:k], log_p[:k]) for k in range(1, len(found) + 1)]
figure, axis = plt.subplots(figsize=(6.4, 3), layout="constrained")
_ = axis.semilogx(range(1, len(found) + 1), bounds, color=BLUE)
_ = axis.set(xlabel="ways in the sum", ylabel="ln p(word), at least")

# %% [markdown]
# ## HTML out, everything else kept

# %%
page = """<title>T</title><p>Un<b>believ</b>able &amp; 5 &lt 6:<br>if a < b && c > d</p>
<script>run("<p>")</script><ul><li>one<li>two</ul><pre>x  =  1
  y</pre>"""
print(html_to_text(page))

# %% [markdown]
# ## Whose pieces?
#
# The tokens of each word, found by the bytes that they share.

# %%
sentence = "The unbelievable tokenizer hesitates."
ids = tokenizer.encode(sentence)
names, spans = words_between_spaces(sentence)
for name, places in zip(names, pieces_of_words(byte_spans(tokenizer, ids), spans)):
    print(f"{name:14}", [tokenizer.decode([ids[i]]) for i in places])

# %% [markdown]
# ## Now try
#
# 1. Encode a paragraph of your own language. How many bytes per token, against English?
# 2. Train on `held_out` instead of `train`. How many of the first 500 merges are the same?
# 3. Train with `pattern="cl100k"`, then with `pattern=r"\s+|\S+"`. Look at numbers and punctuation.
# 4. Write the encoder that uses the fewest tokens (dynamic programming over the word's bytes) and
#    find English words for which it beats `tokenizer.encode`.
# 5. Count the words of `held_out` that never occur in `train`. How many tokens do they take?
# 6. Raise `dropout` to 0.5 and to 1. How many ways are there, and which is the most frequent?
