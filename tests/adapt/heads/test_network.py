"""Word vectors under a network: torch's LSTM, padding, what is kept, what goes on learning."""

import numpy as np
import pytest
import torch

from minissl.adapt.heads.network import Network, word_table
from minissl.adapt.method import Task
from minissl.adapt.run import adapt, open_adaptation
from minissl.cli import main
from minissl.nn.evaluating import evaluating
from tests.adapt.toy import adapted, adapting, toy_base, toy_labelled

TEXTS = [[5, 6, 7], [1, 2, 3, 4, 5, 6, 7, 8, 9], [0], [], [3, 0, 0, 2, 9]]
every_network = pytest.mark.parametrize("network", ["lstm", "transformer"])
every_reading = pytest.mark.parametrize("read", ["mean", "last"])


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    return toy_base("skipgram", tmp_path_factory.mktemp("bases") / "words")


def built(opened, **changes):
    task = Task.prepare(opened.data, toy_labelled("network", opened), "class")
    return Network.build(adapting("network", **changes), opened, task, seed=0)


@every_network
@every_reading
def test_padding_and_other_texts_change_nothing(network, read, opened):
    base = built(opened, network=network, read=read, layers=2).base
    with evaluating(base.model):
        together = base.encode(base.collate(TEXTS)).numpy()
        for row, text in zip(together, TEXTS):
            alone = base.encode(base.collate([text])).numpy()[0]
            np.testing.assert_allclose(row, alone, rtol=1e-5, atol=1e-6)
            longer = base.encode(base.collate([[1] * 40, text])).numpy()[1]
            np.testing.assert_allclose(row, longer, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(together[2], together[3])  # no word is an unknown one


@every_reading
def test_the_states_are_those_of_torchs_lstm(read, opened):
    base = built(opened, read=read, layers=2).base
    width, hidden = opened.method.width, base.width
    torchs = torch.nn.LSTM(width, hidden, num_layers=2, batch_first=True)
    ours = base.model.lstm.state_dict().items()
    torchs.load_state_dict({name: torch.tensor(array) for name, array in ours})
    found = base.represent(TEXTS)
    for row, text in zip(found, TEXTS):
        vectors = torch.tensor(base.model.vectors.numpy()[text or [0]])
        states = torchs(vectors[None])[0][0].detach().numpy()
        expected = states.mean(axis=0) if read == "mean" else states[-1]
        np.testing.assert_allclose(row, expected, rtol=1e-4, atol=1e-6)


@every_network
def test_the_order_of_words_matters_and_what_is_too_long_does_not(network, opened):
    base = built(opened, network=network, context_length=4).base
    one, other, cut = base.represent([[1, 2, 3, 4], [2, 1, 3, 4], [1, 2, 3, 4, 5, 6]])
    assert np.abs(one - other).max() > 1e-4
    np.testing.assert_allclose(one, cut, rtol=1e-5, atol=1e-6)


def test_what_the_network_begins_with(opened):
    vectors = opened.method.vectors().matrix
    table = built(opened).base.model.vectors.numpy()
    assert np.mean(table[1:] ** 2) == pytest.approx(1)
    ratio = table[1:] / vectors
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-4)  # one number for all
    other = built(opened, vectors="random").base.model.vectors.numpy()
    np.testing.assert_array_equal(other[0], table[0])  # of unknown words, and it is one
    assert np.mean(other**2) == pytest.approx(1, rel=0.2)
    assert abs(np.corrcoef(other[1:].ravel(), vectors.ravel())[0, 1]) < 0.3
    nothing = word_table(np.zeros((3, 4), np.float32), "pretrained", np.random.default_rng(0))
    np.testing.assert_array_equal(nothing[1:], 0)


@pytest.mark.parametrize("vectors", ["pretrained", "random"])
@pytest.mark.parametrize("learn", [True, False])
def test_vectors_learn_or_stay_and_are_kept(vectors, learn, opened, tmp_path):
    changes = {"vectors": vectors, "learn_vectors": learn}
    begun = built(opened, **changes).base.model.vectors.numpy()
    made = adapted("network", opened, tmp_path, seed=0, changes=changes)
    ended = made.method.base.model.vectors.numpy()
    assert np.array_equal(begun, ended) != learn
    again = open_adaptation(tmp_path)
    np.testing.assert_array_equal(again.method.base.model.vectors.numpy(), ended)
    inputs = made.data.held_out.inputs
    np.testing.assert_array_equal(
        again.method.probabilities(inputs), made.method.probabilities(inputs)
    )


@every_network
def test_it_learns(network, opened):
    settings = adapting("network", network=network, steps=60, batch_size=16, learning_rate=1e-2)
    data = toy_labelled("network", opened)
    made = adapt(Network, opened, data, settings, progress=False)
    assert made.method.evaluate()["held_out_accuracy"] > 0.9


def test_a_width_that_heads_do_not_divide(opened):
    with pytest.raises(ValueError, match="num_heads must divide"):
        built(opened, network="transformer", heads=3)


def test_the_commands(opened, tmp_path, capsys):
    for name, about in (("sitting", "the cat sat on the mat"), ("running", "a dog ran to the log")):
        (tmp_path / "texts" / name).mkdir(parents=True)
        for number in range(6):
            text = f"{about} {'and ' * number} my bird sang"
            (tmp_path / "texts" / name / f"{number}.txt").write_text(text, encoding="utf-8")
    run = str(tmp_path / "run")
    told = ["adapt", "network", str(opened.folder), str(tmp_path / "texts"), "--run", run]
    assert main([*told, "--steps", "30", "--hidden", "8", "--quiet"]) == 0
    assert "held out accuracy" in capsys.readouterr().out
    out = tmp_path / "predicted.csv"
    assert main(["predict", run, str(tmp_path / "texts"), "--out", str(out)]) == 0
    assert len(out.read_text(encoding="utf-8").splitlines()) == 13
