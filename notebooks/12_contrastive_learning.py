# %% [markdown]
# # 12 · Contrastive learning: two views of one thing
#
# Beside lecture 12. We train SimCLR on digits for seconds, watch the similarity matrix, get stuck
# at ln(2B − 1) on purpose, let everything collapse, and turn the temperature. Then come labels:
# distances, triplets, and how much of all this can be said in numbers.

# %%
# %matplotlib inline
import matplotlib.pyplot as plt
import numpy as np

from minissl import figures
from minissl.autograd import Tensor
from minissl.autograd import operations as ops
from minissl.losses.consistency import consistency_loss
from minissl.losses.contrastive import (
    chance_level,
    info_nce,
    information_bound,
    nt_xent,
    simclr_cs229,
)
from minissl.losses.distances import pairwise_distances
from minissl.losses.supervised import supcon_loss
from minissl.palette import GREY, RED, style
from minissl.pretrain import run as pretraining
from minissl.pretrain.images.simclr import SimCLR, SimCLRSettings
from minissl.pretrain.images.triplet import Triplet, TripletSettings
from minissl.training import diagnostics
from minissl.training.verification import verification
from minissl.vision.augment import digits_augmentation
from minissl.vision.images import load_digits

digits = load_digits()
augment = digits_augmentation()
BATCH = 128

# %% [markdown]
# ## Two views

# %%
images, generator = digits.train_images[:10], np.random.default_rng(0)
figures.views(images, augment(images, generator), augment(images, generator))

# %% [markdown]
# ## The losses, by hand
#
# Four vectors of length 1: two images, two views each.

# %%
first = np.array([[1.0, 0.0], [0.0, 1.0]])
second = np.array([[0.8, 0.6], [0.6, 0.8]])
print("simclr_cs229", round(simclr_cs229(first, second).item(), 4))
print("info_nce    ", round(info_nce(first, second, temperature=0.5).item(), 4))
print("nt_xent     ", round(nt_xent(first, second, 0.5).item(), 4))
print("each view   ", nt_xent(first, second, 0.5, reduction="none").numpy().round(4))

views = np.concatenate([first, second])
logits = views @ views.T / 0.5
np.fill_diagonal(logits, -np.inf)
total = np.log(np.exp(logits).sum(axis=1))
print("in NumPy    ", (total - logits[[0, 1, 2, 3], [2, 3, 0, 1]]).round(4))

# %% [markdown]
# ## Training
#
# 120 steps on 1,200 images, without their labels.


# %%
def train(method=SimCLR, steps=120, **options):
    settings = SimCLRSettings(batch_size=BATCH, steps=steps, evaluations=6)
    model = SimCLR.new_model(settings, seed=0)
    held_out = digits.test_images[:BATCH]
    run = method(
        model, digits.train_images, augment, batch_size=BATCH, held_out=held_out, **options
    )
    return run, pretraining.train(run, settings, progress=False)


healthy, history = train()
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
level = chance_level("nt_xent", BATCH)
left.plot(*history.column("loss"), label="training batch")
left.plot(*history.column("held_out_loss"), "o-", label="held-out views")
left.axhline(level, color=GREY, linestyle="--", label=f"ln(2B − 1) = {level:.3f}")
left.set(xlabel="step", ylabel="loss")
left.legend(frameon=False)
for place, name in enumerate(("alignment", "effective_rank", "uniformity")):
    steps, values = history.column(name)
    label = f"{name} (last {values[-1]:.2f})"
    right.plot(steps, values / np.abs(values).max(), **style(place, marker=True), label=label)
right.set(xlabel="step", title="each divided by its largest size")
right.legend(frameon=False)
plt.show()

# %% [markdown]
# ## The similarity matrix
#
# One image of each digit, its first views, then its second views. The side diagonals are the
# positive pairs. An untrained network says that everything is alike: look at its scale.


# %%
def cosines(model, seed=1):
    chosen = [np.flatnonzero(digits.test_labels == c)[0] for c in range(10)]
    generator = np.random.default_rng(seed)
    shown = digits.test_images[chosen]
    z = model(np.concatenate([augment(shown, generator), augment(shown, generator)])).numpy()
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    return z @ z.T


figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
for axis, model, title in zip(
    axes, (SimCLR.new_model(SimCLRSettings(), seed=0), healthy.model), ("untrained", "trained")
):
    matrix = cosines(model)
    drawn = axis.imshow(matrix, cmap="viridis")
    axis.set(title=f"{title}: {matrix.min():.3f} to {matrix.max():.0f}")
    axis.set_xticks(range(20), [*range(10)] * 2, fontsize=7)
    axis.set_yticks(range(20), [*range(10)] * 2, fontsize=7)
    figure.colorbar(drawn, ax=axis)

