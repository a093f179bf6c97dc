"""Every adaptation that is trained on every kind of network: it works, or a sentence says why not.

What is frozen stays as the run has it, bit for bit, and what is saved is the small part and the
layer on top.
"""

import numpy as np
import pytest

from minissl.adapt import load_adaptation
from minissl.adapt.method import Task
from minissl.adapt.run import open_adaptation
from tests.adapt.toy import adapted, adapting, toy_labelled

SMALL = ("adapters", "bias", "experts", "last-layers", "layers-on-top", "lora", "prefixes",
         "prompts")  # fmt: skip
BASES = ("bert", "roberta", "spanbert", "gpt", "lstm", "elmo", "simclr", "byol", "resnet",
         "skipgram")  # fmt: skip
RECURRENT, IMAGES = {"lstm", "elmo"}, {"simclr", "byol", "resnet"}
NO_LINEAR = RECURRENT | {"skipgram"}
REFUSED = {
    "adapters": NO_LINEAR, "lora": NO_LINEAR, "experts": NO_LINEAR | {"resnet"},
    "bias": {"skipgram"}, "last-layers": {"skipgram"}, "layers-on-top": set(),
    "prefixes": NO_LINEAR | IMAGES, "prompts": {"skipgram"} | IMAGES, "finetune": set(),
}  # fmt: skip
WRAPPED = ("inner", "below")  # under which a module stands that something was put around
pairs = pytest.mark.parametrize(
    ("name", "base"), [(name, base) for name in REFUSED for base in BASES]
)


def of_run(names):
    """Tensors by the names that they have in the run."""
    return {
        ".".join(part for part in name.split(".") if part not in WRAPPED): tensor.numpy().tobytes()
        for name, tensor in names.items()
    }


@pairs
def test_it_works_or_is_refused_with_a_sentence(name, base, bases):
    opened = bases[base]
    if base in REFUSED[name]:
        with pytest.raises(ValueError, match=r"take layers-on-top or finetune| needs a run of "):
            adapted(name, opened)
        return
    before = {n: t.tobytes() for n, t in opened.method.encoder.state_dict().items()}
    method = adapted(name, opened, changes={"learning_rate": 0.1}).method
    assert {n: t.tobytes() for n, t in opened.method.encoder.state_dict().items()} == before
    inputs = method.task.held_out.inputs
    assert np.isfinite(method.probabilities(inputs)).all()
    tensors = dict(method.base.encoder.named_tensors())
    saved = {n.removeprefix("encoder.") for n in method.saved().state_dict() if "encoder." in n}
    if name == "finetune":
        assert saved == tensors.keys()
        return
    frozen = of_run({n: t for n, t in tensors.items() if n not in saved})
    own = {n: t for n, t in before.items() if n not in saved}
    assert frozen == own, "what is not saved is all of the run's, and as it was"
    started = load_adaptation(name).build(adapting(name), opened, method.task, seed=0)
    begun = started.saved().state_dict()
    moved = [n for n, t in method.saved().state_dict().items() if t.tobytes() != begun[n].tobytes()]
    assert any(n.startswith("encoder.") for n in moved)
    assert any(n.startswith("head.") for n in moved)
    trained = {n for n, p in method.model.named_parameters() if p.requires_grad}
    assert trained == set(method.saved().state_dict())
    assert not [n for n, p in method.model.named_parameters() if not p.requires_grad and
                p.grad is not None]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "base"),
    [("last-layers", "elmo"), ("bias", "resnet"), ("layers-on-top", "skipgram"),
     ("prompts", "lstm"), ("prefixes", "roberta"), ("adapters", "resnet"), ("experts", "byol")],
)  # fmt: skip
def test_the_file_holds_the_small_part_and_no_more(name, base, bases, tmp_path):
    """Counted in bytes; and it is opened as it was, onto the same base."""
    made = adapted(name, bases[base], tmp_path)
    file = next(tmp_path.glob("checkpoints/*/model.safetensors"))
    state = made.method.saved().state_dict()
    assert {n.partition(".")[0] for n in state} == {"encoder", "head"}
    bytes_ = sum(array.nbytes for array in state.values())
    header = 8 + int.from_bytes(file.read_bytes()[:8], "little")
    assert file.stat().st_size == header + bytes_
    moments = next(tmp_path.glob("checkpoints/*/optimizer.safetensors"))
    size = moments.stat().st_size - 8 - int.from_bytes(moments.read_bytes()[:8], "little")
    trained = sum(p.array.nbytes for p in made.method.model.parameters() if p.requires_grad)
    counters = 8 * sum(p.requires_grad for p in made.method.model.parameters())
    assert size == 2 * trained + counters, "two moments of what is trained, none of the rest"
    again, inputs = open_adaptation(tmp_path).method, made.data.held_out.inputs
    np.testing.assert_array_equal(again.probabilities(inputs), made.method.probabilities(inputs))
    other = {"elmo": "lstm", "lstm": "elmo"}.get(base, "gpt")
    with pytest.raises(ValueError, match="other weights"):
        open_adaptation(tmp_path, base=bases[other].folder)


@pytest.mark.parametrize("name", ["adapters", "experts", "lora", "prefixes", "prompts"])
def test_settings_at_their_least(name, bases):
    least = {"middle": 1, "rank": 1, "experts": 1, "top": 1, "prefix": 1, "prompts": 1}
    method = adapted(name, bases["bert"], changes=least).method
    assert np.isfinite(method.evaluate()["held_out_loss"])


def test_the_same_head_begins_whatever_is_below(bases):
    """What is compared differs in what is trained, and not in the layer on top."""
    heads = set()
    for name in (*SMALL, "finetune"):
        task = Task.prepare(bases["bert"].data, toy_labelled(name, bases["bert"]), "class")
        method = load_adaptation(name).build(adapting(name), bases["bert"], task, seed=3)
        heads.add(method.model.head.weight.numpy().tobytes())
    assert len(heads) == 1
