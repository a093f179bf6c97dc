"""What contrast wants: images, batches, other classes. Each claim measures what it says it does."""

import numpy as np
import pytest

from minissl.adapt.heads.neighbors import nearest_neighbor_accuracy
from minissl.adapt.heads.probe import FewLabelResult
from minissl.claims import load_claim
from minissl.claims import simclr_on_digits as digits
from minissl.claims.claim import Setup
from minissl.claims.experiments.images import (
    info_nce_bound,
    same_class,
    supervised_augmentation,
    unlabelled_images,
)
from minissl.data.labels import draw_few_labels
from minissl.losses.contrastive import nt_xent
from tests.claims.reading import require_whole

NAMES = ("info-nce-bound", "same-class", "supervised-augmentation", "unlabelled-images")
SEEDS = [0]


@pytest.mark.parametrize("name", NAMES)
def test_a_claim_runs_from_end_to_end(runs, name, monkeypatch):
    """Probes cost most of the time, and are tested elsewhere: each answers half right here."""

    def half_right(*_, labels_per_class, draws, **__):
        return [FewLabelResult(count, np.full(draws, 0.5)) for count in labels_per_class]

    monkeypatch.setattr(digits, "few_label_curve", half_right)
    result, folder = runs(name)
    require_whole(name, result, folder)
    assert name == "info-nce-bound" or {digits.RAW, digits.RANDOM} <= set(result["table"])


@pytest.mark.parametrize("name", NAMES)
def test_the_full_scale_asks_for_more(name):
    quick, small, full = (load_claim(name).scales[scale] for scale in ("quick", "small", "full"))
    assert quick.keys() == small.keys() == full.keys()
    for setting in small.keys() - {"learning_rate", "evaluations"}:
        assert quick[setting] <= small[setting] <= full[setting]


# ---- images without labels, and with them --------------------------------------------------------


def test_only_the_number_of_images_differs(monkeypatch):
    """Nested sets, the same settings, and the test images stay out of it."""
    asked = []

    def pretrain(setup, data, **changes):
        asked.append((data.train_images, changes))
        return digits.random_network(setup, data), None

    monkeypatch.setattr(unlabelled_images.digits, "pretrain", pretrain)
    monkeypatch.setattr(unlabelled_images, "examine", lambda *_: dict.fromkeys(range(4), 0.0))
    monkeypatch.setattr(unlabelled_images, "COLUMNS", range(4))
    setup = Setup(3, unlabelled_images.CLAIM.scales["quick"])
    unlabelled_images.measure(setup)
    images = digits.load(setup).train_images
    assert [len(seen) for seen, _ in asked] == [50, 100, 200, 400, 800, len(images)]
    for seen, changes in asked:
        np.testing.assert_array_equal(seen, images[: len(seen)])
        assert not changes


def test_neighbours_vote_among_the_examples_that_the_probe_had():
    setup = Setup(2, {"draws": 2})
    data = digits.load(setup)
    seen = unlabelled_images.examine(setup, data, digits.raw_pixels)
    by_hand = []
    for draw in range(2):
        chosen = draw_few_labels(data.train_labels, 5, np.random.default_rng([2, 5, draw]))
        features = data.train_images[chosen].reshape(50, 64)
        tests = data.test_images.reshape(-1, 64)
        by_hand.append(
            nearest_neighbor_accuracy(
                features, data.train_labels[chosen], tests, data.test_labels, k=5
            )
        )
    assert seen[unlabelled_images.NEIGHBORS] == pytest.approx(100 * np.mean(by_hand))
    assert seen["5 labels"] == pytest.approx(
        digits.probe(setup, data, digits.raw_pixels, (5,))["5 labels"]
    )


def test_with_and_without_augmentation_differ_in_nothing_else(monkeypatch):
    seen = []
    monkeypatch.setattr(
        supervised_augmentation, "train", lambda method, settings, **how: seen.append((method, how))
    )
    setup = Setup(1, supervised_augmentation.CLAIM.scales["quick"])
    data = digits.load(setup)
    for augment in (supervised_augmentation.compose(), None):
        supervised_augmentation.supervised(setup, data, 5, 1, augment)
    (plain, how), (augmented, same) = seen
    assert how == same
    np.testing.assert_array_equal(plain.images, augmented.images)
    for name, array in plain.model.state_dict().items():
        np.testing.assert_array_equal(augmented.model.state_dict()[name], array)
    images, labels = plain.batch(np.random.default_rng(4))
    changed, also = augmented.batch(np.random.default_rng(4))
    known = {image.tobytes() for image in plain.images}
    assert all(image.tobytes() in known for image in images)
    assert not any(image.tobytes() in known for image in changed)
    np.testing.assert_array_equal(labels, also)


# ---- mutual information --------------------------------------------------------------------------


