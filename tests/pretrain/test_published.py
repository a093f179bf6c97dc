"""Published weights opened as a run: against transformers, adapted, moved, and swapped."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file

from minissl.adapt import adaptation_names, load_adaptation
from minissl.adapt.run import adapt, open_adaptation, open_any
from minissl.cli import main
from minissl.data.texts import Texts
from minissl.pretrain import load_method, method_names
from minissl.pretrain.run import open_run, pretrain
from minissl.text import Tokenizer, save_huggingface
from minissl.text.documents import SEPARATOR
from minissl.text.published_wordpiece import read_published_wordpiece
from minissl.training import CheckpointError
from tests.adapt.toy import adapted, adapting, toy_labelled
from tests.pretrain.published import (
    MODULES,
    POOLING,
    TEXTS,
    as_sentence_encoder,
    write_bert,
    write_gpt2,
    write_json,
)

SENTENCES = ["The cat sat!", "a dog ran, and ran to the log?", "song"]
KINDS = ["bert", "gpt2"]


@pytest.fixture(autouse=True)
def quiet():
    """Reading a folder of transformers draws bars."""
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()


def write_whole_bert(folder):
    return write_bert(folder, heads=("words", "pooler", "follows"))


WRITE = {"bert": write_bert, "gpt2": write_gpt2}


@pytest.fixture(params=KINDS)
def folder(request, tmp_path):
    return WRITE[request.param](tmp_path / "base")


@pytest.fixture
def bert(tmp_path):
    return write_bert(tmp_path / "bert")


def represented(opened, texts=SENTENCES):
    return opened.method.represent([opened.data.tokens(text) for text in texts])


def configure(place, **settings):
    told = json.loads(place.read_bytes()) if place.exists() else {}
    place.write_text(json.dumps(told | settings), encoding="utf-8")


# ---- what is read --------------------------------------------------------------------------------


def their_states(folder):
    """The last states of each text by transformers, with the special tokens that are ours."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    found = []
    for text in SENTENCES:
        ids = tokenizer(text)["input_ids"]
        ids = ids if tokenizer.cls_token else [tokenizer.convert_tokens_to_ids(SEPARATOR), *ids]
        with torch.no_grad():
            found.append(model(torch.tensor([ids])).last_hidden_state[0].numpy())
    return found


def test_a_text_is_what_transformers_makes_of_it(folder):
    opened = open_run(folder)
    states = their_states(folder)
    expected = np.array([state.mean(axis=0) for state in states])
    np.testing.assert_allclose(represented(opened), expected, rtol=1e-4, atol=1e-5)
    opened.method.vector = "last"
    expected = np.array([state[-1] for state in states])
    np.testing.assert_allclose(represented(opened), expected, rtol=1e-4, atol=1e-5)
    assert opened.name in ("published-bert", "published-gpt2")
    assert load_method(opened.name) is type(opened.method)
    assert opened.name not in method_names()
    assert not opened.method.model.training


def test_the_settings_are_all_of_the_network(folder):
    """What is built from them, for an adaptation that has all weights, is the same function."""
    names = ("hidden_act", "layer_norm_eps")
    if not (folder / "vocab.txt").exists():
        names = ("activation_function", "layer_norm_epsilon")
    configure(folder / "config.json", **dict(zip(names, ("relu", 0.25))))
    opened = open_run(folder)
    assert (opened.settings.activation, opened.settings.norm_eps) == ("relu", 0.25)
    again = replace(opened, method=opened.on(opened.data))
    assert again.method.model.config == opened.method.model.config
    assert again.method.model.state_dict().keys() == opened.method.model.state_dict().keys()
    np.testing.assert_array_equal(represented(again), represented(opened))
    assert again.method.vector == opened.method.vector


def test_an_output_of_its_own_stays_one(tmp_path):
    """Weights that are not tied have it in the file, in what is opened, and in what is built."""
    opened = open_run(write_gpt2(tmp_path / "gpt2", tied_output=False))
    assert not opened.settings.tied_output
    again = opened.on(opened.data).model
    assert again.config == opened.method.model.config
    np.testing.assert_array_equal(
        again.output.weight.numpy(), opened.method.model.output.weight.numpy()
    )


