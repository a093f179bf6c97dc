"""Forgetting: the old loss by hand, and who can forget nothing at all."""

import shutil

import numpy as np
import pytest

from minissl.adapt.forgetting import AFTER, BEFORE, TAKEN_OFF, forgetting, take_off
from minissl.adapt.replacing import replace_modules
from minissl.adapt.run import open_adaptation
from minissl.cli import main
from minissl.pretrain.run import open_run
from tests.adapt.toy import adapted, toy_base
from tests.pretrain.toy import toy_data

BASES = ("gpt", "bert", "simclr")
FAST = {"learning_rate": 0.05, "steps": 6}
IN_PLACE = ("finetune", "bias", "last-layers")  # of weights that nobody has any more
PUT_IN = ("lora", "adapters", "experts", "prefixes")  # the old weights are there, below
BESIDE = ("prompts", "layers-on-top", "probe")  # not in the way of the old loss
CASES = [
    *((name, base) for name in ("finetune", "lora") for base in BASES),
    *((name, "gpt") for name in (*IN_PLACE[1:], *PUT_IN[1:], *BESIDE)),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Toy runs, each with some adaptations beside it."""
    folder = tmp_path_factory.mktemp("runs")
    opened = {base: toy_base(base, folder / base) for base in BASES}
    for name, base in CASES:
        adapted(name, opened[base], folder / f"{base}-{name}", changes=FAST)
    return folder


def old_data(run, seed=0):
    return toy_data(run.name, run.settings, seed=seed)


@pytest.mark.parametrize(("name", "base"), CASES)
def test_before_and_after(name, base, runs):
    run = open_run(runs / base)
    raw = old_data(run)
    expected = run.on(run.prepare(raw)).evaluate()
    found = forgetting(open_adaptation(runs / f"{base}-{name}"), raw)
    assert found[BEFORE] == expected
    assert expected["held_out_loss"] > 0
    assert (TAKEN_OFF in found) == (name in PUT_IN or name == "prompts")
    if name in BESIDE:
        assert found[AFTER] == expected
    else:
        assert abs(found[AFTER]["held_out_loss"] - expected["held_out_loss"]) > 1e-4
    if TAKEN_OFF in found:
        assert found[TAKEN_OFF] == expected, "to the last bit: nothing was forgotten"


@pytest.mark.parametrize("base", BASES)
def test_after_is_the_old_method_with_the_new_encoder_in_it(base, runs):
    """By hand: copy the fine-tuned encoder's arrays into the pretrained model, keep its heads."""
    run, opened = open_run(runs / base), open_adaptation(runs / f"{base}-finetune")
    raw = old_data(run, seed=4)
    by_hand = run.on(run.data.unseen(raw))
    by_hand.encoder.load_state_dict(opened.method.base.encoder.state_dict())
    found = forgetting(opened, raw)
    assert found[AFTER] == by_hand.evaluate()
    assert found[BEFORE] == run.on(run.data.unseen(raw)).evaluate()


def test_merged_or_not_it_forgets_the_same(runs, tmp_path):
    from minissl.adapt.merging import save_merged

    opened = open_adaptation(runs / "gpt-lora")
    save_merged(opened, tmp_path / "merged")
    raw = old_data(open_run(runs / "gpt"))
    merged = forgetting(open_adaptation(tmp_path / "merged"), raw)
    assert TAKEN_OFF not in merged, "it cannot be taken out of the weights again"
    for when, metrics in merged.items():
        for name, value in forgetting(opened, raw)[when].items():
            assert metrics[name] == pytest.approx(value, rel=1e-5)


def test_what_is_taken_off_leaves_the_plain_network(runs):
    opened = open_adaptation(runs / "gpt-prefixes")
    plain = open_run(runs / "gpt").method.model
    model = opened.method.base.model
    assert take_off(model) == ["transformer.blocks.0.attention"]
    assert take_off(model) == []
    theirs = plain.state_dict()
    assert model.state_dict().keys() == theirs.keys()
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, theirs[name])
    assert replace_modules(model, lambda path, module: None) == []


