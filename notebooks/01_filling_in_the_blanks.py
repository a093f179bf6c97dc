# %% [markdown]
# # 01 · Filling in the blanks
#
# Beside lecture 01. The whole story on small images, in seconds: pretrain without labels, then see
# what a handful of labels is worth on the frozen features, after fine-tuning, and without any
# pretraining.

# %%
# %matplotlib inline
import matplotlib.pyplot as plt
import numpy as np

from minissl.adapt.heads.probe import few_label_curve, linear_probe
from minissl.data.images import Images
from minissl.data.labels import draw_few_labels
from minissl.figures import principal_components, views
from minissl.optim import AdamW, warmup_cosine
from minissl.palette import BLUE, GREY, OCHRE, RED, look
from minissl.pretrain.images.simclr import SimCLR, SimCLRSettings
from minissl.pretrain.images.supervised import Classifier, Supervised
from minissl.pretrain.run import pretrain
from minissl.training import fit
from minissl.vision.images import load_digits

digits = load_digits()
print(f"{len(digits.train_images):,} training images, {len(digits.test_images)} test images")

# %% [markdown]
# ## The blank
#
# Each image is changed twice at random. The task: which two views come from the same image? No
# label is needed to make this question, nor to check the answer.

# %%
settings = SimCLRSettings(steps=200, batch_size=128)
augment, generator = settings.augment(), np.random.default_rng(0)
originals = digits.train_images[:10]
views(originals, augment(originals, generator), augment(originals, generator))

# %% [markdown]
# ## Pretrain
#
# 1,200 images, their labels put away.
#
# **Change this and run again:** the number of steps, the batch size, the temperature; or the loss,
# `"positives_only"`, which asks for agreement and nothing else.

# %%
settings = SimCLRSettings(steps=200, batch_size=128, temperature=0.5, loss="nt_xent")
method, _, history = pretrain(SimCLR, Images(digits.train_images), settings, progress=False)
steps, losses = history.column("loss")
figure, axis = plt.subplots(figsize=(6, 2.6), layout="constrained")
_ = axis.plot(steps, losses, color=BLUE, alpha=0.4, label="batch")
_ = axis.plot(*history.column("held_out_loss"), "o-", color=BLUE, label="the same views")
_ = axis.set(xlabel="step", ylabel="loss (nats)")
_ = axis.legend(frameon=False)

# %% [markdown]
# ## Represent
#
# The head is put aside. `represent` gives what the encoder makes of an image: 128 numbers. Below,
# the two directions of largest variance, for pixels, for the untrained network, for the pretrained
# one. Colours are the true digits, which no network has been told.

# %%
untrained = SimCLR(SimCLR.new_model(settings, seed=0), digits.train_images, augment)


def pixels(images):
    return images.reshape(len(images), -1)


features = {
    "raw pixels": pixels,
    "random network": untrained.represent,
    "pretrained": method.represent,
}
figure, axes = plt.subplots(1, 3, figsize=(8.4, 3), layout="constrained")
for axis, (name, represent) in zip(axes, features.items()):
    points = principal_components(represent(digits.test_images))
    _ = axis.scatter(*points.T, c=digits.test_labels, cmap="tab10", s=5)
    _ = axis.set(title=name, xticks=[], yticks=[])

# %% [markdown]
# ## Adapt: the linear probe
#
# Now a few labels come back. A straight line is fitted on frozen features: mean and spread over
# five draws of the labelled images.

# %%
counts = (1, 2, 5, 10, 20)
figure, axis = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
colors = (GREY, OCHRE, BLUE)
for (name, represent), color in zip(features.items(), colors):
    curve = few_label_curve(
        represent(digits.train_images),
        digits.train_labels,
        represent(digits.test_images),
        digits.test_labels,
        labels_per_class=counts,
        draws=5,
    )
    mean = np.array([100 * point.mean for point in curve])
    spread = np.array([100 * point.std for point in curve])
    _ = axis.plot(counts, mean, **look(color, marker=True), label=name)
    _ = axis.fill_between(counts, mean - spread, mean + spread, color=color, alpha=0.15)
