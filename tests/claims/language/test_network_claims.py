"""The claims that compare language models: sizes, operations, contexts and probes by hand."""

import numpy as np
import pytest

from minissl.adapt.heads.probe import linear_probe
from minissl.claims.claim import Setup
from minissl.claims.experiments.language import characters_and_subwords as characters
from minissl.claims.experiments.language import lstm_transformer as networks
from minissl.claims.experiments.language import perplexity_probes as probes
from minissl.claims.gpt_on_english import encoded
from minissl.data import Kept
from minissl.data.labels import rank_correlation
from minissl.data.texts import LabelledTexts
from minissl.losses.language_modeling import next_token_loss
from minissl.models.gpt import GPTConfig
from minissl.models.recurrent import RecurrentConfig
from minissl.text.documents import Document
from tests.claims.reading import cells, require_whole
from tests.pretrain.toy import toy_data, toy_settings

NAMES = ("lstm-transformer", "perplexity-probes")
SEEDS = [0]


@pytest.mark.parametrize("name", NAMES)
def test_a_claim_runs_from_end_to_end(runs, name):
    require_whole(name, *runs(name))


# ---- LSTM and Transformer ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny():
    """Streams of a few documents, and a setup of small networks."""
    texts = [Document(f"{i}", "", "to be or not to be, that is it. " * (1 + i)) for i in range(6)]
    sizes = {"width": 16, "num_heads": 2, "context_length": 8, "batch_size": 3, "steps": 2}
    sizes |= {"lstm_width": 24}
    return encoded(texts[:4], texts[4:], 270), Setup(0, {**networks.SIZE, **sizes})


@pytest.mark.parametrize("scale", ["quick", "small", "full"])
def test_both_networks_have_as_many_weights(scale):
    sizes = networks.CLAIM.scales[scale]
    d, width, vocab_size = sizes["width"], sizes["lstm_width"], sizes["vocab_size"]
    one = GPTConfig(
        vocab_size=vocab_size, context_length=sizes["context_length"], width=d,
        num_layers=sizes["num_layers"], num_heads=sizes["num_heads"], tied_output=False,
    )  # fmt: skip
    other = RecurrentConfig(vocab_size=vocab_size, width=width, num_layers=sizes["lstm_layers"])
    assert one.num_parameters() == pytest.approx(other.num_parameters(), rel=0.03)


def test_the_operations_of_a_step_by_hand(tiny):
    data, setup = tiny
    settings, method, per_step = networks.transformer(setup, data)
    assert per_step == characters.flops_per_step(method.network.config, settings.batch_size)
    _, method, per_step = networks.lstm(setup, data)
    tokens, d = 3 * 8, 24  # gates from the input and from the state: 4 d² each
    assert method.network.config.width == d
    assert per_step == 6 * tokens * (2 * 4 * d * d + data.tokenizer.vocab_size * d)


def test_the_last_row_spends_what_the_transformer_does(runs):
    table = runs("lstm-transformer")[0]
    work = {row: value for row, [value] in cells(table, networks.WORK).items()}
    read = {row: value for row, [value] in cells(table, networks.READ).items()}
    assert work[networks.MORE] == pytest.approx(work[networks.TRANSFORMER], rel=0.05)
    assert read[networks.MORE] > read[networks.TRANSFORMER] == read[networks.LSTM]
    assert work[networks.LSTM] < work[networks.TRANSFORMER]
    weights = {row: value for row, [value] in cells(table, networks.WEIGHTS).items()}
    assert weights[networks.LSTM] == pytest.approx(weights[networks.TRANSFORMER], rel=0.03)


def test_windows_reach_into_no_other_document(tiny):
    data, _ = tiny
    windows = networks.windows_of(data, 8)
    assert windows.shape[1] == 9
    assert not (windows == data.separator).any()
    tokens = [data.tokenizer.encode("to be or not to be, that is it. " * n) for n in (5, 6)]
    starts = sum(len(range(0, len(one) - 8, networks.STRIDE)) for one in tokens)
    assert len(windows) == starts > 2


def test_a_loss_after_each_number_of_tokens(tiny):
    data, setup = tiny
    windows = networks.windows_of(data, 8)
    for build in (networks.transformer, networks.lstm):
        model = build(setup, data)[1].network
        found = networks.by_context(model, windows)
        for known in (1, 5, 8):
            logits = model(windows[:, :known])[:, -1:]
            alone = next_token_loss(logits, windows[:, known : known + 1]).item()
            assert found[known - 1] == pytest.approx(alone, rel=1e-4)


def test_octaves_by_hand():
    firsts, means = networks.in_octaves(np.arange(1.0, 9.0))
    assert (firsts, means) == ([1, 2, 4], [1, 2.5, 6])
    assert networks.in_octaves(np.arange(1.0, 17.0))[1] == [1, 2.5, 5.5, 12]


# ---- perplexity and probes -----------------------------------------------------------------------


def test_what_is_measured_while_it_is_trained(runs):
    """The first point is the untrained network, the last that of the table."""
    result = runs("perplexity-probes")[0]
    [curves] = result["curves"]
    for name in probes.RUNS:
        x, y = curves[name]
        row = {column: cell["values"][0] for column, cell in result["table"][name].items()}
        assert len(x) == 2
        assert (row[probes.PERPLEXITY], row[probes.AFTER]) == (x[-1], y[-1])
        assert row[probes.BEFORE] == y[0]
        assert row[probes.ORDER] == pytest.approx(rank_correlation(x, y))


@pytest.mark.parametrize("kind", [probes.ProbedGPT, probes.ProbedLSTM])
def test_a_probe_beside_the_perplexity(kind):
    name = "gpt" if kind is probes.ProbedGPT else "lstm"
    settings = toy_settings(name)
    data = toy_data(name, settings).prepare(Kept(), settings)
    method = kind.build(settings, data, seed=0)
    whole = data.labelled(LabelledTexts.toy()).split()
    method.parts = learn, test = [probes.cut(part, 5) for part in whole]
    assert {len(tokens) for tokens in learn.inputs} == {5}
    assert learn.inputs[0] == whole[0].inputs[0][:5]
    found = method.evaluate()
    probe = linear_probe(method.represent(learn.inputs), learn.labels)
    right = probe.predict(method.represent(test.inputs)) == test.labels
    assert found.pop("probe_accuracy") == pytest.approx(100 * right.mean())
    assert found == super(probes.Probed, method).evaluate()
