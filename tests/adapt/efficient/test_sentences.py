"""What a person is told who asks for what does not go: minissl adapt, without a traceback."""

import pytest

from minissl.cli import main

INSTEAD = "take layers-on-top or finetune"


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Texts with labels, in a file."""
    path = tmp_path_factory.mktemp("sentences") / "texts.tsv"
    rows = [
        f"{'good' if i % 2 else 'bad'}\tthe film was {'fine' if i % 2 else 'dull'} {i}"
        for i in range(24)
    ]
    path.write_text("\n".join(["label\ttext", *rows]) + "\n", encoding="utf-8")
    return str(path)


def call(bases, table, words, run):
    first, base, *rest = words.split()
    few = ("--steps", "2", "--evaluations", "1", "--quiet", "--run", run)
    return main(["adapt", first, str(bases[base].folder), table, *few, *rest])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("lora lstm", f"no Linear or Conv2d that LoRA could stand beside: {INSTEAD}"),
        ("lora lstm", "a recurrent one bias, last-layers and prompts"),
        ("lora gpt --rank 17", "rank must be from 1 to 16 here, got 17"),
        ("lora gpt --where nowhere", "no layer matches 'nowhere'; there are: transformer.blocks.0"),
        ("adapters skipgram", f"no Linear or Conv2d that an adapter could stand behind: {INSTEAD}"),
        ("experts gpt --experts 2 --top 3", "top must be from 1 to 2, the number of experts"),
        ("experts gpt --rank 17", "rank must be from 1 to 16 here, got 17"),
        ("bias skipgram", f"this network has no biases: {INSTEAD}"),
        ("last-layers skipgram", f"of which the last could be trained: {INSTEAD}"),
        ("last-layers bert --layers 2", "layers is 2, this network has 1: give fewer"),
        ("layers-on-top gpt --heads 3", "heads is 3, which does not divide 16"),
        ("prompts gpt --prompts 5", "of which 8 are for a text: give 4 or fewer"),
        ("prompts gpt --words good --begin random", "words are given, and begin=random uses none"),
        ("prompts skipgram", "prompts needs a run of elmo, gpt, lstm, bert"),
        ("prefixes lstm", f"no attention that a prefix could stand before: {INSTEAD}"),
        ("prefixes gpt --prefix 13", "give fewer, or begin=random"),
        ("finetune bert --lm-weight 0.5", "predicts no next token: leave it out, or give a run of"),
        ("finetune skipgram --vector last", "has one vector for each example: leave it out"),
    ],
)  # fmt: skip
def test_one_sentence_and_nothing_written(words, told, bases, table, capsys, tmp_path):
    assert call(bases, table, words, str(tmp_path / "run")) == 1
    printed = capsys.readouterr().err
    assert told in printed
    assert printed.startswith("minissl: ")
    assert "Traceback" not in printed
    assert printed.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "words",
    [
        "finetune gpt --lm-weight 0.5 --optimizer-name sgd --start random",
        "prompts lstm --prompts 3 --words good",
        "prefixes bert --prefix 12 --reparametrize",
        "experts gpt --experts 1 --top 1 --rank 16",
    ],
)
def test_what_goes_is_kept_and_predicts(words, bases, table, capsys, tmp_path):
    run = str(tmp_path / "run")
    assert call(bases, table, words, run) == 0
    assert "weights trained" in capsys.readouterr().out
    assert main(["predict", run, table]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 25
