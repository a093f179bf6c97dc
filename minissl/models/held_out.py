"""What a language model gives a text: ln p, by windows, by a state that is carried, of answers.

Lecture 05. A Transformer sees a window, which slides over the text; a recurrent network reads it
once and remembers. Both count every token once, so that their sums can be compared.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.losses.language_modeling import IGNORE, next_token_loss
from minissl.nn.evaluating import evaluating


def stream_nats(
    model: Any, stream: np.ndarray, *, stride: int | None = None, batch_size: int = 16
) -> float:
    """−ln p(x₂ ... x_n | x₁) of a whole stream, by windows of context_length that overlap.

    Windows begin every ``stride`` tokens (half a context unless given), and each predicts only
    what the one before has not: so each token is counted once, and those after the first window
    see at least context_length − stride + 1 tokens. Raises ValueError for a stride out of range.
    """
    targets = len(stream) - 1
    length = min(model.context_length, targets)
    stride = max(length // 2, 1) if stride is None else stride
    if not 1 <= stride <= model.context_length:
        raise ValueError(
            f"stride must be from 1 to the context length {model.context_length}, got {stride}"
        )
    last = targets - length  # where the last window begins
    starts = np.append(np.arange(0, last, stride), last)
    counted = np.append(0, starts[:-1] + length)  # how far the windows before have come
    total = 0.0
    with evaluating(model):
        for i in range(0, len(starts), batch_size):
            places = starts[i : i + batch_size, None] + np.arange(length)  # (batch, time)
            inputs, after = stream[places], stream[places + 1].astype(np.int64)
            after = np.where(places < counted[i : i + batch_size, None], IGNORE, after)
            loss = next_token_loss(model(inputs), after, reduction="sum", overwrite_logits=True)
            total += loss.item()
    return total


def carried_nats(
    model: Any,
    stream: np.ndarray,
    *,
    lanes: int = 16,
    warm_up: int = 256,
    window: int = 64,
    ignore: int | None = None,
) -> float:
    """−ln p(x₂ ... x_n | x₁) of a whole stream, by a recurrent network that carries its state.

    With one lane it is exact: the state has read all that came before. With more, the stream is
    cut into so many parts that are read side by side, ``window`` tokens at a time, and each begins
    ``warm_up`` tokens early, which are not counted. A short stream has fewer lanes, of four
    warm-ups or more each. ``ignore``: a token that is read and never predicted. Raises ValueError
    for lanes, warm_up or window below 1.
    """
    if min(lanes, warm_up, window) < 1:
        raise ValueError(
            f"lanes, warm_up and window must be 1 or more, got {lanes}, {warm_up} and {window}"
        )
    targets = len(stream) - 1
    lanes = max(1, min(lanes, targets // (4 * warm_up)))
    bounds = np.arange(lanes + 1) * targets // lanes  # lane i counts bounds[i] to bounds[i + 1]
    length = min(targets, int(np.diff(bounds).max()) + warm_up)
    places = np.maximum(0, bounds[1:] - length)[:, None] + np.arange(length)  # (lanes, time)
    counted = (bounds[:-1, None] <= places) & (places < bounds[1:, None])
    inputs, after = stream[places], np.where(counted, stream[places + 1], IGNORE)
    if ignore is not None:
        after[after == ignore] = IGNORE
    total, caches = 0.0, model.new_caches()
    with evaluating(model):
        for start in range(0, length, window):
            part = slice(start, start + window)
            logits = model.logits(model.hidden(inputs[:, part], caches=caches))
            loss = next_token_loss(logits, after[:, part], reduction="sum", overwrite_logits=True)
            total += loss.item()
    return total


def log_probabilities(
    model: Any,
    before: Sequence[Sequence[int]],
    after: Sequence[Sequence[int]],
    *,
    batch_size: int = 16,
) -> NDArray[np.float64]:
    """ln p(after | before) in nats, of each pair of token sequences: float64 (pairs,).

    Where both are longer than the context of the model, the first tokens of ``before`` are not
    seen. Nothing after something is certain: 0. Raises ValueError for a pair with nothing before,
    and for an ``after`` that the context has no room for behind one token.
    """
    rows, room = [], model.context_length
    for number, (first, second) in enumerate(zip(before, after, strict=True)):
        if not len(first):
            raise ValueError(f"pair {number} has no token before: begin with the separator")
        if len(second) > room:
            raise ValueError(
                f"pair {number} has {len(second)} tokens to predict, and the context of the model "
                f"has room for {room}: give a shorter text"
            )
        rows.append([*first, *second][-int(min(room, len(first) + len(second))) - 1 :])
    found = np.zeros(len(rows))
    order = np.argsort([len(row) for row in rows], kind="stable")  # little padding in a batch
    with evaluating(model):
        for start in range(0, len(rows), batch_size):
            part = order[start : start + batch_size]
            inputs = np.zeros((len(part), max(max(len(rows[i]) for i in part) - 1, 1)), np.int64)
            targets = np.full(inputs.shape, IGNORE)
            for place, i in enumerate(part):
                row, count = rows[i], len(after[i])
                inputs[place, : len(row) - 1] = row[:-1]
                targets[place, len(row) - 1 - count : len(row) - 1] = row[len(row) - count :]
            of, where = np.nonzero(targets != IGNORE)  # logits are needed only there
            logits = model.logits(model.hidden(inputs)[of, where])
            nats = next_token_loss(logits, targets[of, where], reduction="none").numpy()
            found[part] = -np.bincount(of, nats, minlength=len(part))
    return found
