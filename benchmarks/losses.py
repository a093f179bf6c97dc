"""Contrastive and metric losses beside pytorch-metric-learning: forward and backward of a batch.

    python -m benchmarks.losses [--batch 512] [--repeats 5]

Embeddings (512, 128) in float32, of 64 classes with 8 each and of 10 with 51; two threads or as
many as there are. Where the library has no counterpart, or one that does not fit into memory (its
lifted structure lists all pairs of pairs), the peer is the formula in torch. Values and gradients
agree first, except of what is drawn. Its semi-hard triplets are all in the band, ours the nearest
of each pair: agreement is asked on ours. Each contender has a process of its own.
"""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.common import (
    MEMORY_KEPT,
    add_options,
    new_parser,
    positive,
    report,
    require_peers,
    stoppable,
)
from benchmarks.turns import Contender, race
from minissl.autograd import Tensor
from minissl.autograd import operations as ops
from minissl.autograd.threads import engine_threads
from minissl.conditions import environment
from minissl.losses.contrastive import info_nce, nt_xent
from minissl.losses.distances import pairwise_distances
from minissl.losses.metric import lifted_structured_loss, pair_loss
from minissl.losses.regularizers import random_directions, sigreg
from minissl.losses.supervised import soft_nearest_neighbor_loss, supcon_loss
from minissl.losses.triplets import mine_triplets, mined_triplet_loss

WIDTH, CLASSES, MARGIN, NEGATIVES, DIRECTIONS = 128, (64, 10), 0.2, 8, 256