def test_where_there_is_nothing_to_forget(runs, tmp_path):
    gpt = open_run(runs / "gpt")
    adapted("finetune", gpt, tmp_path / "random", changes={"start": "random"})
    with pytest.raises(ValueError, match="random weights: it had nothing to forget"):
        forgetting(open_adaptation(tmp_path / "random"), old_data(gpt))
    words = toy_base("skipgram", tmp_path / "words")
    adapted("network", words, tmp_path / "network")
    with pytest.raises(ValueError, match=r"a network of its own|measures nothing"):
        forgetting(open_adaptation(tmp_path / "network"), old_data(words))


def test_the_command(runs, tmp_path, capsys):
    """On other data, without the run that is needed, and on data that is no longer there."""
    book = tmp_path / "book.txt"
    book.write_text("A cat sat on a mat, and a dog sat on a cat.\n\n" * 40, encoding="utf-8")
    raw = open_run(runs / "gpt").read(book)
    for name in ("lora", "finetune"):
        run = runs / f"gpt-{name}"
        found = forgetting(open_adaptation(run), raw)
        assert main(["forget", str(run), str(book)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].split() == ["before", "after", *["taken", "off"] * (name == "lora")]
        loss = next(line for line in lines if line.startswith("held out loss")).split()[3:]
        assert loss == [f"{found[when]['held_out_loss']:.6g}" for when in found]
    shutil.copytree(runs / "gpt-finetune", tmp_path / "alone")
    (runs / "gpt").rename(runs / "gone")
    try:
        assert main(["forget", str(tmp_path / "alone"), str(book)]) == 1
        assert "say where it is (--base)" in capsys.readouterr().err
    finally:
        (runs / "gone").rename(runs / "gpt")
    assert (
        main(["forget", str(runs / "gpt-lora")]) == 1
    )  # data that every machine has is not its own
    assert "nobody knows what was held out" in capsys.readouterr().err
    base = ["--base", str(runs / "gpt")]
    assert main(["forget", str(tmp_path / "alone"), str(book), *base]) == 0
    capsys.readouterr()
    assert main(["forget", str(runs / "gpt"), str(book)]) == 1
    assert "which was not adapted" in capsys.readouterr().err


def test_without_data_it_is_what_the_run_held_out_of_its_own(tmp_path, capsys):
    """The text is read again from where it was, and split as it was."""
    text, table = tmp_path / "text.txt", tmp_path / "labels.csv"
    text.write_text("A cat sat on a mat, and a dog on a cat.\n\n" * 60, encoding="utf-8")
    rows = [f"a {'cat' if i % 2 else 'dog'} {i},{i % 2}\n" for i in range(30)]
    table.write_text("text,label\n" + "".join(rows), encoding="utf-8")
    run, adaptation = str(tmp_path / "gpt"), str(tmp_path / "lora")
    sizes = "--vocab-size 300 --steps 4 --num-layers 1 --width 16 --num-heads 2 --batch-size 4"
    few = ["--context-length", "24", "--quiet"]
    assert main(["pretrain", "gpt", str(text), "--run", run, *sizes.split(), *few]) == 0
    steps = ["--steps", "3", "--learning-rate", "0.05", "--quiet"]
    assert main(["adapt", "lora", run, str(table), "--run", adaptation, *steps]) == 0
    printed = capsys.readouterr().out
    assert "of the memory before activations" in printed
    assert main(["evaluate", run]) == 0
    own = dict(line.rsplit(" ", 1) for line in capsys.readouterr().out.splitlines())
    assert main(["forget", adaptation]) == 0
    heads, *lines = capsys.readouterr().out.splitlines()
    assert heads.split() == ["before", "after", "taken", "off"]
    for line in lines:
        name, before, after, off = line.rsplit(maxsplit=3)
        assert before == off == next(v for n, v in own.items() if n.strip() == name.strip())
        assert after != before
