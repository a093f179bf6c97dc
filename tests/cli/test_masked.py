"""The commands on a run of a masked language model: fill, sample, cloze, embed by any vector."""

import numpy as np
import pytest

from minissl.cli import main
from minissl.models.filling import Filler
from minissl.pretrain import load_method
from minissl.pretrain.run import open_run, pretrain
from tests.pretrain.toy import toy_data, toy_settings


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    settings = toy_settings("bert")
    pretrain(load_method("bert"), toy_data("bert", settings), settings, folder, progress=False)
    return folder


def call(capsys, *arguments):
    capsys.readouterr()
    status = main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return said.out if status == 0 else said.err


def test_fill_prints_a_table_for_each_gap(run, capsys):
    said = call(capsys, "fill", run, "--text", "my [MASK] sang a [MASK]", "--count", 3)
    blocks = said.split("\n\n")
    assert [block.splitlines()[0] for block in blocks] == ["gap 1 of 2", "gap 2 of 2"]
    gaps = open_run(run).method.fill("my [MASK] sang a [MASK]", 3)
    for block, gap in zip(blocks, gaps):
        rows = [line.split() for line in block.splitlines()[1:]]
        assert [row[0] for row in rows] == [one.text for one in gap]
        assert [float(row[1]) for row in rows] == [
            pytest.approx(100 * one.probability, abs=0.051) for one in gap
        ]


def test_fill_says_what_is_missing(run, tmp_path, capsys):
    assert "there is no [MASK]" in call(capsys, "fill", run, "--text", "my bird")
    settings = toy_settings("gpt")
    pretrain(load_method("gpt"), toy_data("gpt", settings), settings, tmp_path, progress=False)
    said = call(capsys, "fill", tmp_path, "--text", "a [MASK]")
    assert "'gpt', which cannot fill gaps; methods that can: bert, roberta, spanbert" in said


def test_a_filler_that_cannot_be_printed_is_written_out(capsys, monkeypatch, run):
    method = type(open_run(run).method)
    gap = [Filler("a\n", 0.5), Filler("\x1b[2J", 0.25), Filler("é", 0.125)]
    monkeypatch.setattr(method, "fill", lambda self, text, count: [gap])
    lines = call(capsys, "fill", run, "--text", "a [MASK]").splitlines()
    assert [line.split()[0] for line in lines] == [r"a\n", r"\x1b[2J", "é"]
    assert [line.count("█") for line in lines] == [12, 6, 3]


def test_fill_computes_where_it_is_told_to(run, capsys, monkeypatch):
    places = []
    kind = type(open_run(run).method)
    monkeypatch.setattr(kind, "to", lambda self, device: places.append(device))
    call(capsys, "fill", run, "--text", "a [MASK]", "--device", "cpu")
    assert places == ["cpu"]


def test_sample_and_cloze_take_it(run, capsys):
    assert call(capsys, "sample", run, "--prompt", "my bird", "--tokens", 4).startswith("my bird")
    assert "all kinds" in call(capsys, "cloze", run, "--count", 2)


def test_embed_by_the_first_token_the_last_and_all_layers(run, tmp_path, capsys):
    (tmp_path / "two.csv").write_text(
        "text\nmy bird sang\na dog ran to the log!\n", encoding="utf-8"
    )
    opened = open_run(run)
    examples = opened.data.examples(opened.read_examples(tmp_path / "two.csv")).inputs
    each = opened.method.represent_each(examples)
    expected = {
        "mean": [rows.mean(axis=0) for rows in each],
        "first": [rows[0] for rows in each],
        "last": [rows[-1] for rows in each],
    }
    out = tmp_path / "out.npz"
    for vector, rows in expected.items():
        call(capsys, "embed", run, tmp_path / "two.csv", "--vector", vector, "--out", out)
        with np.load(out, allow_pickle=False) as file:
            np.testing.assert_allclose(file["features"], rows, rtol=1e-4, atol=1e-5)
    said = call(capsys, "embed", run, tmp_path / "two.csv", "--layers", "--out", out)
    assert "2 vectors of 2 layers of 16 numbers" in said
    with np.load(out, allow_pickle=False) as file:
        assert file["features"].shape == (2, 2, 16)
        np.testing.assert_allclose(file["features"][:, -1], expected["mean"], rtol=1e-4, atol=1e-5)
    call(capsys, "embed", run, tmp_path / "two.csv", "--layers", "--vector", "last", "--out", out)
    with np.load(out, allow_pickle=False) as file:
        np.testing.assert_allclose(file["features"][:, -1], expected["last"], rtol=1e-4, atol=1e-5)
    turned = opened.method.represent_each(examples[::-1])  # in the order that is asked for
    assert [len(rows) for rows in turned] == [len(rows) for rows in each[::-1]]
    for option in (["--layers"], ["--vector", "first"]):
        said = call(capsys, "embed", run, tmp_path / "two.csv", "--each", *option, "--out", out)
        assert "with --each every piece has its vector" in said


def test_each_vector_stands_beside_its_own_piece(run, tmp_path, capsys):
    long = "my bird sang a song to the dog that ran to the log and sang"
    (tmp_path / "two.csv").write_text(f"text\nmy bird\n{long}\n", encoding="utf-8")
    said = call(capsys, "embed", run, tmp_path / "two.csv", "--each", "--out", tmp_path / "o.npz")
    assert "1 of 2 texts are longer than the 12 tokens" in said
    method = open_run(run).method
    with np.load(tmp_path / "o.npz", allow_pickle=False) as file:
        of = [file["pieces"][file["text"] == number].tolist() for number in (0, 1)]
        features = file["features"][file["text"] == 1]
    assert [(pieces[0], pieces[-1]) for pieces in of] == [("[CLS]", "[SEP]")] * 2
    assert len(of[1]) == 12
    tokens = [method.tokenizer.ids[piece] for piece in of[1]]  # read again by their names
    expected = method.represent_each([tokens])[0]
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)


def test_embed_by_another_vector_needs_texts(tmp_path, capsys):
    np.save(tmp_path / "photos.npy", np.zeros((12, 8, 8), np.uint8))
    settings = toy_settings("simclr")
    data = toy_data("simclr", settings)
    pretrain(load_method("simclr"), data, settings, tmp_path / "run", progress=False)
    said = call(capsys, "embed", tmp_path / "run", tmp_path / "photos.npy", "--vector", "first")
    assert "has no vector for each piece" in said