@pytest.mark.parametrize("lowercase", [True, False])
def test_a_tokenizer_in_json_is_the_same(tmp_path, lowercase):
    folder = write_bert(tmp_path / "bert", lowercase=lowercase)
    before = open_run(folder)
    assert before.settings.lowercase is lowercase
    transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "other")
    write_json(folder)  # by another library, which writes the same in another way
    assert read_published_wordpiece(folder).tokens == before.data.tokenizer.tokens
    shutil.copy(tmp_path / "other/tokenizer.json", folder)
    after = open_run(folder)
    assert after.settings == before.settings
    assert after.data.tokenizer.tokens == before.data.tokenizer.tokens
    texts = [*SENTENCES, "Ünknown Cat [MASK]"]
    assert [after.data.tokens(t) for t in texts] == [before.data.tokens(t) for t in texts]
    assert len({tuple(after.data.tokens(t)) for t in ("The cat", "the cat")}) == 2 - lowercase


def test_gpt2s_first_files_are_the_same(tmp_path):
    folder = write_gpt2(tmp_path / "gpt2")
    state = json.loads((folder / "tokenizer.json").read_bytes())
    expected = represented(open_run(folder))
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(state["model"]["vocab"]), encoding="utf-8")
    (folder / "merges.txt").write_text(
        "\n".join(["#version: 0.2", *state["model"]["merges"]]), encoding="utf-8"
    )
    np.testing.assert_array_equal(represented(open_run(folder)), expected)
    (folder / "merges.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"neither tokenizer.json nor merges.txt"):
        open_run(folder)


def test_the_pooling_of_a_sentence_encoder_is_honoured(bert):
    plain = open_run(bert)
    assert (plain.method.vector, plain.method.longest) == ("mean", 20)
    as_sentence_encoder(bert)
    configure(bert / "sentence_bert_config.json", max_seq_length=9)
    opened = open_run(bert)
    assert (opened.method.vector, opened.method.longest) == ("first", 9)
    expected = np.array([state[0] for state in their_states(bert)])
    np.testing.assert_allclose(represented(opened)[[0, 2]], expected[[0, 2]], rtol=1e-4, atol=1e-5)
    long = [opened.data.tokens("the cat sat on the mat. " * 9)]
    cut = [[*long[0][:8], long[0][-1]]]
    np.testing.assert_array_equal(opened.method.represent(long), opened.method.represent(cut))
    plain.method.vector = "first"
    np.testing.assert_array_equal(plain.method.represent(cut), opened.method.represent(cut))
    configure(bert / "1_Pooling/config.json", pooling_mode="lasttoken")
    assert open_run(bert).method.vector == "last"


@pytest.mark.parametrize(
    ("modules", "pooling", "words"),
    [
        ([{"type": "a.Dense", "path": "2_Dense"}], POOLING, "modules.json asks for a layer 'a.Den"),
        ([{"type": "a.Pooling", "path": "../x"}], POOLING, "modules.json: '../x' is no name of"),
        ([{"type": "a.Transformer", "path": "0_T"}], POOLING, "the weights are in '0_T': give"),
        ([3], POOLING, "modules.json asks for a layer None"),
        (MODULES, {"pooling_mode_max_tokens": True}, "config.json asks for pooling_mode_max"),
        (MODULES, dict.fromkeys(POOLING, True), "pooling_mode_cls_token, pooling_mode_mean_tok"),
        (MODULES, {"pooling_mode": None}, "1_Pooling/config.json asks for None"),
    ],
)  # fmt: skip
def test_another_pooling_is_refused(bert, modules, pooling, words):
    as_sentence_encoder(bert, modules, **pooling)
    with pytest.raises(ValueError, match=words):
        open_run(bert)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("config.json", {"model_type": "albert"}, "config.json is of a model 'albert': weights"),
        ("config.json", {"model_type": 3}, "config.json is of a model 3"),
        ("config.json", {"vocab_size": 95}, "word_embeddings.weight"),
        ("config.json", {"hidden_size": 10**9}, "config.json"),
        ("config.json", {"hidden_act": "mish"}, "hidden_act must be one of"),
        ("tokenizer_config.json", {"do_lower_case": 1}, "do_lower_case must be true or false"),
        ("tokenizer_config.json", {"strip_accents": False}, "strip_accents is False with do_lower"),
        ("tokenizer_config.json", {"tokenize_chinese_chars": False}, "tokenize_chinese_chars must"),
        ("tokenizer_config.json", {"tokenizer_class": "BertJapaneseTokenizer"}, "tokenizer_class"),
        ("sentence_bert_config.json", {"max_seq_length": 1}, "max_seq_length is 1, expected 3"),
    ],
)  # fmt: skip
def test_what_is_not_ours_is_refused_by_name(bert, name, change, words):
    configure(bert / name, **change)
    with pytest.raises(ValueError, match=words):
        open_run(bert)


