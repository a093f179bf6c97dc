"""The same GPT without an engine: forward, backward and AdamW by hand, in plain NumPy.

What an engine can at best reach. One matrix for query, key and value; parameters, gradients and
moments are views into four flat arrays; large elementwise steps go piece by piece through the
cache; what is no longer needed is written over.
"""

import math
from collections.abc import Iterator, Mapping

import numpy as np

ROOT = math.sqrt(2 / math.pi)
PIECE = 1 << 16  # elements of float32 that stay in the cache together


class NumpyGPT:
    """``parameters`` and ``gradients`` map names to views; see ``gpt_torch.twin_names``."""

    def __init__(self, config, state: Mapping[str, np.ndarray]):
        self.config = config
        size = sum(array.size for array in state.values())
        self.flat, self.flat_gradient = np.empty(size, np.float32), np.empty(size, np.float32)
        self.first, self.second = np.zeros(size, np.float32), np.zeros(size, np.float32)
        self.parameters, self.gradients, start, self.steps = {}, {}, 0, 0
        for name, array in state.items():
            place = slice(start, start + array.size)
            self.parameters[name] = self.flat[place].reshape(array.shape)
            self.gradients[name] = self.flat_gradient[place].reshape(array.shape)
            self.parameters[name][...] = array
            start += array.size

    # ---- one step -------------------------------------------------------------------------------

    def loss_and_gradients(self, tokens: np.ndarray, targets: np.ndarray) -> float:
        p, layers = self.parameters, range(self.config.num_layers)
        batch, time = tokens.shape
        flat_tokens = tokens.reshape(-1)
        x = p["tokens.weight"][tokens]
        x += p["positions.weight"][:time]
        x = x.reshape(batch * time, -1)
        memory = []
        for i in layers:
            x = self._block(i, x, batch, memory)
        hidden, norm_memory = layer_norm(x, p["norm.weight"], p["norm.bias"])
        del x
        logits = hidden @ p["tokens.weight"].T
        loss = cross_entropy_in_place(logits, targets.reshape(-1))

        g = self.gradients
        np.matmul(logits.T, hidden, out=g["tokens.weight"])
        dx = logits @ p["tokens.weight"]
        del logits, hidden
        dx = self._norm_back("norm", dx, norm_memory)
        for i in reversed(layers):
            dx = self._block_back(i, dx, batch, memory)
        g["positions.weight"][time:] = 0
        g["positions.weight"][:time] = dx.reshape(batch, time, -1).sum(axis=0)
        order = np.argsort(flat_tokens, kind="stable")
        ordered = flat_tokens[order]
        starts = np.flatnonzero(np.diff(ordered, prepend=-1))
        g["tokens.weight"][ordered[starts]] += np.add.reduceat(dx[order], starts, axis=0)
        return loss

    def update(self, lr: float, betas=(0.9, 0.999), eps: float = 1e-8, decay: float = 0.01) -> None:
        """AdamW (Loshchilov and Hutter, 2019), on all parameters at once."""
        self.steps += 1
        (one, two), step = betas, self.steps
        size = lr / (1 - one**step)
        root = 1 / math.sqrt(1 - two**step)
        for piece in pieces(self.flat.size):
            w, g = self.flat[piece], self.flat_gradient[piece]
            m, v = self.first[piece], self.second[piece]
            scratch = g * (1 - one)
            m *= one
            m += scratch
            np.multiply(g, g, out=scratch)
            scratch *= 1 - two
            v *= two
            v += scratch
            np.sqrt(v, out=scratch)
            scratch *= root
            scratch += eps
            np.divide(m, scratch, out=scratch)
            scratch *= size
            w *= 1 - lr * decay
            w -= scratch

    # ---- a block and its way back ---------------------------------------------------------------

    def _linear(self, name: str, x: np.ndarray) -> np.ndarray:
        y = x @ self.parameters[f"{name}.weight"].T
        y += self.parameters[f"{name}.bias"]
        return y

    def _linear_back(self, name: str, dy: np.ndarray, x: np.ndarray) -> np.ndarray:
        np.matmul(dy.T, x, out=self.gradients[f"{name}.weight"])
        np.sum(dy, axis=0, out=self.gradients[f"{name}.bias"])
        return dy @ self.parameters[f"{name}.weight"]

    def _norm_back(self, name: str, dy: np.ndarray, memory) -> np.ndarray:
        dx, dw, db = layer_norm_back(dy, self.parameters[f"{name}.weight"], memory)
        self.gradients[f"{name}.weight"][...] = dw
        self.gradients[f"{name}.bias"][...] = db
        return dx

    def _block(self, i: int, x: np.ndarray, batch: int, memory: list) -> np.ndarray:
        p, name = self.parameters, f"blocks.{i}"
        normed, norm_1 = layer_norm(
            x, p[f"{name}.attention_norm.weight"], p[f"{name}.attention_norm.bias"]
        )
        qkv = self._linear(f"{name}.query_key_value", normed)
        mixed, weights = attention(qkv, batch, self.config.num_heads)
        y = self._linear(f"{name}.output", mixed)
        y += x
        normed_2, norm_2 = layer_norm(y, p[f"{name}.mlp_norm.weight"], p[f"{name}.mlp_norm.bias"])
        hidden, slope = gelu_in_place(self._linear(f"{name}.hidden", normed_2))
        memory.append((normed, norm_1, qkv, mixed, weights, normed_2, norm_2, hidden, slope))
        z = self._linear(f"{name}.contract", hidden)
        z += y
        return z

    def _block_back(self, i: int, dz: np.ndarray, batch: int, memory: list) -> np.ndarray:
        name = f"blocks.{i}"
        normed, norm_1, qkv, mixed, weights, normed_2, norm_2, hidden, slope = memory.pop()
        dh = self._linear_back(f"{name}.contract", dz, hidden)
        dh *= slope
        dy = self._norm_back(
            f"{name}.mlp_norm", self._linear_back(f"{name}.hidden", dh, normed_2), norm_2
        )
        del dh, hidden, slope
        dy += dz
        dmixed = self._linear_back(f"{name}.output", dy, mixed)
        dqkv = attention_back(dmixed, qkv, mixed, weights, batch)
        dnormed = self._linear_back(f"{name}.query_key_value", dqkv, normed)
        dx = self._norm_back(f"{name}.attention_norm", dnormed, norm_1)
        dx += dy
        return dx


