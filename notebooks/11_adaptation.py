# %% [markdown]
# # 11 · Adaptation: what a representation is worth
#
# Beside lecture 11. We pretrain for a few seconds without labels, probe with few labels, and look
# at what is usually hidden behind one number: the draw of the labels.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from minissl.adapt import load_adaptation
from minissl.adapt.efficient.prefixes import PrefixedAttention
from minissl.adapt.heads.neighbors import nearest_neighbor_accuracy
from minissl.adapt.heads.probe import few_label_curve, linear_probe
from minissl.adapt.run import adapt
from minissl.data.images import Images, LabelledImages
from minissl.data.labels import draw_few_labels
from minissl.figures import principal_components
from minissl.nn.attention import MultiHeadAttention
from minissl.palette import BLUE, GREY, OCHRE, RED, look
from minissl.pretrain.images.simclr import SimCLR, SimCLRSettings
from minissl.pretrain.run import open_run, pretrain
from minissl.vision.images import load_digits

digits = load_digits()
settings = SimCLRSettings(steps=200, batch_size=128, evaluations=1)

# %% [markdown]
# ## Three representations
#
# Raw pixels; an untrained network; the same network after 200 steps of SimCLR (lecture 12), which
# has seen the training images and not one label.

# %%
folder = Path(tempfile.mkdtemp()) / "digits"
made = pretrain(SimCLR, Images(digits.train_images), settings, folder, progress=False)
pretrained = made.method
untrained = SimCLR(
    SimCLR.new_model(settings, seed=0), digits.train_images, settings.augment(), batch_size=128
)
represent = {
    "raw pixels": lambda images: images.reshape(len(images), -1),
    "random network": untrained.represent,
    "SimCLR, 200 steps": pretrained.represent,
}
COLORS = dict(zip(represent, (GREY, OCHRE, BLUE)))
train = {name: function(digits.train_images) for name, function in represent.items()}
test = {name: function(digits.test_images) for name, function in represent.items()}

figure, axes = plt.subplots(1, 3, figsize=(9, 3), layout="constrained")
for axis, (name, features) in zip(axes, test.items()):
    points = principal_components(features)
    axis.scatter(*points.T, c=digits.test_labels, cmap="tab10", s=5)
    axis.set(title=name, xticks=[], yticks=[])

# %% [markdown]
# ## Probe curves
#
# Accuracy on 597 test images against the number of labels per class. Each point is the mean of ten
# draws of the labelled examples; the band is their standard deviation.

# %%
LABELS = (1, 2, 5, 10, 20)


def accuracies(name, labels=LABELS, draws=10, l2=1e-2):
    """(draws, numbers of labels), in percent."""
    curve = few_label_curve(
        train[name],
        digits.train_labels,
        test[name],
        digits.test_labels,
        labels_per_class=labels,
        draws=draws,
        l2=l2,
    )
    return 100 * np.stack([point.accuracies for point in curve], axis=1)


curves = {name: accuracies(name) for name in represent}
figure, axis = plt.subplots(figsize=(7, 3.6), layout="constrained")
for name, draws in curves.items():
    mean, spread = draws.mean(axis=0), draws.std(axis=0)
    axis.plot(LABELS, mean, **look(COLORS[name], marker=True), label=name)
    axis.fill_between(LABELS, mean - spread, mean + spread, color=COLORS[name], alpha=0.15)
axis.set(xscale="log", xlabel="labels per class", ylabel="test accuracy (%)")
axis.set_xticks(LABELS, LABELS)
axis.minorticks_off()
axis.legend(frameon=False)
plt.show()

# %% [markdown]
# ## The draw decides, at one label
#
# The same ten draws for all three. Left: accuracy, one line for each draw. The lines go up and down
# together: a hard draw is hard for all. Right: the differences, draw by draw, spread less.

# %%
one = np.stack([curves[name][:, 0] for name in represent])
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
left.plot(range(3), one, "o-", alpha=0.6)
left.set_xticks(range(3), represent)
left.set_ylabel("accuracy (%), one label per class")
gain = one[2] - one[0]
right.bar(range(10), gain, color=COLORS["SimCLR, 200 steps"])
right.axhline(gain.mean(), color=RED, label=f"mean {gain.mean():.1f}, deviation {gain.std():.1f}")
right.set(xlabel="draw", ylabel="SimCLR minus raw pixels (points)")
right.set_xticks(range(10))
right.legend(frameon=False)
for name, draws in zip(represent, one):
    print(f"{name}: standard deviation over draws {draws.std():.1f}")
plt.show()

# %% [markdown]
# ## What a probe sees
#
# Two principal components, three digits, a few labelled examples each (ringed): the regions of the
# fitted probe.


# %%
def regions(l2, labels_per_class, seed, classes=(0, 1, 6)):
    chosen = np.isin(digits.train_labels, classes)
    points = principal_components(train["raw pixels"][chosen])
    labels = digits.train_labels[chosen]
    few = draw_few_labels(labels, labels_per_class, np.random.default_rng(seed))
    probe = linear_probe(points[few], labels[few], l2=l2, unlabelled=points)
    low, high = points.min(axis=0) - 0.3, points.max(axis=0) + 0.3
    grid = np.stack(np.meshgrid(*(np.linspace(a, b, 120) for a, b in zip(low, high))), axis=-1)
    logits = probe.logits(grid.reshape(-1, 2))
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = (p / p.sum(axis=1, keepdims=True)).reshape(120, 120, 3)
    _, axis = plt.subplots(figsize=(5, 3.6), layout="constrained")
    box = (low[0], high[0], low[1], high[1])
    axis.imshow(1 - 0.5 * p, extent=box, origin="lower", aspect="auto")
    for number, label in enumerate(classes):
        color = ("teal", "purple", "olive")[number]
        axis.scatter(*points[labels == label].T, s=5, color=color)
        axis.scatter(*points[few][labels[few] == label].T, s=60, color=color, edgecolor="k")
    accuracy = 100 * probe.accuracy(points, labels)
    axis.set(title=f"l2 = {l2:g}: {accuracy:.1f} % of all", xticks=[], yticks=[])


