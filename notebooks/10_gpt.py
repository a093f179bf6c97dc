# %% [markdown]
# # 10 · GPT: generation, sampling, zero-shot
#
# Beside lecture 10. A small GPT learns some English in seconds; then we turn the dials of sampling,
# look at the distributions they cut, and switch the cache on and off. At the end a model that has
# seen no label classifies texts.

# %%
import time
from pathlib import Path

# %matplotlib inline
import matplotlib.pyplot as plt
import numpy as np

from minissl import figures
from minissl.adapt.heads.probe import few_label_curve
from minissl.adapt.method import Task
from minissl.adapt.prompting.zero_shot import ZeroShot, ZeroShotSettings
from minissl.autograd.threads import engine_threads
from minissl.data import Kept
from minissl.data.labels import as_classes
from minissl.data.texts import LabelledTexts, Texts, encode_documents
from minissl.models.generate import generate, next_token_logits, next_token_probabilities
from minissl.models.gpt import GPT
from minissl.nn import evaluating
from minissl.palette import BLUE, GREY, OCHRE, RED, look
from minissl.pretrain import run as pretraining
from minissl.pretrain.language.gpt import GPTPretraining, GPTSettings
from minissl.pretrain.run import Opened
from minissl.text import Tokenizer
from minissl.text.baselines import bigram_loss, unigram_loss
from minissl.text.corpora import python_english
from minissl.text.documents import SEPARATOR, split_documents
from minissl.text.small_world import documents, reviews

# %% [markdown]
# ## A GPT in some seconds
#
# The figure shows how far it comes, beside models that only count tokens, or pairs of tokens. To
# beat the pairs, a small GPT needs minutes, not seconds.

# %%
train, held_out = split_documents(python_english())
train = train[:3000]  # enough for some seconds
tokenizer = Tokenizer.train([d.text for d in train], 512, special_tokens=[SEPARATOR])
data = encode_documents(train, held_out[:40], tokenizer)
separator = tokenizer.special_tokens[SEPARATOR]

settings = GPTSettings(
    vocab_size=512,
    num_layers=2,
    width=64,
    num_heads=4,
    context_length=64,
    batch_size=8,
    steps=200,
    learning_rate=5e-3,
    evaluations=3,
)
model = GPT(settings.config(512), generator=np.random.default_rng(0))
method = GPTPretraining(model, data.stream, batch_size=8, held_out=data.held_out_stream)
started = time.perf_counter()
history = pretraining.train(method, settings, progress=False)
print(f"{model.num_parameters():,} parameters, {time.perf_counter() - started:.1f} s")

# %%
steps, losses = history.column("loss")
levels = {
    "uniform": np.log(512),
    "unigram": unigram_loss(data.stream, data.held_out_stream, 512),
    "bigram": bigram_loss(data.stream, data.held_out_stream, 512),
}
figures.language_loss(steps, losses, list(zip(*history.column("held_out_loss"))), levels)

# %% [markdown]
# ## What comes next?
#
# The whole answer of the model to a prompt is one list of probabilities.


# %%
def probabilities(prompt, **dials):
    with evaluating(model):
        logits = next_token_logits(model, [separator, *tokenizer.encode(prompt)])
    return next_token_probabilities(logits, **dials)


def names(tokens):
    return [tokenizer.decode([t]).replace(" ", "·").replace("\n", "↵") for t in tokens]


prompts = ("Return a list of", "The default val")
figure, axes = plt.subplots(2, 1, figsize=(7, 5), layout="constrained")
for axis, prompt in zip(axes, prompts):
    p = probabilities(prompt)
    top = np.argsort(-p)[:25]
    axis.bar(range(25), p[top], color=BLUE)
    axis.set_xticks(range(25), names(top), rotation=90)
    _ = axis.set(title=f"{prompt} …", ylabel="p")

# %% [markdown]
# ## Temperature

