"""LoRA: identical at the start, merged it is the same model, and nothing else moves or is saved."""

import numpy as np
import pytest
import torch

from minissl.adapt.efficient.lora import LoRA, LoRAAdaptation, add_lora, merge_lora
from minissl.adapt.heads.finetune import Finetune
from minissl.adapt.run import adapt
from minissl.autograd.gradcheck import gradcheck
from minissl.models.convolutional import ConvEncoder
from minissl.models.generate import generate
from minissl.models.gpt import GPT, GPTConfig
from minissl.nn.convolution import Conv2d
from minissl.nn.layers import Embedding, Linear
from minissl.nn.transformer import Transformer
from minissl.pretrain import load_method
from tests.adapt.toy import adapting, toy_labelled
from tests.pretrain.toy import toy_method

SIZES = GPTConfig(vocab_size=50, context_length=12, num_layers=2, width=16, num_heads=2)


def gpt():
    return GPT(SIZES, generator=np.random.default_rng(0)).astype(np.float64)


def encoder():
    return ConvEncoder(8, 3, features=12, generator=np.random.default_rng(0)).astype(np.float64)


def moved(model, seed=1):
    """Every trained number somewhere else, as after training."""
    generator = np.random.default_rng(seed)
    for p in model.parameters():
        if p.requires_grad:
            p.array = p.array + generator.standard_normal(p.shape).astype(p.dtype)
    return model


def inputs(model):
    generator = np.random.default_rng(2)
    if isinstance(model, GPT):
        return generator.integers(50, size=(3, 9))
    return generator.random((3, 8, 8, 3))


def test_the_formula_by_hand():
    """W = 0, down = (1, 2), up = (3, 4)ᵀ, alpha 6 and rank 1: x = (1, 1) gives 6 · 3 · (3, 4)."""
    inner = Linear(2, 2, generator=np.random.default_rng(0))
    layer = LoRA(inner, 1, alpha=6, generator=np.random.default_rng(0))
    inner.weight.array[:], inner.bias.array[:] = 0, [1, 0]
    layer.down.array[:], layer.up.array[:] = [[1, 2]], [[3], [4]]
    np.testing.assert_allclose(layer(np.ones((1, 2), np.float32)).numpy(), [[55, 72]])
    np.testing.assert_allclose(layer.update().numpy(), [[18, 36], [24, 48]])


@pytest.mark.parametrize("relu", [False, True])
def test_a_convolution_has_the_updated_weight(relu):
    generator = np.random.default_rng(0)
    inner = Conv2d(3, 5, 3, stride=2, padding=1, relu=relu, generator=generator)
    layer = moved(LoRA(inner, 2, alpha=4, generator=generator))
    images = generator.random((2, 7, 7, 3), dtype=np.float32)
    weight = inner.weight.numpy() + 2 * (layer.up.numpy() @ layer.down.numpy()).reshape(5, 3, 3, 3)
    expected = torch.nn.functional.conv2d(
        torch.tensor(images).permute(0, 3, 1, 2),
        torch.tensor(weight).permute(0, 3, 1, 2).float(),
        torch.tensor(inner.bias.numpy()), stride=2, padding=1,
    ).permute(0, 2, 3, 1)  # fmt: skip
    expected = expected.clamp(min=0) if relu else expected
    np.testing.assert_allclose(layer(images).numpy(), expected.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [gpt, encoder])
def test_identical_at_the_start_and_the_same_when_merged(make):
    plain, model = make(), make()
    x = inputs(model)
    before = plain(x).numpy()
    names = add_lora(model, 3, generator=np.random.default_rng(5))
    model.astype(np.float64)
    np.testing.assert_array_equal(model(x).numpy(), before)
    trained = moved(model)(x).numpy()
    assert np.abs(trained - before).max() > 0.1
    assert merge_lora(model) == names
    np.testing.assert_allclose(model(x).numpy(), trained, rtol=1e-9, atol=1e-9)
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert [type(m) for _, m in model.named_modules()] == [
        type(m) for _, m in plain.named_modules()
    ]
    for name, array in plain.state_dict().items():
        difference = model.state_dict()[name] - array
        if name.removesuffix(".weight") in names:
            rank = np.linalg.matrix_rank(difference.reshape(len(difference), -1), tol=1e-8)
            assert rank == 3
        else:
            assert not difference.any()


@pytest.mark.parametrize("make", [gpt, encoder])
def test_the_gradient_reaches_the_thin_matrices_alone(make):
    model = make()
    add_lora(model, 2, generator=np.random.default_rng(0))
    moved(model.astype(np.float64))
    x = inputs(model)
    names = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert {n.rpartition(".")[2] for n in names} == {"down", "up"}
    (model(x) ** 2).sum().backward()
    assert all((p.grad is not None) == p.requires_grad for p in model.parameters())
    generator = np.random.default_rng(0)
    inner = Linear(4, 3, generator=generator).astype(np.float64)
    layer = moved(LoRA(inner, 2, generator=generator))
    rows = generator.standard_normal((5, 4))

    def output(down, up):
        layer.down, layer.up = down, up
        return layer(rows)

    gradcheck(output, (layer.down.numpy(), layer.up.numpy()))
    assert inner.weight.grad is None