@pytest.mark.parametrize(
    ("part", "change", "words"),
    [
        ("normalizer", {"type": "Lowercase"}, "normalizer has type = 'Lowercase'"),
        ("normalizer", {"clean_text": False}, "normalizer has clean_text = False"),
        ("normalizer", {"strip_accents": False}, "strip_accents is False with lowercase = True"),
        ("pre_tokenizer", {"type": "Whitespace"}, "pre_tokenizer has type = 'Whitespace'"),
        ("post_processor", {"type": "RobertaProcessing"}, "post_processor has type = 'Roberta"),
        ("post_processor", {"single": []}, "post_processor makes \\[\\] of a text"),
        ("model", {"type": "BPE"}, "model has type = 'BPE'"),
        ("model", {"unk_token": "<unk>"}, "model has unk_token = '<unk>'"),
        ("model", {"vocab": {"[UNK]": 1}}, "model: expected vocab"),
    ],
)  # fmt: skip
def test_another_tokenizer_is_refused_by_the_name_of_the_field(bert, part, change, words):
    transformers.AutoTokenizer.from_pretrained(bert).save_pretrained(bert)
    place = bert / "tokenizer.json"
    state = json.loads(place.read_bytes())
    state[part] |= change
    place.write_text(json.dumps(state), encoding="utf-8")
    with pytest.raises(ValueError, match=words) as error:
        open_run(bert)
    assert str(place) in str(error.value)


def test_a_vocabulary_with_case_has_to_say_so(bert):
    (bert / "tokenizer_config.json").unlink()
    expected = represented(open_run(bert))
    with (bert / "vocab.txt").open("a", encoding="utf-8") as file:
        file.write("Cat\n")
    with pytest.raises(ValueError, match=r"the token 'Cat'.*with case.*do_lower_case"):
        open_run(bert)
    configure(bert / "tokenizer_config.json", do_lower_case=True)
    np.testing.assert_array_equal(represented(open_run(bert)), expected)
    with (bert / "vocab.txt").open("a", encoding="utf-8") as file:
        file.write("".join(f"x{i}\n" for i in range(9)))
    with pytest.raises(ValueError, match=r"has .* tokens, the weights have vectors of 96"):
        open_run(bert)
    (bert / "vocab.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"neither tokenizer.json nor vocab.txt"):
        open_run(bert)


def test_a_vocabulary_that_was_cut_off_is_refused(bert):
    """Its ids are right as far as it goes: every other word would be [UNK], and nobody told."""
    data = (bert / "vocab.txt").read_bytes()
    (bert / "vocab.txt").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"has .* tokens, .* vectors of 96: .* was cut off"):
        open_run(bert)


