"""Bytes of an adaptation against sums by hand, and a method that is as it was afterwards."""

import numpy as np
import pytest

from minissl.adapt import adaptation_names, load_adaptation
from minissl.adapt.costs import Costs, costs, full_costs, in_words, readable
from minissl.adapt.method import Task
from minissl.adapt.trained import Trained
from minissl.optim import SGD, AdaGrad
from tests.adapt.toy import PAIRS, TINY, adapted, adapting, toy_base, toy_labelled

TRAINED = [name for name in adaptation_names() if issubclass(load_adaptation(name), Trained)]
D, LAYERS, VOCABULARY, CONTEXT, CLASSES = 16, 1, 300, 12, 2  # of tests.pretrain.toy
RANK, PROMPTS, PREFIX, MIDDLE, EXPERTS = (
    TINY[name] for name in ("rank", "prompts", "prefix", "middle", "experts")
)
BLOCK = 12 * D * D + 13 * D
GPT = (VOCABULARY + CONTEXT) * D + LAYERS * BLOCK + 2 * D
HEAD = CLASSES * D + CLASSES
NUMBERS = {  # that are trained below the head
    "finetune": GPT,
    "lora": LAYERS * 2 * (2 * RANK * D),
    "adapters": LAYERS * 2 * (2 * MIDDLE * D + MIDDLE + D),
    "prompts": PROMPTS * D,
    "prefixes": LAYERS * 2 * PREFIX * D,
    "experts": LAYERS * 2 * (EXPERTS * 2 * RANK * D + EXPERTS * D),
    "bias": LAYERS * (4 * D + 5 * D + 2 * D) + D,
    "last-layers": BLOCK + 2 * D,
    "layers-on-top": BLOCK + 2 * D,
}
PUT_IN = {"lora", "adapters", "prompts", "prefixes", "experts", "layers-on-top"}


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases")
    return {name: toy_base(name, folder / name) for name in sorted({base for _, base in PAIRS})}


def built(name, opened, **changes):
    kind = load_adaptation(name)
    task = Task.prepare(opened.data, toy_labelled(name, opened), kind.labels)
    return kind.build(adapting(name, **changes), opened, task, seed=0)


@pytest.mark.parametrize("name", sorted(NUMBERS))
def test_of_a_gpt_they_are_what_one_adds_up_by_hand(name, bases):
    """4 bytes for each weight, as many for each gradient, and two averages of AdamW."""
    found = costs(built(name, bases["gpt"]))
    trained = 4 * (NUMBERS[name] + HEAD)
    assert (found.trained, found.gradients, found.optimizer) == (trained, trained, 2 * trained)
    assert found.weights == 4 * (GPT + HEAD + (NUMBERS[name] if name in PUT_IN else 0))
    assert found.memory == found.weights + 3 * trained
    assert trained < found.saved < trained + 400 * 60, "the file: its header and the weights"


def test_every_form_is_in_the_table_by_hand():
    of_gpt = {name for name, base in PAIRS if base == "gpt" and name in TRAINED}
    assert of_gpt == NUMBERS.keys()


def test_a_small_network_gives_the_prefixes(bases):
    found = costs(built("prefixes", bases["gpt"], reparametrize=True))
    words = PREFIX * D + MIDDLE * D + MIDDLE
    assert found.trained == 4 * (words + LAYERS * (2 * D * MIDDLE + 2 * D) + HEAD)


@pytest.mark.parametrize("base", ["gpt", "simclr"])
def test_what_is_computed_of_full_finetuning_is_what_is_counted(base, bases):
    opened = bases[base]
    full = costs(built("finetune", opened))
    for name in ("finetune", "lora"):
        method = built(name, opened)
        computed = full_costs(opened, method)
        assert computed == full
    assert costs(method).shares_of(full)["trained"] < 1


def test_other_optimizers_remember_less(bases):
    method = built("finetune", bases["gpt"])
    for kind, named in ((SGD, "sgd"), (AdaGrad, "adagrad")):
        method.settings = adapting("finetune", optimizer_name=named)
        found = costs(method)
        assert isinstance(method.settings.optimizer(method.model), kind)
        assert found.optimizer == found.trained == 4 * (GPT + HEAD)


@pytest.mark.parametrize(("name", "base"), [pair for pair in PAIRS if pair[0] in TRAINED])
def test_afterwards_all_is_as_it_was(name, base, bases, tmp_path):
    """Also the arrays themselves, gradients and modes; and the file is as large as was said."""
    made = adapted(name, bases[base], tmp_path)
    method = made.method
    tensors = dict(method.model.named_tensors())
    some = next(t for t in tensors.values() if t.requires_grad)
    some.grad = np.ones(some.shape, some.dtype)
    before = {n: (t.array, t.array.tobytes(), t.grad) for n, t in tensors.items()}
    modes = [(m, dict(vars(m))) for _, m in method.model.named_modules()]
    found = costs(method)
    assert found == costs(method)
    for n, t in method.model.named_tensors():
        array, bytes_, gradient = before[n]
        assert t.array is array
        assert t.array.tobytes() == bytes_
        assert t.grad is gradient
    assert all(vars(m) == old for m, old in modes)
    (file,) = tmp_path.glob("checkpoints/step-00000004/model.safetensors")
    assert file.stat().st_size == found.saved
    assert found.gradients == found.trained


def test_what_cannot_be_counted_is_said(bases, tmp_path):
    from minissl.adapt.run import open_adaptation

    adapted("lora", bases["gpt"], tmp_path)
    with pytest.raises(ValueError, match="opened to be used"):
        costs(open_adaptation(tmp_path).method)
    with pytest.raises(TypeError, match=r"trained by steps .* got a Probe"):
        costs(adapted("probe", bases["gpt"]).method)


def test_in_words():
    own = Costs(1_000_000, 1000, 1000, 2000, 1200)
    full = Costs(990_000, 990_000, 990_000, 1_980_000, 991_000)
    lines = in_words(own, full)
    assert lines[0] == "bytes: weights 1 MB, gradients 1 kB, optimizer 2 kB, saved 1.2 kB"
    assert lines[1].startswith("full fine-tuning: weights 990 kB, gradients 990 kB")
    assert lines[2] == (
        "so 0.1 % of the gradients, 0.1 % of the optimizer and 0.12 % of the file: "
        "25 % of the memory before activations"
    )
    assert len(in_words(own)) == 1
    sizes = [readable(n) for n in (12, 1200, 999_499, 999_500, 1_240_000, 5 * 10**13)]
    assert sizes == ["12 bytes", "1.2 kB", "999 kB", "1 MB", "1.24 MB", "5e+04 GB"]