def test_the_pairs_have_the_mutual_information_that_they_are_asked_for():
    """By the closed form from the covariance of samples, and as the mean of the log ratio."""
    generator = np.random.default_rng(0)
    for nats in (1.0, 4.0):
        pairs = info_nce_bound.Pairs(nats)
        context, key = pairs.draw(50_000, generator)
        joint = np.linalg.slogdet(np.cov(np.hstack([context, key]).T))[1]
        alone = sum(np.linalg.slogdet(np.cov(part.T))[1] for part in (context, key))
        assert (alone - joint) / 2 == pytest.approx(nats, abs=0.03)
        parts = (slice(i, i + 500) for i in range(0, 10_000, 500))
        ratios = [pairs.log_ratio(context[part], key[part]).diagonal() for part in parts]
        assert np.mean(ratios) == pytest.approx(nats, abs=0.05)


def test_the_optimal_critic_is_bilinear_once_a_square_stands_beside_the_key():
    """Up to what depends on the context alone, which the softmax over keys does not see."""
    pairs, model = info_nce_bound.Pairs(3.0), info_nce_bound.Bilinear(squares=True)
    rho, width = pairs.correlation, info_nce_bound.DIMENSIONS
    weight = np.eye(width + 1) * rho / (1 - rho**2)
    weight[-1, -1] = -width * rho**2 / (2 * (1 - rho**2))
    model.weight.array = weight.astype(np.float32)
    context, key = pairs.draw(6, np.random.default_rng(1))
    gap = model.scores(context, key) - pairs.log_ratio(context, key)
    np.testing.assert_allclose(gap, gap[:, :1].repeat(6, axis=1), atol=1e-5)


def test_what_is_learned_is_what_is_judged():
    """The scores are those of the loss: W is no square matrix that could be turned around."""
    model = info_nce_bound.Bilinear(squares=True)
    weight = np.random.default_rng(2).standard_normal(model.weight.shape)
    model.weight.array = weight.astype(np.float32)
    method = info_nce_bound.Estimate(model, info_nce_bound.Pairs(2.0), 16)
    loss = method.loss(method.batch(np.random.default_rng(3))).item()
    scores = model.scores(*method.pairs.draw(16, np.random.default_rng(3)))
    rows = np.log(np.exp(scores).sum(axis=1)) - scores.diagonal()
    assert loss == pytest.approx(rows.mean(), rel=1e-4)


def test_a_critic_that_knows_nothing_bounds_nothing():
    setup = Setup(0, {"pairs": 64})
    pairs = info_nce_bound.Pairs(2.0)
    bound = info_nce_bound.bound(setup, pairs, info_nce_bound.Bilinear(True).scores, 32)
    assert bound == pytest.approx(0, abs=1e-12)
    perfect = info_nce_bound.bound(setup, pairs, lambda c, z: 1e3 * np.eye(32), 32)
    assert perfect == pytest.approx(np.log(32))


# ---- classes among the negatives -----------------------------------------------------------------

VIEWS = np.random.default_rng(5).standard_normal((8, 3)).astype(np.float32)


def loss(arm, labels, views=VIEWS):
    return same_class.LOSSES[arm](same_class.Tensor(views), np.tile(labels, 2), 0.5).item()


def test_the_oracle_leaves_out_what_is_of_the_same_class():
    labels = np.array([3, 1, 3, 2])
    rows = np.float64(VIEWS) / np.linalg.norm(np.float64(VIEWS), axis=1, keepdims=True)
    cosines, expected = rows @ rows.T / 0.5, []
    for i in range(8):
        partner = (i + 4) % 8
        others = [j for j in range(8) if j == partner or labels[j % 4] != labels[i % 4]]
        expected.append(np.log(np.exp(cosines[i, others]).sum()) - cosines[i, partner])
    assert loss(same_class.MASKED, labels) == pytest.approx(np.mean(expected), rel=1e-5)


def test_where_all_labels_differ_the_three_losses_are_one():
    plain = nt_xent(VIEWS[:4], VIEWS[4:], 0.5).item()
    for arm in same_class.LOSSES:
        assert loss(arm, np.arange(4)) == pytest.approx(plain, rel=1e-5)


def test_the_arms_see_the_same_views_and_the_count_is_of_their_batches():
    setup = Setup(0, same_class.CLAIM.scales["quick"] | {"steps": 2, "batch_size": 8})
    data = digits.load(setup)
    method = same_class.trained(setup, data, same_class.MASKED, 8)
    method.arm = same_class.NT_XENT
    plain, _ = digits.pretrain(setup, data)
    shares = []
    for step in range(2):
        views, labels = method.batch(np.random.default_rng([0, step, 0]))
        np.testing.assert_array_equal(views, plain.batch(np.random.default_rng([0, step, 0])))
        same = [np.sum(labels == one) - 2 for one in labels]
        shares.append(100 * np.mean(same) / 14)
    seen = same_class.counted(setup, method, 9.0)
    assert seen[same_class.SHARE] == pytest.approx(np.mean(shares))
    assert seen[same_class.OFF] == pytest.approx(abs(np.mean(shares) - 9.0))
    assert seen[same_class.NUMBER] == pytest.approx(0.14 * np.mean(shares))
