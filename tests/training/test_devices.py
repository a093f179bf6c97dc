"""``fit`` on another device: a GPU, or in its place torch memory with interpreted kernels."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from minissl_kernels.launch import interpreted

from minissl.autograd import Tensor
from minissl.autograd.devices import device_of, move, move_batch
from minissl.autograd.fused import gpu
from minissl.models.convolutional import ConvEncoder
from minissl.models.gpt import GPT, GPTConfig
from minissl.nn.module import Module, Parameter
from minissl.nn.resnet import ResNet
from minissl.optim import SGD, AdamW, warmup_cosine
from minissl.pretrain.images.simclr import SimCLR, SimCLRModel
from minissl.pretrain.language.gpt import GPTPretraining
from minissl.training import fit
from minissl.training.checkpoint import find_checkpoint
from minissl.training.precision import computing_in
from minissl.training.run import DivergedError
from tests.kernels import bfloat16, quick_interpreter

pytestmark = pytest.mark.gpu
THERE, BATCH = ("torch", 2) if interpreted() else ("cuda:0", 4)

if interpreted():
    bfloat16.install()
    quick_interpreter.install()


class Interrupted(Exception):
    pass


class Stopping(GPTPretraining):
    """Pretraining that goes wrong in one step: ``how`` is None, an exception, or "nan"."""

    how, when = None, 5

    def batch(self, generator):
        self.batches = getattr(self, "batches", 0) + 1
        if self.batches == self.when and self.how is Interrupted:
            raise Interrupted
        return super().batch(generator)

    def loss(self, batch, generator):
        loss = super().loss(batch, generator)
        return loss * math.nan if self.batches == self.when and self.how == "nan" else loss


@pytest.fixture
def without_kernels(monkeypatch):
    """Where the kernels are not what is tested: interpreted, they take most of the time."""
    if interpreted():
        monkeypatch.setattr(gpu, "_interpreted", lambda: False)


def language_model(device, how=None, dropout=0.0, batch_size=BATCH):
    generator = np.random.default_rng(0)
    config = GPTConfig(
        vocab_size=17, context_length=8, num_layers=1, width=8, num_heads=2, dropout=dropout
    )
    stream = generator.integers(17, size=200)
    method = Stopping(
        GPT(config, generator=generator).to(device),
        stream,
        batch_size=batch_size,
        held_out=stream[: 10 * batch_size],
    )
    method.how = how
    return method


def train(method, run=None, optimizer=AdamW, peak=0.02, **settings):
    settings = {"steps": 6, "clip": 0.5, "evaluate_every": 3, "checkpoint_every": 2} | settings
    optimizer = optimizer(method.model.named_parameters(), lr=peak)
    schedule = partial(warmup_cosine, peak=peak, warmup_steps=2, total_steps=settings["steps"])
    return fit(method, optimizer, schedule=schedule, run=run, progress=False, **settings)


def assert_same_run(ours, theirs, rtol=1e-4):
    where = {"seconds", "device", "precision"}
    assert [r.keys() - where for r in ours] == [r.keys() - where for r in theirs]
    for a, b in zip(ours, theirs):
        for name in a.keys() - where:
            assert a[name] == pytest.approx(b[name], rel=rtol), (a["step"], name)


def test_the_kernels_take_part():
    assert gpu.runs_kernels(move(np.zeros(2, np.float32), THERE))
    assert not gpu.runs_kernels(move(np.zeros(2), THERE))
    assert not gpu.runs_kernels(np.zeros(2, np.float32))


def test_the_same_run_on_both_devices():
    assert_same_run(*(train(language_model(device), steps=3) for device in ("cpu", THERE)))


@pytest.mark.parametrize(("optimizer", "accumulate"), [(AdamW, 2), (SGD, 1)])
def test_with_other_settings_too(without_kernels, accumulate, optimizer):
    runs = [
        train(language_model(device), accumulate=accumulate, optimizer=optimizer)
        for device in ("cpu", THERE)
    ]
    assert_same_run(*runs)


class StoppingSimCLR(SimCLR):
    """``when`` is the batch at which it is interrupted."""

    when = None

    def batch(self, generator):
        self.batches = getattr(self, "batches", 0) + 1
        if self.batches == self.when:
            raise Interrupted
        return super().batch(generator)


def noisy(images, generator):
    return images + 0.1 * generator.standard_normal(images.shape, dtype=np.float32)


def simclr(device, encoder, size=8, batch=8):
    generator = np.random.default_rng(1)
    images = generator.random((3 * batch, size, size, 1), dtype=np.float32)
    encoder = encoder(generator=generator)
    model = SimCLRModel(encoder, features=encoder.features, generator=generator)
    return StoppingSimCLR(model.to(device), images, noisy, batch_size=batch)


def test_simclr_too(monkeypatch):
    """cuDNN may cut float32 to TF32 (11 bits), torch's default: then the losses agree to 1e-3."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    encoder = partial(ConvEncoder, widths=(4, 8))
    runs = [train(simclr(d, encoder), steps=4, evaluate_every=2) for d in ("cpu", THERE)]
    assert_same_run(*runs)