def arrays(batch: int, classes: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = generator.permutation(np.arange(batch) % classes)
    centers = generator.standard_normal((classes, WIDTH))
    noise = 2 * generator.standard_normal((batch, WIDTH))
    return {
        "rows": ((centers[labels] + noise) / WIDTH**0.5).astype(np.float32),
        "labels": labels,
        "negatives": generator.standard_normal((batch // 2, NEGATIVES, WIDTH)).astype(np.float32),
        "directions": random_directions(DIRECTIONS, WIDTH, generator),
        "same": np.arange(batch // 2) % 2 == 0,
    }


# ---- ours: (rows as a Tensor, the arrays) -> loss ------------------------------------------------


def triplets(mining: str) -> Callable[..., Tensor]:
    def loss(x: Tensor, data: dict[str, Any]) -> Tensor:
        generator = np.random.default_rng(0)
        return mined_triplet_loss(
            x, data["labels"], margin=MARGIN, mining=mining, generator=generator
        )

    return loss


def halves(x: Any) -> tuple[Any, Any]:
    return x[: len(x) // 2], x[len(x) // 2 :]


OURS: dict[str, Callable[..., Tensor]] = {
    "triplets, all": triplets("all"),
    "triplets, hard": triplets("hard"),
    "triplets, semi-hard": triplets("semi-hard"),
    "triplets, distance-weighted": triplets("distance-weighted"),
    "lifted structure": lambda x, d: lifted_structured_loss(x, d["labels"]),
    "supervised contrastive": lambda x, d: supcon_loss(x, d["labels"], temperature=0.1),
    "soft nearest neighbour": lambda x, d: soft_nearest_neighbor_loss(
        x, d["labels"], temperature=1.0
    ),
    "NT-Xent": lambda x, d: nt_xent(*halves(x), 0.1),
    "InfoNCE, own negatives": lambda x, d: info_nce(
        *halves(x), temperature=0.1, negatives=d["negatives"], in_batch=False
    ),
    "pairs": lambda x, d: pair_loss(*halves(x), d["same"], margin=1.0),
    "SIGReg": lambda x, d: sigreg(x, d["directions"]),
    "distances": lambda x, d: ops.mean(pairwise_distances(x)),
}


WITH_LABELS = list(OURS)[:7]


# ---- theirs --------------------------------------------------------------------------------------


def published(name: str) -> Callable[..., Any]:
    """A function of rows and arrays of torch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pytorch_metric_learning import distances, losses, miners, reducers

    squares = distances.LpDistance(power=2)
    raw = distances.LpDistance(normalize_embeddings=False, power=2)
    margin = losses.TripletMarginLoss(MARGIN, distance=squares, reducer=reducers.MeanReducer())
    mining = {
        "triplets, all": None,
        "triplets, hard": miners.BatchHardMiner(distance=squares),
        "triplets, semi-hard": miners.TripletMarginMiner(MARGIN, "semihard", distance=squares),
        "triplets, distance-weighted": miners.DistanceWeightedMiner(),
    }
    if name in mining:
        miner = mining[name]
        return lambda x, d: margin(
            x, d["labels"], d.get("mined") or (miner and miner(x, d["labels"]))
        )
    found = {
        "supervised contrastive": losses.SupConLoss(temperature=0.1),
        "soft nearest neighbour": losses.NCALoss(softmax_scale=1.0, distance=raw),
        "NT-Xent": losses.SelfSupervisedLoss(losses.NTXentLoss(temperature=0.1)),
    }[name]
    if name == "NT-Xent":
        return lambda x, d: found(*halves(x))
    return lambda x, d: found(x, d["labels"])


def in_torch(name: str) -> Callable[..., Any]:
    """The formula, as one would write it."""
    import torch

    def lifted(x, d):
        distances, same = torch.cdist(x, x), d["labels"][:, None] == d["labels"]
        pushed = torch.logsumexp((1 - distances).masked_fill(same, -torch.inf), dim=1)
        i, j = torch.nonzero(torch.triu(same, 1), as_tuple=True)
        both = torch.logaddexp(pushed[i], pushed[j]) + distances[i, j]
        return (0.5 * torch.relu(both) ** 2).mean()

    def own_negatives(x, d):
        from info_nce import info_nce as theirs

        query, key = halves(x)
        return theirs(query, key, d["negatives"], temperature=0.1, negative_mode="paired")

    def pairs(x, d):
        distances = torch.nn.functional.pairwise_distance(*halves(x))
        apart = torch.relu(1 - distances) ** 2
        return (0.5 * torch.where(d["same"], distances**2, apart)).mean()

    def gaussian(x, d):  # LeJEPA's layout
        t = torch.linspace(0, 5, 17)
        phi = torch.exp(-t * t / 2)
        weights = torch.full((17,), 2 * 5 / 16)
        weights[[0, -1]] = 5 / 16
        seen = (x @ d["directions"].float().T).unsqueeze(-1) * t
        error = (seen.cos().mean(0) - phi).square() + seen.sin().mean(0).square()
        return (error @ (weights * phi) * len(x)).mean()

    return {
        "lifted structure": lifted,
        "InfoNCE, own negatives": own_negatives,
        "pairs": pairs,
        "SIGReg": gaussian,
        "distances": lambda x, d: torch.cdist(x, x).mean(),
    }[name]


BY_FORMULA = ("lifted structure", "InfoNCE, own negatives", "pairs", "SIGReg", "distances")


def peer(name: str) -> str:
    if name not in BY_FORMULA:
        return "pytorch-metric-learning"
    return "info-nce-pytorch" if name.startswith("InfoNCE") else "torch, the formula"


# ---- the race ------------------------------------------------------------------------------------


def ours(name: str, batch: int, classes: int) -> Callable[[], float]:
    data, leaf = arrays(batch, classes), None
    leaf = Tensor(data["rows"], requires_grad=True)

    def run() -> float:
        leaf.grad = None
        with engine_threads():  # as fit does
            loss = OURS[name](leaf, data)
            loss.backward()
        return loss.item()

    run.leaf = leaf  # type: ignore[attr-defined]
    return run


def theirs(name: str, batch: int, classes: int, mined: Any = None) -> Callable[[], float]:
    import torch

    data: dict[str, Any] = {k: torch.from_numpy(a) for k, a in arrays(batch, classes).items()}
    data["mined"] = mined
    leaf = data["rows"].requires_grad_()
    loss_of = (in_torch if name in BY_FORMULA else published)(name)

    def run() -> float:
        leaf.grad = None
        loss = loss_of(leaf, data)
        loss.backward()
        return loss.item()

    run.leaf = leaf  # type: ignore[attr-defined]
    return run


def contender(side: str, name: str) -> Contender:
    build = partial(ours if side == "minissl" else theirs, name)
    imports = [] if side == "minissl" else ["torch"]
    return Contender(build, imports, keeps_memory=side == "minissl")


CONTENDERS = {
    f"{side}: {name}": contender(side, name) for name in OURS for side in ("minissl", "peer")
}


def semi_hard(data: dict[str, Any]) -> tuple[Any, ...]:
    """Our semi-hard triplets, for a loss that is given some."""
    import torch

    rows = data["rows"] / np.linalg.norm(data["rows"], axis=1, keepdims=True)
    squares = pairwise_distances(rows, squared=True)
    mined = mine_triplets(squares, data["labels"], "semi-hard", margin=MARGIN, squared=True)
    return tuple(map(torch.from_numpy, mined))


def check_agreement(batch: int = 512) -> None:
    """Losses and gradients of both sides, but for negatives that are drawn."""
    worst = 0.0
    for classes in CLASSES:
        for name in OURS:
            if name == "triplets, distance-weighted" or (classes == 10 and batch == 512
                                                         and name == "triplets, all"):  # fmt: skip
                continue  # of the latter the peer's lists take a minute
            settings: dict[str, Any] = {}
            if name == "triplets, semi-hard":
                settings["mined"] = semi_hard(arrays(batch, classes))
            runs = [ours(name, batch, classes), theirs(name, batch, classes, **settings)]
            losses = [run() for run in runs]
            gradients = [np.asarray(run.leaf.grad) for run in runs]  # type: ignore[attr-defined]
            errors = np.abs(gradients[0] - gradients[1]).max(axis=1) / np.abs(gradients[1]).max()
            # Of 25,000 semi-hard triplets one may be at the kink of its hinge: its three rows.
            error = np.sort(errors)[: -3 if name == "triplets, semi-hard" else None].max()
            worst = max(worst, error, abs(losses[0] - losses[1]) / abs(losses[1]))
            if worst > 1e-3:
                raise SystemExit(f"{name}, {classes} classes: losses {losses}, gradients {error}")
    print(f"agreed: losses and gradients within {worst:.0e}")


def main() -> None:
    parser = add_options(new_parser("losses", __doc__), repeats=5)
    parser.add_argument("--batch", type=positive, default=512, help="rows (default 512)")
    arguments = parser.parse_args()
    require_peers("torch", "pytorch_metric_learning", "info_nce")
    machine = environment(["torch", "pytorch-metric-learning", "info-nce-pytorch"])
    check_agreement(arguments.batch)
    rows = []
    for name in OURS:
        for classes in CLASSES if name in WITH_LABELS else CLASSES[:1]:
            pair = [f"{side}: {name}" for side in ("minissl", "peer")]
            found = race(
                "benchmarks.losses", pair, arguments.repeats, threads=arguments.threads,
                runs=1, settings={"batch": arguments.batch, "classes": classes},
            )  # fmt: skip
            mine, other = (found[side].seconds * 1000 for side in pair)
            rows.append(
                {
                    "loss": name,
                    "classes": classes if name in WITH_LABELS else "",
                    "minissl, ms": mine,
                    "peer": peer(name),
                    "peer, ms": other,
                    "time": f"{mine / other:.2f} x",
                }
            )
    notes = [
        f"forward and backward of ({arguments.batch}, {WIDTH}) float32 embeddings; losses and "
        "gradients agreed first, except of distance-weighted triplets, which are drawn",
        f"{arguments.threads} threads; each in a process of its own, medians of "
        f"{arguments.repeats} turns; time: ours over the peer's, below 1 is faster",
        f"{MEMORY_KEPT}; peers as their users have them",
    ]
    report("losses", rows, machine, notes)


if __name__ == "__main__":
    stoppable(main)