# %% [markdown]
# ## Stuck, and collapsed
#
# `WrongPartners` hands the views to the loss in the wrong order. `positives_only` has no negatives.
# Read the two losses first: one looks hopeless, the other splendid. Then read the spread.


# %%
class WrongPartners(SimCLR):
    def loss(self, batch, generator=None):
        order = np.arange(len(batch)).reshape(2, -1).T.ravel()  # a0, b0, a1, b1, ...
        a, b = ops.split(self.model(batch)[order], 2)
        return nt_xent(a, b, self.temperature)


runs = {
    "healthy": (healthy, history),
    "wrong partners": train(WrongPartners, steps=60),
    "positives only": train(loss="positives_only", steps=60),
}
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
for place, (name, (_, records)) in enumerate(runs.items()):
    left.plot(*records.column("loss"), **style(place), label=name)
    right.plot(*records.column("z_std"), **style(place, marker=True), label=name)
left.axhline(level, color=GREY, linestyle="--")
left.annotate(f"ln(2B − 1) = {level:.3f}", (120, level), ha="right", va="bottom", color=GREY)
left.set(xlabel="step", ylabel="loss", ylim=(-0.2, 6.3))
right.set(xlabel="step", ylabel="spread: z_std", ylim=(-0.03, 1.1))
left.legend(frameon=False, loc="center right")
plt.show()

# %% [markdown]
# ## Temperature
#
# ### Change this and run again
#
# Left: how hard each of one view's 254 negatives is pushed, sorted. Right: the similarity matrix
# after training with that temperature. Try 0.05, 0.5 and 5.

# %%
TEMPERATURE = 0.1

run, _ = train(temperature=TEMPERATURE, steps=80)
generator = np.random.default_rng(2)
batch = digits.test_images[:BATCH]
z = run.model(np.concatenate([augment(batch, generator), augment(batch, generator)])).numpy()
z /= np.linalg.norm(z, axis=1, keepdims=True)
negatives = np.delete(z[0] @ z.T, [0, BATCH])
push = np.exp((negatives - negatives.max()) / TEMPERATURE)
push = np.sort(push / push.sum())[::-1]

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
left.bar(range(40), push[:40], color=RED, width=1)
half = int(np.searchsorted(np.cumsum(push), 0.5)) + 1
left.set(xlabel="the 40 nearest negatives", ylabel="share of the push")
left.set_title(f"{half} of 254 do half of the pushing")
drawn = right.imshow(cosines(run.model), cmap="RdBu", vmin=-1, vmax=1)
right.set(title=f"temperature {TEMPERATURE}", xticks=[], yticks=[])
figure.colorbar(drawn, ax=right)
spread = diagnostics.z_std(z)
rank = diagnostics.effective_rank(z)
print(f"z_std {spread:.2f}, effective rank {rank:.1f} of 64")
plt.show()

# %% [markdown]
# ## What it has learned
#
# Two principal components of the encoder's output, colored by labels that it never saw.

# %%
untrained = SimCLR(SimCLR.new_model(SimCLRSettings(), seed=0), digits.train_images, augment)
figures.embeddings(
    {
        "untrained": untrained.represent(digits.test_images),
        "wrong partners": runs["wrong partners"][0].represent(digits.test_images),
        "SimCLR": healthy.represent(digits.test_images),
    },
    digits.test_labels,
)

# %% [markdown]
# ## All distances, and one duplicate
#
# The quick way gives NaN to everybody when an example is twice in a batch: √ has an infinite slope
# at 0. Ours says that a distance of 0 has the gradient 0.

# %%
rows = np.array([[1.0, 2.0], [3.0, 1.0], [3.0, 1.0], [0.0, 0.0]])


def quick(x):
    squares = ops.sum(x * x, axis=1, keepdims=True)
    inner = ops.matmul(x, ops.matrix_transpose(x))
    return ops.sqrt(squares - 2 * inner + ops.matrix_transpose(squares))


