# %% [markdown]
# # 00 · What you need
#
# Beside lecture 00. A gradient by hand and by machine, a network that learns two spirals, three
# optimizers, a convolution that finds edges, and what normalization and dropout do. It runs in a
# few seconds on a laptop.

# %%
import matplotlib.pyplot as plt
import numpy as np

from minissl import Tensor
from minissl.autograd import operations as ops
from minissl.autograd.composed import cross_entropy
from minissl.autograd.fused.convolution import conv2d
from minissl.nn import LayerNorm, Linear, Module
from minissl.nn.layers import Dropout
from minissl.optim import SGD, AdamW
from minissl.palette import BLUE

generator = np.random.default_rng(0)

# %% [markdown]
# ## The chain rule
#
# By hand the gradient of (3w − 5)² at w = 2 is 6. The engine agrees, and so does a small step.


# %%
def loss_at(w):
    return (w * 3.0 - 5.0) ** 2


w = Tensor(2.0, requires_grad=True)
loss_at(w).backward()
print("engine:", w.grad, "  small step:", (loss_at(2.0 + 1e-4) - loss_at(2.0 - 1e-4)) / 2e-4)

# %% [markdown]
# ## A network that learns
#
# Two spirals, which no straight line can part. A hidden layer of 32 units can; the loop is the one
# of the lecture. Change this and run again: with `width = 2` it fails.


# %%
class Net(Module):
    def __init__(self, width, generator):
        self.first = Linear(2, width, generator=generator)
        self.second = Linear(width, width, generator=generator)
        self.last = Linear(width, 2, generator=generator)

    def forward(self, x):
        return self.last(ops.relu(self.second(ops.relu(self.first(x)))))


def spirals(count, generator):
    label = generator.integers(0, 2, count)
    turn = generator.uniform(0.2, 1.0, count)
    angle = 3 * np.pi * turn + np.pi * label
    points = turn[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return (points + generator.normal(0, 0.02, (count, 2))).astype(np.float32), label


width = 32
net = Net(width, np.random.default_rng(1))
optimizer = AdamW(net.named_parameters(), lr=0.01)
losses = []
for _ in range(400):
    points, labels = spirals(128, generator)
    loss = cross_entropy(net(points), labels)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    losses.append(float(loss.numpy()))
points, labels = spirals(2000, np.random.default_rng(7))
right = net(points).numpy().argmax(axis=1) == labels
print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f}, right on new points: {right.mean():.1%}")

# %%
figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
axes[0].plot(losses, color=BLUE)
axes[0].set(title="loss in nats", xlabel="step")
x, y = np.meshgrid(np.linspace(-1.2, 1.2, 120), np.linspace(-1.2, 1.2, 120))
grid = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)
scores = net(grid).numpy()
axes[1].contourf(x, y, (scores[:, 1] - scores[:, 0]).reshape(x.shape) > 0, cmap="Blues", alpha=0.4)
axes[1].scatter(*points[:400].T, c=labels[:400], cmap="coolwarm", s=6)
_ = axes[1].set(title="what it says of every place", aspect="equal")

# %% [markdown]
# ## Optimizers
#
# The same network from the same start, 300 steps with each. Plain descent is not wrong; it is slow.

# %%
for name, make in {
    "gradient descent": lambda named: SGD(named, lr=0.1),
    "momentum": lambda named: SGD(named, lr=0.1, momentum=0.9),
    "AdamW": lambda named: AdamW(named, lr=0.01),
}.items():
    net, draws = Net(32, np.random.default_rng(1)), np.random.default_rng(0)
    optimizer = make(net.named_parameters())
    for _ in range(300):
        batch, batch_labels = spirals(128, draws)
        loss = cross_entropy(net(batch), batch_labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    loss = cross_entropy(net(points), labels)
    print(f"{name:17} loss after 300 steps {float(loss.numpy()):.3f}")

# %% [markdown]
# ## Convolution
#
# One window of weights, the same everywhere. Where it gets brighter from left to right the answer
# is positive, where darker negative. **Turn the weights by `.T` and run again.**

# %%
picture = np.zeros((1, 24, 24, 1), np.float32)
picture[0, 6:18, 6:18, 0] = 1
weights = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32)
edges = conv2d(Tensor(picture), Tensor(weights.reshape(1, 3, 3, 1)), padding=1).numpy()
figure, axes = plt.subplots(1, 2, figsize=(6, 3), layout="constrained")
for axis, image, title in zip(axes, (picture, edges), ("a square", "its upright edges")):
    axis.imshow(image[0, :, :, 0], cmap="RdBu")
    axis.axis("off")
    axis.set_title(title)

# %% [markdown]
# ## Normalization and dropout
#
# Layer norm does not see the size of a vector, nor what is added to all of it. Dropout keeps the
# mean over draws, and does nothing in evaluation mode.

# %%
x = np.array([[1.0, 2.0, 3.0, 6.0]], np.float32)
norm = LayerNorm(4)
print("layer norm", norm(Tensor(x)).numpy().round(3), "and of 10 x + 5:", end=" ")
print(norm(Tensor(10 * x + 5)).numpy().round(3))
drop = Dropout(0.5)
draws = [drop(Tensor(x), generator).numpy() for _ in range(5000)]
print("two draws", draws[0], draws[1], " mean of 5,000:", np.mean(draws, axis=0).round(2))
drop.eval()
print("evaluation", drop(Tensor(x)).numpy())

# %% [markdown]
# ## Now try
#
# - Leave out the two `relu`: how many points are right, and why that many?
# - Train with 20 points instead of new ones for each step, with and without dropout between the
#   layers: what happens on new points?
# - A convolution with stride 2: which shape has the result? Compare with the formula.