def pieces(size: int, width: int = 1) -> Iterator[slice]:
    step = max(PIECE // width, 1)
    return (slice(start, start + step) for start in range(0, size, step))


# ---- the formulas -------------------------------------------------------------------------------


def layer_norm(x, weight, bias, eps=1e-5):
    normalized, y = np.empty_like(x), np.empty_like(x)
    inverse_std = np.empty((len(x), 1), x.dtype)
    for piece in pieces(*x.shape):
        c = np.subtract(x[piece], x[piece].mean(axis=1, keepdims=True), out=normalized[piece])
        inverse_std[piece, 0] = 1 / np.sqrt(np.einsum("ij,ij->i", c, c) / x.shape[1] + eps)
        c *= inverse_std[piece]
        np.multiply(c, weight, out=y[piece])
        y[piece] += bias
    return y, (normalized, inverse_std)


def layer_norm_back(dy, weight, memory):
    normalized, inverse_std = memory
    dw, db = np.zeros_like(weight), np.zeros_like(weight)
    for piece in pieces(*dy.shape):
        c, g = normalized[piece], dy[piece]
        dw += np.einsum("ij,ij->j", g, c)
        db += g.sum(axis=0)
        g *= weight
        c *= np.einsum("ij,ij->i", g, c)[:, None] / dy.shape[1]
        g -= g.mean(axis=1, keepdims=True)
        g -= c
        g *= inverse_std[piece]
    return dy, dw, db


def gelu_in_place(x):
    """½x(1 + tanh u), written over x, and its slope."""
    slope = np.empty_like(x)
    flat, flat_slope = x.reshape(-1), slope.reshape(-1)
    for piece in pieces(flat.size):
        x_, s = flat[piece], flat_slope[piece]
        square = x_ * x_
        t = square * (0.044715 * ROOT)
        t += ROOT
        t *= x_
        np.tanh(t, out=t)
        square *= 3 * 0.044715 * ROOT
        square += ROOT
        np.multiply(t, t, out=s)
        np.subtract(1, s, out=s)
        s *= square
        s *= x_
        t += 1
        s += t
        s *= 0.5
        x_ *= t
        x_ *= 0.5
    return x, slope


def heads(qkv, batch, num_heads):
    """(batch · time, 3 · width) -> three views (batch, heads, time, head_dim)."""
    split = qkv.reshape(batch, -1, 3, num_heads, qkv.shape[1] // (3 * num_heads))
    return split.transpose(2, 0, 3, 1, 4)


def attention(qkv, batch, num_heads):
    query, key, value = heads(qkv, batch, num_heads)
    time = query.shape[2]
    scale = np.float32(1 / math.sqrt(query.shape[3]))
    penalty = np.where(np.tri(time, dtype=bool), 0, -np.inf).astype(np.float32)
    weights = np.empty((batch, num_heads, time, time), np.float32)
    mixed = np.empty((batch, time, num_heads, query.shape[3]), np.float32)
    for i in range(batch):
        w = np.matmul(query[i], key[i].mT, out=weights[i])
        w *= scale
        w += penalty
        w -= w.max(axis=-1, keepdims=True)
        np.exp(w, out=w)
        w *= 1 / w.sum(axis=-1, keepdims=True)
        np.matmul(w, value[i], out=mixed[i].transpose(1, 0, 2))
    return mixed.reshape(len(qkv), -1), weights


def attention_back(dmixed, qkv, mixed, weights, batch):
    num_heads = weights.shape[1]
    query, key, value = heads(qkv, batch, num_heads)
    dqkv = np.empty_like(qkv)
    dquery, dkey, dvalue = heads(dqkv, batch, num_heads)
    scale = np.float32(1 / math.sqrt(query.shape[3]))
    g = dmixed.reshape(batch, -1, num_heads, query.shape[3])
    delta = np.einsum("bqhd,bqhd->bhq", g, mixed.reshape(g.shape))[..., None]
    for i in range(batch):
        w, gi = weights[i], g[i].transpose(1, 0, 2)
        np.matmul(w.mT, gi, out=dvalue[i])
        ds = gi @ value[i].mT
        ds -= delta[i]
        ds *= w
        ds *= scale
        np.matmul(ds, key[i], out=dquery[i])
        np.matmul(ds.mT, query[i], out=dkey[i])
    return dqkv


def cross_entropy_in_place(logits, targets):
    """The mean loss; the logits become its gradient."""
    total = 0.0
    for piece in pieces(*logits.shape):
        rows, chosen = logits[piece], targets[piece]
        each = np.arange(len(rows))
        rows -= rows.max(axis=1, keepdims=True)
        target_logits = rows[each, chosen]
        np.exp(rows, out=rows)
        sums = rows.sum(axis=1, keepdims=True)
        total += float((np.log(sums[:, 0]) - target_logits).sum())
        rows *= 1 / (sums * len(logits))
        rows[each, chosen] -= np.float32(1 / len(logits))
    return total / len(logits)