for distances in (quick, pairwise_distances):
    x = Tensor(rows, requires_grad=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        ops.sum(distances(x)).backward()
    print(f"{distances.__name__:20} gradient of the last row: {x.grad[-1].round(3)}")

# %% [markdown]
# ## Triplets: which ones?
#
# ### Change this and run again
#
# Left: how far the embeddings are spread. Right: the share of all triplets that still has a loss.
# Try `"all"` and `"distance-weighted"` beside the two.

# %%
MINING = ("semi-hard", "hard")


def train_triplets(mining, steps=40):
    settings = TripletSettings(batch_size=80, steps=steps, evaluations=8, mining=mining)
    method = Triplet(
        Triplet.new_model(settings, 10, seed=0), digits.train_images, digits.train_labels, augment,
        images_per_class=10, mining=mining,
        held_out=digits.test_images, held_out_labels=digits.test_labels,
    )  # fmt: skip
    return method, pretraining.train(method, settings, progress=False)


triplets = {mining: train_triplets(mining) for mining in MINING}
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
for place, (mining, (_, records)) in enumerate(triplets.items()):
    left.plot(*records.column("z_std"), **style(place, marker=True), label=mining)
    right.plot(*records.column("active_share"), **style(place, marker=True), label=mining)
left.set(xlabel="step", ylabel="spread: z_std", ylim=(-0.03, 1.1))
right.set(xlabel="step", ylabel="active triplets", ylim=(-0.03, 1.1))
left.legend(frameon=False)
plt.show()

# %% [markdown]
# ## Two places for a logarithm, and an answer held still
#
# Supervised contrastive on the four vectors from above, three of them of one label; and consistency
# of a classifier that is sure of an image and not of its view.

# %%
three = np.concatenate([first[:1], second, first[1:]])
for logarithm in ("outside", "inside"):
    of_rows = supcon_loss(
        three, np.array([0, 0, 0, 1]), temperature=0.5, logarithm=logarithm, reduction="none"
    )
    print(f"supcon, logarithm {logarithm:8}", of_rows.numpy().round(3))

said, of_view = np.array([[2.0, 0.0]]), Tensor(np.zeros((1, 2)), requires_grad=True)
for sharpen in (1.0, 0.4):
    print(f"consistency, sharpened {sharpen}", consistency_loss(said, of_view, sharpen=sharpen))

# %% [markdown]
# ## How much can N candidates say?
#
# Two Gaussian vectors whose coordinates have the correlation ρ, and the best critic there is: the
# ratio of densities. The truth is a line; what N candidates say bends away at ln N.

# %%
WIDTH, RHO = 10, np.linspace(0, 0.95, 20)


def bound(rho, candidates, batches=10):
    generator, losses = np.random.default_rng(0), []
    for _ in range(batches):
        x = generator.standard_normal((candidates, WIDTH))
        y = rho * x + np.sqrt(1 - rho**2) * generator.standard_normal(x.shape)
        gaps = ((y[None] - rho * x[:, None]) ** 2).sum(axis=2) / (1 - rho**2)
        scores = -0.5 * gaps + 0.5 * (y**2).sum(axis=1)  # ln p(y | x) / p(y), but for a constant
        scores -= scores.max(axis=1, keepdims=True)
        losses.append(np.mean(np.log(np.exp(scores).sum(axis=1)) - np.diag(scores)))
    return information_bound(np.mean(losses), candidates)


truth = -WIDTH / 2 * np.log(1 - RHO**2)
plt.figure(figsize=(5, 3.4), layout="constrained")
plt.plot(truth, truth, color=GREY, linestyle="--", label="truth")
for candidates in (8, 64, 256):
    plt.plot(truth, [bound(rho, candidates) for rho in RHO], label=f"N = {candidates}")
    plt.axhline(np.log(candidates), color=GREY, linewidth=0.5)
plt.xlabel("mutual information (nats)")
plt.ylabel("ln N − loss")
plt.legend(frameon=False)
plt.show()

# %% [markdown]
# ## Is it any good?
#
# The same or different? Pairs of test digits, judged by the cosine of their features.

# %%
for name, features in (
    ("raw pixels", digits.test_images.reshape(len(digits.test_images), -1)),
    ("untrained", untrained.represent(digits.test_images)),
    ("SimCLR, no labels", healthy.represent(digits.test_images)),
    ("triplets, all labels", triplets["semi-hard"][0].represent(digits.test_images)),
):
    curve = verification(features, digits.test_labels).roc
    rank = diagnostics.effective_rank(features)
    print(f"{name:22} equal error {curve.equal_error_rate:6.1%}   effective rank {rank:5.1f}")

# %% [markdown]
# ## Now try
#
# 1. Leave the self-similarity in the NumPy version above (delete the `fill_diagonal` line). What is
#    the smallest loss that perfect views can reach?
# 2. Train with `digits_augmentation(geometry=False)`. Which pairs of digits become similar?
# 3. Repair `WrongPartners` by changing one line. (Which order does `nt_xent` want?)
# 4. Train with `loss="simclr_cs229"`. Where does its loss start, and why not at 5.541?
# 5. Make `BATCH` 16 and 512. Which parts of the loss curve may you compare?
# 6. Give `train_triplets` a learning rate of 1e-4. Does the hardest mining still collapse?
# 7. Put one label of the four wrong in `supcon_loss`. Which rows change, and why?
# 8. Train `bound`'s critic: `bilinear_info_nce` with a matrix that begins at 0. When is it as good?
