# %% [markdown]
# # 02 · Autograd: every gradient, by machine
#
# Beside lecture 02. We look at graphs, plant a mistake in a gradient and let two checks look for
# it, see why a check needs float64, and train a small network with nothing but the operations of
# the engine.

# %%
import time

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display

from minissl.autograd import Tensor, gradcheck, no_grad
from minissl.autograd import operations as ops
from minissl.autograd.tensor import differentiable
from minissl.palette import BLUE, RED, look

# %% [markdown]
# ## A program and its graph
#
# $L = (ab + c)^2$. A Tensor with a graph shows itself: leaves and operations, with their shapes.

# %%
a, b, c = (Tensor(value, requires_grad=True) for value in (2.0, -3.0, 10.0))
L = (a * b + c) ** 2
display(L)

# %%
L.backward()
print(f"L = {L.item():g};  ∂L/∂a = {a.grad:g}, ∂L/∂b = {b.grad:g}, ∂L/∂c = {c.grad:g}")

# %% [markdown]
# The graph is gone now: a second `backward()` would have nothing to walk.

# %%
try:
    L.backward()
except RuntimeError as error:
    print(error)

# %% [markdown]
# ## Two paths to one value
#
# $y = 3x$ is used twice. The walk back sends the gradient of $y$ on only when both parts have come.

# %%
x = Tensor(1.0, requires_grad=True)
y = 3 * x
L = (2 * y) * y**2
display(L)

# %%
L.backward()
print(f"∂L/∂x = {x.grad:g}; by hand, from L = 54 x³: 162")

# %% [markdown]
# Sixty doublings in a row have $2^{60}$ paths. One visit per node is enough:

# %%
x = Tensor(1.0, requires_grad=True)
y = x
for _ in range(60):
    y = y + y
started = time.perf_counter()
y.backward()
print(f"∂y/∂x = {x.grad:.6g} = 2^60, in {1000 * (time.perf_counter() - started):.1f} ms")

# %% [markdown]
# ## Break a gradient, and look for the mistake
#
# Four rules for the softmax: the right one, and three wrong ones. A rule is written exactly as in
# the library: output above, way back below.


# %%
@differentiable
def right(a, /):
    c = ops.softmax.__wrapped__(a)[0]
    return c, (lambda g: c * (g - np.sum(g * c, axis=-1, keepdims=True)),)


@differentiable
def always_zero(a, /):
    c = ops.softmax.__wrapped__(a)[0]
    return c, (lambda g: 0 * g,)


@differentiable
def uncoupled(a, /):
    c = ops.softmax.__wrapped__(a)[0]
    return c, (lambda g: g * c * (1 - c),)


@differentiable
def wrong_axis(a, /):
    c = ops.softmax.__wrapped__(a)[0]
    return c, (lambda g: c * (g - np.sum(g * c, axis=0, keepdims=True)),)


RULES = {f.__name__: f for f in (right, always_zero, uncoupled, wrong_axis)}

# %% [markdown]
# **Change this and run again:** the rule to look at, or its input, or your own rule above.

# %%
rule = always_zero
logits = np.random.default_rng(0).standard_normal((4, 5))

# %% [markdown]
# What backward says, element by element, beside what finite differences say: once for the gradient
# of the *sum* of the outputs, once for a random cotangent.


# %%
def analytic_and_numeric(function, x, cotangent, h=1e-5):
    tensor = Tensor(x.copy(), requires_grad=True)
    function(tensor).backward(cotangent)
    numeric = np.empty_like(x)
    with no_grad():
        for place in np.ndindex(x.shape):
            up, down = x.copy(), x.copy()
            up[place] += h
            down[place] -= h
            change = function(Tensor(up)).array - function(Tensor(down)).array
            numeric[place] = np.sum(cotangent * change) / (2 * h)
    return tensor.grad, numeric


cotangents = {
    "the sum": np.ones_like(logits),
    "a random cotangent": np.random.default_rng(1).standard_normal(logits.shape),
}
figure, axes = plt.subplots(2, 3, figsize=(7.2, 4.4), layout="constrained")
for row, (name, cotangent) in zip(axes, cotangents.items()):
    pair = analytic_and_numeric(rule, logits, cotangent)
    largest = max(np.abs(pair).max(), 0.1)
    titles = ("backward", "finite differences", "first minus second")
    for axis, title, values in zip(row, titles, (*pair, pair[0] - pair[1])):
        image = axis.imshow(values, cmap="RdBu", vmin=-largest, vmax=largest)
        _ = axis.set(title=title, xticks=[], yticks=[])
    _ = row[0].set_ylabel(name)
    figure.colorbar(image, ax=row, shrink=0.8)