def test_where_it_is_put():
    names = add_lora(gpt(), 2, generator=np.random.default_rng(0))
    path = "transformer.blocks.{}.attention.{}"
    assert names == [path.format(i, part) for i in (0, 1) for part in ("query", "value")]
    names = add_lora(gpt(), 2, where=r"mlp", generator=np.random.default_rng(0))
    assert len(names) == 4
    assert all("mlp" in name for name in names)
    names = add_lora(encoder(), 2, generator=np.random.default_rng(0))
    assert names == ["convolutions.0", "convolutions.1", "convolutions.2", "output"]
    decoder = Transformer(SIZES, generator=np.random.default_rng(0))
    assert len(add_lora(decoder, 2, where="", generator=np.random.default_rng(0))) == 4


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"where": "nowhere"}, ValueError, "no layer matches 'nowhere'; there are: transformer"),
        ({"where": "("}, ValueError, "no regular expression"),
        ({"rank": 0}, ValueError, "rank must be from 1 to 16 here, got 0"),
        ({"rank": 17}, ValueError, "rank must be from 1 to 16 here, got 17"),
    ],
)
def test_what_is_refused_changes_nothing(options, error, match):
    model = gpt()
    options = {"rank": 2, "where": "", **options}
    with pytest.raises(error, match=match):
        add_lora(model, generator=np.random.default_rng(0), **options)
    assert not [m for _, m in model.named_modules() if isinstance(m, LoRA)]
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("rank", [1, 16])
def test_ranks_at_their_bounds(rank):
    """Of rank 16 any change of these matrices can be learned; of rank 1 one direction."""
    model, plain = gpt(), gpt()
    names = add_lora(model, rank, generator=np.random.default_rng(0))
    moved(model.astype(np.float64))
    merge_lora(model)
    for name in names:
        change = model.state_dict()[f"{name}.weight"] - plain.state_dict()[f"{name}.weight"]
        assert np.linalg.matrix_rank(change, tol=1e-9) == rank


def test_a_recurrent_run_is_told_what_goes_instead():
    for name in ("lstm", "elmo"):
        with pytest.raises(ValueError, match="a recurrent one bias, last-layers and prompts"):
            add_lora(toy_method(name).encoder, 2, generator=np.random.default_rng(0))


def test_other_layers_are_refused():
    table = Embedding(5, 4, generator=np.random.default_rng(0))
    with pytest.raises(TypeError, match="got a Embedding"):
        LoRA(table, 2, generator=np.random.default_rng(0))


def test_a_changed_gpt_still_writes():
    """Sampling asks the whole model, with its cache, where the quick decoder knows no LoRA."""
    model = gpt().astype(np.float32)
    add_lora(model, 2, generator=np.random.default_rng(0))
    moved(model).eval()
    written = list(generate(model, [1, 2, 3], 6, temperature=0))
    merge_lora(model)
    assert list(generate(model, [1, 2, 3], 6, temperature=0)) == written


def before_merging(state, name):
    """The weight of a plain layer, as it is called where something stands around it."""
    layer, _, kind = name.rpartition(".")
    return state.get(name, state.get(f"{layer}.inner.{kind}"))


@pytest.mark.parametrize("base", ["simclr", "gpt", "bert"])
def test_only_the_small_part_is_trained_and_saved(base, bases, tmp_path):
    opened = bases[base]
    settings = adapting("lora", steps=30, learning_rate=1e-2)
    data = toy_labelled("lora", opened)
    made = adapt(LoRAAdaptation, opened, data, settings, tmp_path / "lora", progress=False)
    saved = made.method.saved().state_dict()
    assert {n.rpartition(".")[2] for n in saved if n.startswith("encoder")} == {"up", "down"}
    assert {n for n in saved if not n.startswith("encoder")} == {"head.weight", "head.bias"}
    up = [array for name, array in saved.items() if name.endswith(".up")]
    assert all(np.abs(array).max() > 1e-4 for array in up), "it has moved"
    before = {n: a.tobytes() for n, a in opened.method.encoder.state_dict().items()}
    now = made.method.base.encoder.state_dict()
    frozen = {n.replace(".inner", ""): a.tobytes() for n, a in now.items() if "down" not in n}
    assert {n: frozen[n] for n in before} == before
    expected = made.method.predict(made.data.held_out.inputs)
    logits = made.method.probabilities(made.data.held_out.inputs)
    changes = made.method.base.encoder.state_dict()
    made.method.merge()
    for name, array in made.method.base.encoder.state_dict().items():
        difference = array - before_merging(changes, name)
        assert np.linalg.matrix_rank(difference.reshape(len(array), -1), tol=1e-6) <= 2
    np.testing.assert_allclose(
        made.method.probabilities(made.data.held_out.inputs), logits, rtol=1e-3, atol=1e-5
    )
    np.testing.assert_array_equal(made.method.predict(made.data.held_out.inputs), expected)


def test_the_frozen_part_is_used_as_it_is_evaluated(tmp_path):
    """No dropout below the thin matrices in training: two losses of a batch are one."""
    from minissl.adapt.method import Task
    from minissl.pretrain.run import open_run, pretrain
    from tests.pretrain.toy import toy_data, toy_settings

    settings = toy_settings("gpt", dropout=0.5)
    kind = load_method("gpt")
    pretrain(kind, toy_data("gpt", settings), settings, tmp_path, progress=False)
    opened = open_run(tmp_path)
    task = Task.prepare(opened.data, toy_labelled("lora", opened), "class")
    method = LoRAAdaptation.build(adapting("lora"), opened, task)
    method.model.train()
    batch = method.batch(np.random.default_rng(0))
    losses = [method.loss(batch, np.random.default_rng(seed)).item() for seed in (1, 2)]
    assert losses[0] == losses[1]
    finetune = Finetune.build(adapting("finetune"), opened, task)
    finetune.model.train()
    losses = [finetune.loss(batch, np.random.default_rng(seed)).item() for seed in (1, 2)]
    assert losses[0] != losses[1]