# %%
p = probabilities(prompts[0])
top = np.argsort(-p)[:15]
figure, axis = plt.subplots(figsize=(7, 3.2), layout="constrained")
for shift, (temperature, color) in enumerate(((0.5, RED), (1.0, BLUE), (2.0, OCHRE))):
    p = probabilities(prompts[0], temperature=temperature)
    axis.bar(
        np.arange(15) + 0.28 * (shift - 1), p[top], 0.28, color=color, label=f"T={temperature}"
    )
axis.set_xticks(range(15), names(top), rotation=60)
_ = axis.legend(frameon=False)

# %%
for temperature in (0, 0.5, 0.8, 1.0, 1.5):
    ids = generate(
        model,
        [separator, *tokenizer.encode(prompts[0])],
        40,
        temperature=temperature,
        generator=np.random.default_rng(0),
        stop=[separator],
    )
    print(f"T = {temperature}: {(prompts[0] + tokenizer.decode(ids))!r}\n")

# %% [markdown]
# ## Cutting off the tail
#
# Grey: cut away. What is kept grows so that it adds up to 1. Top-k keeps the same number of tokens
# after every prompt, top-p the same amount of probability.
#
# ### Change this and run again

# %%
TOP_K, TOP_P, TEMPERATURE = 10, 0.5, 1.0

# %%
figure, axes = plt.subplots(2, 2, figsize=(8, 5), layout="constrained", sharex=True)
for row, prompt in zip(axes, prompts):
    full = probabilities(prompt, temperature=TEMPERATURE)
    top = np.argsort(-full, kind="stable")[:60]
    for axis, dial in zip(row, ({"top_k": TOP_K}, {"top_p": TOP_P})):
        cut = probabilities(prompt, temperature=TEMPERATURE, **dial)
        axis.bar(range(60), full[top], color=GREY, alpha=0.5)
        axis.bar(range(60), cut[top], color=BLUE, alpha=0.7)
        kept = int((cut > 0).sum())
        name, value = next(iter(dial.items()))
        _ = axis.set_title(f"{prompt} … {name} = {value}: {kept} tokens", fontsize=9)

# %% [markdown]
# ## The cache changes no token
#
# The same seed, with and without the keys and values of earlier tokens:

# %%
prompt = [separator, *tokenizer.encode("The")]
written = {}
for cache in (True, False):
    written[cache] = generate(
        model, prompt, 55, temperature=0.8, generator=np.random.default_rng(1), cache=cache
    )
print("same tokens:", written[True] == written[False])
print(repr("The" + tokenizer.decode(written[True])))

# %% [markdown]
# What it saves is work. Milliseconds for one more token, against the tokens so far, in a model of
# the same size with a longer context (untrained: what it says does not matter here):

# %%
longer = GPT(
    GPTSettings(num_layers=2, width=64, num_heads=4, context_length=600).config(512),
    generator=np.random.default_rng(0),
)
tokens = np.random.default_rng(0).integers(512, size=600).tolist()
lengths, cost = [50, 100, 200, 400, 599], {"no cache": [], "cache": []}
with engine_threads(1), evaluating(longer):  # as in generate: one token is too little to share
    for length in lengths:
        caches = longer.new_caches()
        next_token_logits(longer, tokens[:length], caches)
        for name, kept in (("no cache", None), ("cache", caches)):
            started = time.perf_counter()
            next_token_logits(longer, tokens[: length + 1], kept, quick=kept is not None)
            cost[name].append(1e3 * (time.perf_counter() - started))

figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
for (name, values), color in zip(cost.items(), (GREY, BLUE)):
    axis.loglog(lengths, values, **look(color, marker=True), label=name)
_ = axis.set(xlabel="tokens so far", ylabel="ms for one more token")
_ = axis.legend(frameon=False)

# %% [markdown]
# ## Zero-shot: the class of a text as a blank
#
# A second, smaller GPT reads generated film reviews that end in a verdict. Then it is asked about
# other reviews, which have none: nothing is learned from a label.
#
# Reviews with a "not" are left out: what that does to a verdict takes 3,000 steps, which are some
# minutes; lecture 10, section 9, has the numbers.