# %% [markdown]
# In the upper row a rule that is always zero looks perfect: the sum of a softmax is always 1, so
# its gradient *is* zero. The lower row tells. `gradcheck` does that, with random directions too:

# %%
for name, function in RULES.items():
    try:
        gradcheck(function, [logits])
        print(f"{name}: passes")
    except AssertionError as error:
        print(f"{name}: {error}\n")

# %% [markdown]
# ## Why float64, and which step
#
# The error of a finite difference has two parts: one falls with the step, one rises.

# %%
steps = 10 ** np.linspace(-9, -0.7, 60)
points = np.linspace(0.5, 1, 200)
figure, axis = plt.subplots(figsize=(6, 3.6), layout="constrained")
for dtype, color in ((np.float32, RED), (np.float64, BLUE)):
    errors = []
    for h in steps.astype(dtype):
        t = points.astype(dtype)
        slope = (np.sin(t + h) - np.sin(t - h)) / (2 * h)
        errors.append(np.mean(np.abs(slope.astype(np.float64) - np.cos(points)) / np.cos(points)))
    axis.loglog(steps, errors, **look(color), label=dtype.__name__)
_ = axis.set(xlabel="step h", ylabel="relative error of the slope of sin")
_ = axis.legend(frameon=False)

# %% [markdown]
# ## The engine at work
#
# Two spirals, two numbers in, one out: a network of 2 · 32 + 32 · 32 + 32 weights and their biases,
# trained by plain gradient descent with momentum. Everything below is an operation of section 2.

# %%
generator = np.random.default_rng(0)
turn = np.linspace(0.3, 3.0, 150)
arms = [
    np.stack([t * np.cos(3 * t + s), t * np.sin(3 * t + s)], axis=1)
    for s, t in ((0.0, turn), (np.pi, turn))
]
inputs = (np.concatenate(arms) / 2 + generator.normal(0, 0.02, (300, 2))).astype(np.float32)
labels = np.repeat([1.0, -1.0], 150).astype(np.float32)


def parameter(*shape, scale):
    return Tensor(generator.normal(0, scale, shape).astype(np.float32), requires_grad=True)


weights = [parameter(32, 2, scale=1.0), parameter(32, 32, scale=0.25), parameter(1, 32, scale=0.2)]
biases = [parameter(32, scale=0.5), parameter(32, scale=0.1), parameter(1, scale=0.1)]
parameters = [*weights, *biases]


def network(x):
    for number, (weight, bias) in enumerate(zip(weights, biases)):
        x = ops.linear(x, weight, bias)
        x = ops.tanh(x) if number < 2 else x
    return x.reshape(-1)


velocity = [np.zeros(p.shape, np.float32) for p in parameters]
losses = []
for _ in range(1500):
    loss = -ops.mean(ops.log_sigmoid(labels * network(inputs)))
    loss.backward()
    for p, v in zip(parameters, velocity):
        v *= 0.9
        v -= 0.1 * p.grad
        p.array += v  # allowed between steps: no graph is alive
        p.grad = None
    losses.append(loss.item())

# %%
side = np.linspace(-1.7, 1.7, 120, dtype=np.float32)
grid = np.stack(np.meshgrid(side, side), axis=-1)
with no_grad():
    scores = network(grid.reshape(-1, 2)).numpy().reshape(120, 120)
figure, (left, middle) = plt.subplots(1, 2, figsize=(7.2, 3.3), layout="constrained")
_ = left.plot(losses, color=BLUE)
_ = left.set(xlabel="step", ylabel="loss (nats)", yscale="log")
_ = middle.contourf(side, side, np.tanh(scores / 2), levels=20, cmap="RdBu", alpha=0.7)
_ = middle.scatter(*inputs.T, c=labels, cmap="RdBu", s=8, edgecolors="black", linewidths=0.3)
_ = middle.set(xticks=[], yticks=[], aspect="equal")

# %% [markdown]
# ## Now try
#
# 1. Set `rule = wrong_axis`. For `logits` of one shape it is no mistake at all, and `gradcheck`
#    passes: which one? Would a test that only uses such inputs be a good test?
# 2. Write a rule for `sin` and check it. Then forget the minus sign in the rule of `cos`.
# 3. Leave out `p.grad = None` in the training loop. What does the loss do, and why does it not
#    simply train with a larger step?
# 4. Replace `requires_grad=True` in `parameter` by False for the first layer only. How well can a
#    random first layer do? Look at the graph of `loss` before and after.
# 5. Give the relu's kink to `gradcheck`: `gradcheck(ops.relu, [np.zeros(3)])`. What does it answer,
#    and why not "wrong"?