@pytest.mark.parametrize(("first", "second"), [("cpu", THERE), (THERE, "cpu")])
def test_a_run_begun_on_one_device_continues_on_the_other(without_kernels, tmp_path, first, second):
    with pytest.raises(Interrupted):
        train(language_model(first, Interrupted), tmp_path)
    assert find_checkpoint(tmp_path).step == 4
    assert_same_run(train(language_model(second), tmp_path), train(language_model("cpu")))


def test_on_one_device_it_continues_bit_for_bit(tmp_path):
    settings = {"steps": 3, "evaluate_every": None, "checkpoint_every": 1}
    stopped, resumed, whole = (language_model(THERE, dropout=0.2) for _ in range(3))
    stopped.how, stopped.when = Interrupted, 3
    with pytest.raises(Interrupted):
        train(stopped, tmp_path, **settings)
    assert len(train(resumed, tmp_path, **settings)) == 3
    train(whole, **settings)
    for name, array in whole.model.state_dict().items():
        assert array.tobytes() == resumed.model.state_dict()[name].tobytes(), name


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_convolutional_run_too(tmp_path, precision):
    """With BatchNorm and its buffers; on a GPU as large as cuDNN's fast algorithms want it."""
    size, batch, width = (8, 4, 2) if interpreted() else (32, 128, 32)
    encoder = partial(ResNet, 1, width, (1, 1))
    settings = {"steps": 4, "evaluate_every": 2, "checkpoint_every": 1, "precision": precision}
    stopped, resumed, whole = (simclr(THERE, encoder, size, batch) for _ in range(3))
    stopped.when = 4
    with pytest.raises(Interrupted):
        train(stopped, tmp_path, **settings)
    assert find_checkpoint(tmp_path).step == 3
    history, expected = train(resumed, tmp_path, **settings), train(whole, **settings)
    assert_same_run(history, expected, rtol=0)
    for name, array in whole.model.state_dict().items():
        assert array.tobytes() == resumed.model.state_dict()[name].tobytes(), name


def test_a_run_asks_for_convolutions_that_repeat_themselves(without_kernels, monkeypatch, tmp_path):
    cudnn, seen = torch.backends.cudnn, []
    monkeypatch.setattr(cudnn, "benchmark", True)
    for device, run in ((THERE, tmp_path / "a"), ("cpu", tmp_path / "b"), (THERE, None)):
        method = simclr(device, partial(ConvEncoder, widths=(4,)))
        loss = method.loss
        method.loss = lambda batch, generator, loss=loss: (
            seen.append((cudnn.deterministic, cudnn.benchmark)),
            loss(batch, generator),
        )[1]
        train(method, run, steps=3, evaluate_every=None)
        assert (cudnn.deterministic, cudnn.benchmark) == (False, True)
    assert seen == 3 * [(True, False)] + 6 * [(False, True)]


@pytest.mark.parametrize("device", ["cpu", THERE])
def test_a_loss_that_is_not_finite_is_noticed_and_names_its_step(without_kernels, tmp_path, device):
    method = language_model(device, "nan")
    method.when = 3
    with pytest.raises(DivergedError, match="step 3: the loss is nan") as error:
        train(method, tmp_path, evaluate_every=None)
    assert error.value.step == 3
    assert find_checkpoint(tmp_path).step == 2
    assert all(np.isfinite(array).all() for array in method.model.state_dict().values())


@pytest.mark.parametrize(("device", "later"), [("cpu", 0), (THERE, 1)])
def test_training_stops_at_once_or_one_step_later(without_kernels, device, later):
    method = language_model(device, "nan")
    with pytest.raises(DivergedError, match="step 5: the loss is nan"):
        train(method, evaluate_every=None)
    assert method.batches == 5 + later