def test_weights_that_are_not_finite_or_can_run_code_are_refused(bert):
    weights = load_file(bert / "model.safetensors")
    weights["embeddings.LayerNorm.bias"][3] = np.nan
    save_file(weights, bert / "model.safetensors")
    with pytest.raises(ValueError, match=r"not finite .*encoder.norm.bias"):
        open_run(bert)
    (bert / "model.safetensors").rename(bert / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pytorch_model.bin, which can run any program"):
        open_run(bert)
    (bert / "pytorch_model.bin").unlink()
    with pytest.raises(CheckpointError, match="no usable checkpoint"):
        open_run(bert)


def test_without_a_head_what_needs_it_says_so(tmp_path):
    opened = open_run(write_bert(tmp_path / "plain"))
    for call in (
        lambda: opened.method.fill("the [MASK] sat"),
        lambda: opened.on(opened.data.unseen(Texts.toy())).evaluate(),
        lambda: opened.method.score(["the"], ["cat"]),
    ):
        with pytest.raises(ValueError, match="these weights have no output for masked words"):
            call()
    whole = open_run(write_bert(tmp_path / "whole", heads=("words", "pooler", "follows")))
    assert len(whole.method.fill("the [MASK] sat", 3)[0]) == 3
    measured = whole.on(whole.data.unseen(Texts.toy())).evaluate()
    assert {"held_out_loss", "held_out_accuracy"} <= measured.keys()


# ---- adapted -------------------------------------------------------------------------------------


def adaptations_of(kind):
    method = load_method({"bert": "published-bert", "gpt2": "published-gpt2"}[kind])
    return [n for n in adaptation_names() if issubclass(method, load_adaptation(n).needs)]


PAIRS = [(kind, name) for kind in KINDS for name in adaptations_of(kind)]


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    write = WRITE | {"bert": write_whole_bert}
    return {kind: write[kind](tmp_path_factory.mktemp(kind) / "base") for kind in KINDS}


@pytest.mark.parametrize(("kind", "name"), PAIRS)
def test_every_adaptation_is_of_a_loaded_model_too(bases, tmp_path, kind, name):
    """What is kept is small, and is the same wherever the base lies; not on another base."""
    base = shutil.copytree(bases[kind], tmp_path / "base")
    opened = open_run(base)
    before = {n: a.tobytes() for n, a in opened.method.model.state_dict().items()}
    made = adapted(name, opened, tmp_path / "made")
    assert {n: a.tobytes() for n, a in opened.method.model.state_dict().items()} == before
    inputs = made.data.held_out.inputs
    expected = made.method.predict(inputs)
    np.testing.assert_array_equal(
        open_adaptation(tmp_path / "made").method.predict(inputs), expected
    )

    base.rename(tmp_path / "moved")
    needs_it = load_adaptation(name).from_base
    if not needs_it:
        np.testing.assert_array_equal(
            open_adaptation(tmp_path / "made").method.predict(inputs), expected
        )
        return
    frozen = [n for n in made.method.saved().state_dict() if n.endswith("tokens.weight")]
    assert not frozen, "the base is not copied"
    with pytest.raises(FileNotFoundError, match="which is not there"):
        open_adaptation(tmp_path / "made")
    again = open_adaptation(tmp_path / "made", tmp_path / "moved")
    np.testing.assert_array_equal(again.method.predict(inputs), expected)


def swap_weights(folder):
    place = folder / "model.safetensors"
    weights = load_file(place)
    name = min(name for name in weights if name.endswith("bias"))
    weights[name] = weights[name] + np.float32(1e-3)
    save_file(weights, place)


def swap_epsilon(folder):
    name = "layer_norm_eps" if (folder / "vocab.txt").exists() else "layer_norm_epsilon"
    configure(folder / "config.json", **{name: 1e-3})


def swap_tokens(folder):
    place = folder / "vocab.txt"
    if place.exists():
        lines = place.read_text(encoding="utf-8").split("\n")
        lines[-3:-1] = lines[-2:-4:-1]
        place.write_text("\n".join(lines), encoding="utf-8")
        return
    tokenizer = Tokenizer.train(TEXTS, 280, special_tokens=[SEPARATOR])
    save_huggingface(tokenizer, folder / "tokenizer.json")


@pytest.mark.parametrize(
    ("swap", "words"),
    [
        (swap_weights, "has other weights"),
        (swap_tokens, "has other weights"),
        (swap_epsilon, "is read in another way than what was adapted .norm_eps: 1e-06, now 0.001"),
    ],
)
@pytest.mark.parametrize("name", ["lora", "probe"])
def test_another_base_is_refused(folder, tmp_path, swap, words, name):
    opened = open_run(folder)
    adapted(name, opened, tmp_path / "made")
    swap(folder)
    with pytest.raises(ValueError, match=words):
        open_adaptation(tmp_path / "made")
    with pytest.raises(ValueError, match=words if swap is swap_epsilon else "other settings"):
        adapted(name, open_run(folder), tmp_path / "made")


def test_an_adaptation_goes_on_where_it_stopped(bert, tmp_path):
    opened = open_run(bert)
    whole = adapted("finetune", opened, tmp_path / "whole")
    state = whole.method.saved().state_dict()
    again = adapted("finetune", open_run(bert), tmp_path / "whole")
    for name, array in again.method.saved().state_dict().items():
        np.testing.assert_array_equal(array, state[name])


def test_the_vector_can_be_chosen(bert):
    opened = open_run(bert)
    kind, data = load_adaptation("finetune"), toy_labelled("finetune", opened)
    for vector, expected in (("", "mean"), ("first", "first")):
        made = adapt(kind, opened, data, adapting("finetune", vector=vector), progress=False)
        assert made.method.base.vector == expected


def test_pretraining_goes_on_from_published_weights(folder, tmp_path):
    """Continued pretraining, with the published tokenizer, in a run that needs no folder."""
    if (folder / "vocab.txt").exists():
        write_bert(folder, heads=("words",))
    opened = open_run(folder)
    kind = type(opened.method)
    settings = replace(opened.settings, steps=2, batch_size=4, evaluations=1)
    made = pretrain(kind, kind.Data.toy(), settings, tmp_path / "run", start=opened, progress=False)
    assert any(
        (array != opened.checkpoint.weights[name]).any()
        for name, array in made.method.model.state_dict().items()
    )
    shutil.rmtree(folder)
    again = open_run(tmp_path / "run")
    assert again.name == opened.name
    np.testing.assert_array_equal(represented(again), made.method.represent(
        [again.data.tokens(text) for text in SENTENCES]))  # fmt: skip


# ---- the commands --------------------------------------------------------------------------------


def test_the_commands_take_a_folder_of_published_weights(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [f"{text.split('.')[0]}.\t{i % 2}\n" for i, text in enumerate(TEXTS)]
    (tmp_path / "data.tsv").write_text("text\tlabel\n" + "".join(rows), encoding="utf-8")
    for name in ("lora", "finetune"):
        settings = ["--steps", "2", "--batch-size", "4", "--quiet", "--run", name]
        assert main(["adapt", name, str(folder), "data.tsv", *settings]) == 0
        assert main(["predict", name, "data.tsv", "--out", f"{name}.csv"]) == 0
        assert (
            len((tmp_path / f"{name}.csv").read_text(encoding="utf-8").splitlines())
            == len(rows) + 1
        )
        assert main(["embed", name, "data.tsv", "--out", f"{name}.npz"]) == 0
    assert main(["embed", str(folder), "data.tsv", "--vector", "first", "--out", "a.npz"]) == 0
    with np.load("a.npz") as found:
        assert found["features"].shape == (len(rows), 12)
    assert main(["evaluate", str(folder), "data.tsv", "--draws", "1", "--out", "out"]) == 0
    assert main(["probe", str(folder), "data.tsv", "--labels", "2", "--draws", "1"]) == 0
    if not (folder / "vocab.txt").exists():
        assert main(["sample", str(folder), "--prompt", "the cat", "--tokens", "3"]) == 0
    capsys.readouterr()
    assert main(["predict", str(folder), "data.tsv"]) == 1
    assert "holds published weights, not adapted yet" in capsys.readouterr().err
    assert main(["export", str(folder), "again"]) == 1
    assert "is what other programs open, already" in capsys.readouterr().err
    assert main(["evaluate", str(folder)]) == 1
    assert "give the data" in capsys.readouterr().err
    assert open_any(folder).name == open_run(folder).name
    with pytest.raises(ValueError, match="is no adaptation and has no base"):
        open_any(folder, folder)
    method = "bert" if (folder / "vocab.txt").exists() else "gpt"
    with pytest.raises(ValueError, match=f"holds a run of .published-.*, not of '{method}'"):
        open_run(folder, load_method(method))


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_of_the_table_that_is_no_token_is_never_written_as_one(kind, tmp_path):
    """Published tables are padded (GPT-2's to 50,304, say): those rows stand for nothing."""
    folder = write_whole_bert(tmp_path / "b") if kind == "bert" else write_gpt2(tmp_path / "g")
    opened = open_run(folder)
    known, rows = opened.method.tokenizer.vocab_size, opened.method.model.config.vocab_size
    assert known < rows
    written = bytearray()
    opened.method.sample(
        b"", 200, temperature=5.0, top_k=None, top_p=None,
        generator=np.random.default_rng(0), write=written.extend,
    )  # fmt: skip
    assert len(written) > 100
    if kind == "bert":
        for fillers in opened.method.fill("[MASK] the [MASK]", rows):
            assert len(fillers) == known - len(opened.method.tokenizer.special_tokens)
            assert sum(one.probability for one in fillers) == pytest.approx(1)