_ = axis.set(xscale="log", xlabel="labels per class", ylabel="test accuracy (%)")
_ = axis.set_xticks(counts, counts)
_ = axis.minorticks_off()
_ = axis.legend(frameon=False)

# %% [markdown]
# ## Adapt: fine-tuning, and the baseline it must beat
#
# The same network three times, on the same labelled images: frozen with a probe, fine-tuned from
# the pretrained weights with a new random output layer, trained from random weights.


# %%
def train_with_labels(encoder, chosen, *, peak, steps=60):
    """Train an encoder and a new output layer on the chosen images; returns the test accuracy."""
    classifier = Classifier(encoder, 10, generator=np.random.default_rng(1))
    images, labels = digits.train_images[chosen], digits.train_labels[chosen]
    supervised = Supervised(classifier, images, labels, augment, batch_size=32)
    fit(
        supervised,
        AdamW(classifier.named_parameters(), weight_decay=1e-4),
        steps=steps,
        schedule=lambda step: warmup_cosine(step, peak=peak, warmup_steps=5, total_steps=steps),
        progress=False,
    )
    return supervised.accuracy(digits.test_images, digits.test_labels)


def pretrained_encoder():
    copy = SimCLR.new_model(settings, seed=0)
    copy.load_state_dict(method.model.state_dict())
    return copy.encoder


train_features = method.represent(digits.train_images)
test_features = method.represent(digits.test_images)
draws, names = 2, ("probe", "fine-tuned", "from scratch")
results = np.zeros((draws, 2, 3))
for draw in range(draws):
    for row, count in enumerate((1, 5)):
        chosen = draw_few_labels(digits.train_labels, count, np.random.default_rng(draw))
        probe = linear_probe(
            train_features[chosen], digits.train_labels[chosen], unlabelled=train_features
        )
        results[draw, row] = (
            probe.accuracy(test_features, digits.test_labels),
            train_with_labels(pretrained_encoder(), chosen, peak=3e-3),
            train_with_labels(SimCLR.new_model(settings, seed=draw).encoder, chosen, peak=8e-3),
        )

figure, axis = plt.subplots(figsize=(6, 2.8), layout="constrained")
for column, (name, color) in enumerate(zip(names, (BLUE, OCHRE, RED))):
    heights = 100 * results[:, :, column].mean(axis=0)
    bars = axis.bar(np.arange(2) + 0.27 * (column - 1), heights, 0.25, label=name, color=color)
    _ = axis.bar_label(bars, fmt="%.0f")
_ = axis.set(ylabel="test accuracy (%)", ylim=(0, 119))
_ = axis.set_xticks([0, 1], ["1 label per class", "5 labels per class"])
_ = axis.legend(frameon=False, ncols=3, loc="upper center")

# %% [markdown]
# Fine-tuning moves 88,640 weights with ten examples, and its first steps follow a random output
# layer: with so few labels the frozen features are the safer choice (Kumar et al. 2022 study this).
#
# Two draws of labels and one seed: enough to see how it works, not enough to conclude. The claim
# `few-labels` of the lecture has seeds, spreads and all baselines.
#
# ## Now try
#
# 1. `loss="positives_only"` in the pretraining cell. The loss is near 0: is that good? Look at the
#    scatter plot and the probe.
# 2. `steps=50`, then 500. Does the probe rise as long as the loss falls?
# 3. Exchange the two learning rates in `train_with_labels`. Which start suffers more from the wrong
#    one, and why is it unfair to use one rate for both?
# 4. Replace the augmentation: `digits_augmentation(geometry=False)` from
#    `minissl.vision.augment`. What do the features forget to ignore?
# 5. Probe with two classes left out of the pretraining images. Are their features still any good?