def moving(optimizer, values):
    """Three steps, in the first of which the last parameter has no gradient; all there is then."""
    for step in range(3):
        for (name, parameter), value in zip(optimizer.parameters.items(), values):
            parameter.grad = move(value * (1 + step), device_of(parameter))
            if name == "late" and step == 0:
                parameter.grad = None
        norm = optimizer.step_if_finite(1.0, max_norm=2.5)
    arrays = [p.array for p in optimizer.parameters.values()]
    return [float(norm), *(move(array, "cpu") for array in arrays)], optimizer.state_dict()


@pytest.mark.parametrize("wide", [False, True], ids=["kernel", "one in float64"])
def test_the_optimizer_does_the_same_on_both_devices(wide):
    generator = np.random.default_rng(0)
    shapes = {"weight": (3, 4), "bias": (4,), "late": (2, 2)}
    arrays = [generator.standard_normal((2, *shape)) for shape in shapes.values()]
    dtypes = [np.float64 if wide and n == "bias" else np.float32 for n in shapes]
    starts, values = zip(*([*a.astype(d)] for a, d in zip(arrays, dtypes)))

    def run(device):
        named = [(n, Parameter(move(np.array(a), device))) for n, a in zip(shapes, starts)]
        settings = {"lr": 0.05, "betas": (0.7, 0.8), "eps": 0.1, "weight_decay": 0.9}
        return moving(AdamW(named, **settings), values)

    (ours, our_state), (theirs, their_state) = run(THERE), run("cpu")
    for a, b in zip(ours, theirs):
        assert np.allclose(a, b, rtol=1e-5, atol=1e-6)
    assert our_state.keys() == their_state.keys()
    assert our_state["step/late"] == 2
    for name, array in our_state.items():
        assert np.allclose(array, their_state[name], rtol=1e-5, atol=1e-6), name


def test_no_update_is_made_when_the_loss_is_not_finite_though_the_gradients_are():
    method = language_model(THERE)
    optimizer = AdamW(method.model.named_parameters(), lr=0.1)
    before = method.model.state_dict()
    for parameter in method.model.parameters():
        parameter.grad = torch.ones_like(parameter.array)
    optimizer.step_if_finite(torch.tensor(math.inf))
    after = method.model.state_dict()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    norm = optimizer.step_if_finite(torch.tensor(1.0))
    assert float(norm) == pytest.approx(math.sqrt(method.model.num_parameters()), rel=1e-6)
    assert not np.array_equal(before["tokens.weight"], method.model.state_dict()["tokens.weight"])


def test_numbers_are_read_one_step_later_and_none_is_lost(without_kernels):
    """While step k is computed, its loss is not asked for; at the end all are there."""
    read = []

    class Watched(GPTPretraining):
        def loss(self, batch, generator):
            read.append("begin")
            return super().loss(batch, generator)

    method = language_model(THERE)
    method.__class__ = type("WatchedStopping", (Watched,), {})
    optimizer = AdamW(method.model.named_parameters(), lr=0.01)
    real = optimizer.step_if_finite

    class Loss:
        def __init__(self, value):
            self.value = value

        def __float__(self):
            read.append("read")
            return float(self.value)

    optimizer.step_if_finite = lambda loss, max_norm: Loss(real(loss, max_norm))
    history = fit(method, optimizer, steps=3, checkpoint_every=3, progress=False)
    assert read == ["begin", "begin", "read", "begin", "read", "read"]
    assert [record["step"] for record in history] == [1, 2, 3]


def test_the_first_record_of_the_log_names_device_and_precision(without_kernels):
    method = language_model(THERE)
    optimizer = AdamW(method.model.named_parameters())
    history = fit(method, optimizer, steps=5, log_every=2, precision="bfloat16", progress=False)
    assert [record["step"] for record in history] == [2, 4, 5]
    assert (history[0]["device"], history[0]["precision"]) == (THERE, "bfloat16")
    assert all("device" not in record for record in history[1:])


def test_the_mean_loss_of_bfloat16_batches_has_more_digits(without_kernels):
    class Counting(GPTPretraining):
        """Losses that bfloat16 can tell apart, and whose mean it cannot."""

        def loss(self, batch, generator):
            self.calls = getattr(self, "calls", -1) + 1
            return super().loss(batch, generator) * 0.0 + (1 + self.calls / 128)

    method = language_model(THERE)
    method.__class__ = type("CountingStopping", (Counting,), {})
    optimizer = AdamW(method.model.named_parameters(), lr=0.0)
    history = fit(method, optimizer, steps=1, accumulate=4, precision="bfloat16", progress=False)
    assert history[0]["loss"] == 1 + 1.5 / 128