# %% [markdown]
# ### Change this and run again
#
# `SEED` draws other examples to label. With one label per class, how far apart are the best and the
# worst accuracy that you can find? And does `L2` matter more or less than the seed?

# %%
L2, LABELS_PER_CLASS, SEED = 1e-2, 2, 0

regions(L2, LABELS_PER_CLASS, SEED)

# %% [markdown]
# ## Without any training
#
# Nearest neighbours with all 1,200 labels. On these digits raw pixels are already excellent: with
# many labels there is nothing left to win.

# %%
COUNTS = (1, 5, 20, 100, 200)
figure, axis = plt.subplots(figsize=(7, 3), layout="constrained")
for name in represent:
    heights = [
        100
        * nearest_neighbor_accuracy(
            train[name], digits.train_labels, test[name], digits.test_labels, k=k
        )
        for k in COUNTS
    ]
    axis.plot(COUNTS, heights, **look(COLORS[name], marker=True), label=name)
axis.set(xscale="log", xlabel="neighbours k", ylabel="test accuracy (%)")
axis.set_xticks(COUNTS, COUNTS)
axis.minorticks_off()
axis.legend(frameon=False)
plt.show()

# %% [markdown]
# ## Small parts
#
# The pretrained network again, from its run folder, and five labels of each digit. What may move is
# a linear layer on top and, below it, some or all of the weights. (100 steps each; lecture 11,
# section 7, has the table for texts with three seeds.)

# %%
opened, labelled = open_run(folder), LabelledImages.read(None, settings)

WAYS = ("bias", "lora", "adapters", "last-layers", "layers-on-top", "finetune")


def small_part(way, **changes):
    """Trained weights, and accuracy in percent."""
    kind = load_adaptation(way)
    chosen = kind.Settings(steps=100, labels_per_class=5, evaluations=1, **changes)
    made = adapt(kind, opened, labelled, chosen, progress=False)
    trained = sum(p.size for p in made.method.model.parameters() if p.requires_grad)
    return trained, 100 * made.history.latest("held_out_accuracy")


found = {way: small_part(way) for way in WAYS}
figure, axis = plt.subplots(figsize=(7, 3.4), layout="constrained")
for way, (trained, accuracy) in found.items():
    axis.plot(trained, accuracy, "o", color=BLUE)
    axis.annotate(way, (trained, accuracy), xytext=(4, 4), textcoords="offset points")
axis.set(xscale="log", xlabel="trained weights", ylabel="test accuracy (%)")
axis.margins(x=0.2, y=0.15)
plt.show()

# %% [markdown]
# ### Change this and run again
#
# `RANK` of LoRA: at which rank does it have as many weights as fine-tuning, and is it then as good?

# %%
RANK = 4

trained, accuracy = small_part("lora", rank=RANK)
print(f"rank {RANK}: {trained:,} weights, {accuracy:.1f} %")

# %% [markdown]
# ## A prefix draws attention away
#
# A small attention of one head, six tokens. Left: which token looks at which. Right: with two
# places of a prefix before them. A prefix with longer keys takes more of every row.

# %%
generator = np.random.default_rng(0)
attention = MultiHeadAttention(8, 1, init_std=0.5, generator=generator)
tokens = generator.standard_normal((1, 6, 8)).astype(np.float32)
prefixed = PrefixedAttention(attention, 2, generator=generator)
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
for axis, module, names in (
    (left, attention, ["1", "2", "3", "4", "5", "6"]),
    (right, prefixed, ["P", "P", "1", "2", "3", "4", "5", "6"]),
):
    axis.imshow(module.weights(tokens)[0, 0], cmap="Blues", vmin=0, vmax=1)
    axis.set_xticks(range(len(names)), names)
    axis.set_yticks(range(6), ["1", "2", "3", "4", "5", "6"])
    axis.set(xlabel="looks at", ylabel="token")
plt.show()

# %% [markdown]
# ## A span must not end before it begins
#
# Scores of starts and ends of six words. The best start and the best end, taken each for itself,
# need not make a span; the best pair is found among all with the end behind the start.

# %%
starts, ends = np.array([0, 3, 1, 0, 2, 0.0]), np.array([4, 0, 1, 2, 0, 1.0])
scores = np.where(np.triu(np.ones((6, 6))), starts[:, None] + ends, -np.inf)
first, last = np.unravel_index(scores.argmax(), scores.shape)
print(f"alone: from word {starts.argmax() + 1} to word {ends.argmax() + 1}")
print(f"as a span: from word {first + 1} to word {last + 1}, score {scores.max():g}")

# %% [markdown]
# ## Now try
#
# 1. Multiply SimCLR's features by 100 before the probe. Nothing changes. Which line of
#    `linear_probe` is responsible? Multiply *one column* by 100: what now?
# 2. Probe the head's output instead of the encoder's: `pretrained.model(images).numpy()`.
# 3. Set `steps` to 30 and to 500. Where do the curves meet?
# 4. Draw the labels without stratification (`generator.choice(1200, 10)`). How often is a class
#    missing, and what does it cost?
# 5. Choose the best of twenty `SEED`s by test accuracy with one label. How much would you have
#    claimed, and what is the mean?
# 6. `small_part("finetune", start="random")`: the same labels and steps without any pretraining.
# 7. Multiply `prefixed.key.array` by 5, then by 0. What happens to the rows on the right?