# %%
def without_not(found):
    return [document for document in found if " not " not in document.text]


films = without_not(d for d in documents(14_000) if d.source == "sentiment")
settings = GPTSettings(
    vocab_size=320, num_layers=2, width=48, num_heads=4, context_length=48, batch_size=16,
    steps=300, learning_rate=6e-3, evaluations=1,
)  # fmt: skip
read = Texts(films).prepare(Kept(), settings)
critic = GPTPretraining.build(settings, read)
pretraining.train(critic, settings, progress=False)
print(films[0].text)

asked_about = without_not(reviews(400))
labels, names_of_classes = as_classes([review.source for review in asked_about])
task = Task.prepare(read, LabelledTexts(asked_about, labels, names_of_classes), "class")
opened = Opened(Path("in memory"), "gpt", critic, settings, read, None)


def classifier(**told):
    method = ZeroShot.build(ZeroShotSettings(**told), opened, task)
    method.solve()
    return method


# %% [markdown]
# A probe with few labels is the line to beat, and always saying the commonest class.
#
# ### Change this and run again

# %%
TEMPLATE = "{text} The film was {class}."
OTHER_TEMPLATE = "{text} This film is {class}."  # a sentence that it has never read

# %%
results = {}
for template in (TEMPLATE, OTHER_TEMPLATE):
    for name, told in {
        "as it is": {"calibrate": False}, "calibrated": {}, "written": {"answers": "generate"},
    }.items():  # fmt: skip
        metrics = classifier(template=template, **told).evaluate()
        results[f"{template}\n{name}"] = metrics["held_out_accuracy"]
parts = [critic.represent(part.inputs) for part in (task.train, task.held_out)]
(probe,) = few_label_curve(
    parts[0], task.train.labels, parts[1], task.held_out.labels, labels_per_class=[10]
)
results["probe, 10 labels of each"] = probe.mean

figure, axis = plt.subplots(figsize=(7, 3.8), layout="constrained")
bars = axis.barh(list(results), list(results.values()), color=[BLUE] * 6 + [OCHRE])
axis.bar_label(bars, fmt="{:.0%}", padding=3)
axis.axvline(metrics["baseline_most_frequent_class"], color=GREY, linestyle="--")
axis.invert_yaxis()
axis.tick_params(axis="y", labelsize=7)
_ = axis.set(xlim=(0, 1.1), xlabel="right of the held-out reviews (dashed: commonest class)")

# %% [markdown]
# What the scores are made of, for three reviews; and what it writes:

# %%
scoring = classifier(template=TEMPLATE)
writing = classifier(template=TEMPLATE, answers="generate")
print("ln p without content:", dict(zip(scoring.words, scoring.model.prior.numpy().round(2))))
for tokens, label in list(zip(task.held_out.inputs, task.held_out.labels))[:3]:
    print(f"\n{read.text_of(tokens)} [{names_of_classes[label]}]")
    print("  s:", dict(zip(scoring.words, scoring.scores([tokens])[0].round(2))))
    print("  it writes:", repr(writing.write(tokens)))

# %% [markdown]
# ## Now try
#
# 1. Let greedy write 200 tokens from several prompts. How soon does it go in circles?
# 2. `TOP_P = 0.9` at `TEMPERATURE` 0.5, 1 and 2: how many tokens are kept after each prompt?
# 3. Write with an *empty* prompt, `[separator]` alone. Then give `separator=separator` to
#    `GPTPretraining`, train again, and compare how the texts begin.
# 4. Measure the mean of −ln p of sampled texts at T = 0.7, 1 and 1.3, under the model itself,
#    beside its held-out loss. At which temperature do they agree?
# 5. Take the first token of a long prompt away. The words are nearly the same, every position is
#    another: how far do the probabilities move?
# 6. `OTHER_TEMPLATE = "{text} {class}"`, `"{text} I liked it: {class}"` with
#    `words="good=yes, bad=no"` in `classifier`: what is asked like this? Say first which will work.
# 7. Let the critic write after `"{text}"` alone, without any question, and read its answer.