def test_batches_of_every_shape_move():
    array = np.arange(3)
    batch = {"a": array, "b": [array, (array, "text")], "c": None, "d": 3}
    moved = move_batch(batch, THERE)
    assert isinstance(moved["a"], torch.Tensor)
    assert isinstance(moved["b"][1], tuple)
    assert isinstance(moved["b"][1][0], torch.Tensor)
    assert moved["b"][1][1] == "text"
    assert (moved["c"], moved["d"]) == (None, 3)
    assert move_batch(array, "cpu") is array


# ---- precision -----------------------------------------------------------------------------------


def test_bfloat16_follows_float32():
    """The losses agree within what bfloat16 allows; the masters and moments stay in float32."""
    exact, method = train(language_model("cpu"), steps=3), language_model(THERE)
    history = train(method, steps=3, precision="bfloat16")
    for name in ("loss", "held_out_loss"):
        assert np.allclose(exact.column(name)[1], history.column(name)[1], rtol=0.03)
    assert history[1]["precision"] == "bfloat16"
    assert all(p.array.dtype == torch.float32 for p in method.model.parameters())
    losses = [record["loss"] for record in history[1:]]
    assert losses != [record["loss"] for record in exact[1:]]


def test_bfloat16_follows_float32_for_long(without_kernels):
    """Hundreds of steps: both learn the same from the same batches."""
    runs = [
        train(
            language_model(THERE, batch_size=4),
            steps=200,
            evaluate_every=50,
            peak=5e-3,
            precision=precision,
        )
        for precision in ("float32", "bfloat16")
    ]
    first, last = (history.column("held_out_loss")[1] for history in runs)
    assert np.allclose(first, last, rtol=0.02)
    means = [np.mean(history.losses()[-50:]) for history in runs]
    assert means[1] == pytest.approx(means[0], rel=0.01)
    assert last[-1] < last[0] - 0.1  # it does learn


def test_no_gradient_is_no_step():
    optimizer = AdamW(language_model(THERE).model.named_parameters())
    assert float(optimizer.step_if_finite(1.0)) == 0


def test_small_updates_are_not_lost():
    """A thousand updates of 1e-4 move a weight of 1 by 0.1; in bfloat16 it would not move."""
    model = Module()
    model.weight = Parameter(torch.ones(4))
    for _ in range(100):
        with computing_in("bfloat16", model):
            assert model.weight.array.dtype == torch.bfloat16
            (model.weight * 1e-3).sum().backward()
        model.weight.array -= model.weight.grad
        model.weight.grad = None
    assert torch.allclose(model.weight.array, torch.full((4,), 0.9), atol=1e-3)


def test_gradients_add_up_in_float32():
    model = Module()
    model.weight, model.buffer = Parameter(torch.ones(3)), Tensor(torch.ones(3))
    for scale in (1.0, 2**-10):
        with computing_in("bfloat16", model):
            assert model.buffer.array.dtype == torch.float32
            (model.weight * scale).sum().backward()
    assert torch.equal(model.weight.grad, torch.full((3,), 1 + 2**-10))
    with pytest.raises(Interrupted), computing_in("bfloat16", model):
        raise Interrupted
    assert model.weight.array.dtype == torch.float32
    assert torch.equal(model.weight.grad, torch.full((3,), 1 + 2**-10))


def test_a_checkpoint_of_one_precision_continues_in_the_other(without_kernels, tmp_path):
    with pytest.raises(Interrupted):
        train(language_model(THERE, Interrupted), tmp_path, precision="bfloat16")
    history = train(language_model("cpu"), tmp_path)
    assert history[-1]["step"] == 6
    assert history[-1]["held_out_loss"] == pytest.approx(
        train(language_model("cpu"))[-1]["held_out_loss"], rel=0.02
    )


def test_precisions_that_are_not_there():
    with pytest.raises(ValueError, match="precision must be one of"):
        train(language_model(THERE), precision="float16")
    with pytest.raises(ValueError, match="'bfloat16' needs a GPU"):
        train(language_model("cpu"), precision="bfloat16")
