"""tokenizer.json in both directions, beside its own library: the same ids, or a refusal."""

import copy
import json
import lzma
import os
import random

import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, processors, trainers

from minissl.text import Tokenizer, load_huggingface, load_tokenizer, save_huggingface
from minissl.text.formats import to_printable
from minissl.text.patterns import PATTERNS
from tests.shared_data import shared_data

TEXT = "The cat's hat: it isn't 1234567 years old!\r\n\r\n  你好, naïve café 🙂  \n\tend <|end|> \n"
SPECIAL = ["<|end|>", "<päd>", "<|end|>!"]
PATTERNS_BY_NAME = [*PATTERNS, r"\S+|\s+"]
# Qwen's: one digit at a time.
QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

texts = st.lists(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=6),
        st.sampled_from("'s 'LL it's DON'T aBcDe <|end|> <|end|>! <päd> 12345 the hat".split()),
        st.sampled_from(["/\n/", "!\n/", "\n\n", "\r\n"]),
        st.sampled_from(["  ", " \n ", " ", "\t"]),
    ),
    max_size=10,
).map("".join)
relaxed = settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module", params=PATTERNS_BY_NAME)
def small(request):
    return Tokenizer.train([TEXT] * 2, 290, pattern=request.param, special_tokens=SPECIAL)


def peer_of(path):
    return tokenizers.Tokenizer.from_file(str(path))


# ---- ours, read by theirs ------------------------------------------------------------------------


@relaxed
@given(examples=st.lists(texts, min_size=5, max_size=5))
def test_what_is_saved_gives_the_same_ids(small, tmp_path, examples):
    save_huggingface(small, tmp_path / "tokenizer.json")
    peer = peer_of(tmp_path / "tokenizer.json")
    for text in examples:
        ids = small.encode(text, allow_special="all")
        assert peer.encode(text).ids == ids
        if "<päd>" not in text:  # its decoder takes the "ä" of a special token for a byte
            assert peer.decode(ids, skip_special_tokens=False) == small.decode(ids)


@pytest.mark.parametrize("name", ["gpt2", "cl100k"])
def test_published_ones_give_the_same_ids_in_71_languages(name, tmp_path, request):
    """And come back as they were."""
    tokenizer = request.getfixturevalue(name)
    if name == "cl100k":  # that library numbers added tokens without a gap
        tokenizer = Tokenizer(tokenizer.ranks, pattern="cl100k", special_tokens=["<|endoftext|>"])
    save_huggingface(tokenizer, tmp_path / "tokenizer.json")
    peer = peer_of(tmp_path / "tokenizer.json")
    assert peer.get_vocab_size() == len(tokenizer.ranks) + len(tokenizer.special_tokens)
    again = load_huggingface(tmp_path / "tokenizer.json")
    assert (again.ranks, again.pattern) == (tokenizer.ranks, tokenizer.pattern)
    assert again.special_tokens == tokenizer.special_tokens
    lines = lzma.decompress(shared_data("text/multilingual.jsonl.xz").read_bytes()).splitlines()
    for line in lines[::40]:
        text = json.loads(line)["text"] + "<|endoftext|> \n\n it's"
        assert peer.encode(text).ids == tokenizer.encode(text, allow_special="all")


def test_what_is_not_made_of_merges_is_not_saved(tmp_path):
    ranks = {bytes([byte]): byte for byte in range(256)} | {b"abc": 256}
    with pytest.raises(ValueError, match="not one of merges"):
        save_huggingface(Tokenizer(ranks), tmp_path / "x.json")
    assert not os.listdir(tmp_path)


def test_what_is_saved_comes_back(small, tmp_path):
    save_huggingface(small, tmp_path / "tokenizer.json")
    again = load_huggingface(tmp_path / "tokenizer.json")
    assert again.ranks == small.ranks
    assert again.special_tokens == small.special_tokens
    assert again.pattern.expression == small.pattern.expression
    if small.pattern in PATTERNS.values():
        assert again.pattern is small.pattern  # with what makes it quick
    save_huggingface(again, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "tokenizer.json").read_bytes()


# ---- theirs, read by ours ------------------------------------------------------------------------


def split_by(expression, behavior="isolated", invert=False):
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(expression), behavior, invert),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def their_training(path, pre_tokenizer, **options):
    """A tokenizer that their library has trained, in a file."""
    theirs = tokenizers.Tokenizer(models.BPE())
    theirs.pre_tokenizer = pre_tokenizer
    theirs.decoder = decoders.ByteLevel()
    theirs.post_processor = options.pop("post_processor", None)
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=options.pop("special_tokens", SPECIAL),
        show_progress=False,
    )
    theirs.train_from_iterator([TEXT, "aaa aaaa aaaaa abab ababab ------ the hat of the cat "] * 9,
                               trainer)  # fmt: skip
    theirs.add_tokens(options.pop("added", []))
    theirs.save(str(path))
    return theirs


BYTE_LEVEL = pre_tokenizers.ByteLevel(add_prefix_space=False)
TRAININGS = {
    "gpt2": (BYTE_LEVEL, {}),
    "ids of special tokens last": (BYTE_LEVEL, {"special_tokens": [], "added": SPECIAL}),
    "offsets": (BYTE_LEVEL, {"post_processor": processors.ByteLevel(trim_offsets=True)}),
    "llama3": (split_by(PATTERNS["llama3"].expression), {}),
    "o200k": (split_by(PATTERNS["o200k"].expression), {}),
    "cl100k removed": (split_by(PATTERNS["cl100k"].expression, "removed", True), {}),
    "qwen": (split_by(QWEN), {}),
    "own": (split_by(r"[aeiou]+|[^aeiou\s]{1,3}|\s"), {}),
}


@relaxed
@given(examples=st.lists(texts, min_size=5, max_size=5))
@pytest.mark.parametrize("name", TRAININGS)
def test_what_their_library_trained_gives_the_same_ids(name, tmp_path_factory, examples):
    ours, theirs = both(name, tmp_path_factory)
    for text in examples:
        ids = theirs.encode(text).ids
        assert ours.encode(text, allow_special="all") == ids
        if "<päd>" not in text:
            assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=False)


_READ = {}


def both(name, tmp_path_factory):
    """Ours and theirs, read once for all examples."""
    if name not in _READ:
        path = tmp_path_factory.mktemp("trained") / "tokenizer.json"
        pre_tokenizer, options = TRAININGS[name]
        theirs = their_training(path, pre_tokenizer, **dict(options))
        _READ[name] = load_huggingface(path), theirs
        assert _READ[name][0].vocab_size == theirs.get_vocab_size()
    return _READ[name]


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    """What a plain file holds."""
    path = tmp_path_factory.mktemp("plain") / "tokenizer.json"
    save_huggingface(
        Tokenizer.train([TEXT * 3, "abcabcab banana " * 9], 340, special_tokens=["<s>", "<e>"]),
        path,
    )
    return json.loads(path.read_bytes())


def change_at(state, place, value):
    """A copy with another value at a place such as "model.dropout"; ... removes it."""
    state = copy.deepcopy(state)
    *path, name = place.split(".")
    part = state
    for step in path:
        part = part[int(step)] if isinstance(part, list) else part[step]
    if value is ...:
        del part[name]
    else:
        part[int(name) if isinstance(part, list) else name] = value
    return state


def written(state, folder):
    (folder / "tokenizer.json").write_text(json.dumps(state), "utf-8")
    return folder / "tokenizer.json"


def same_ids(path):
    """Whether both libraries read the file to the same ids, on texts with much in them."""
    ours, theirs = load_huggingface(path), peer_of(path)
    randomly = random.Random(0)
    for _ in range(200):
        parts = [
            *"aethns 1'!\n",
            "<s>",
            "<e>",
            "The cat's",
            " hat",
            "  ",
            "é",
            "x<s",
            "你好",
            "\r\n",
        ]
        text = "".join(randomly.choices(parts, k=12))
        if ours.encode(text, allow_special="all") != theirs.encode(text).ids:
            return False
    return True


SPLIT, LEVEL = "pre_tokenizer.pretokenizers.0", "pre_tokenizer.pretokenizers.1"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("model.type", ...),
        ("model.ignore_merges", True),
        ("model.fuse_unk", True),
        ("model.dropout", 0.0),
        ("model.byte_fallback", False),
        ("model.continuing_subword_prefix", ""),
        ("model.end_of_word_suffix", ""),
        ("added_tokens.0.special", False),
        ("added_tokens.1.normalized", True),
        ("added_tokens", []),
        ("decoder", None),
        (f"{SPLIT}.behavior", "Removed"),
        ("post_processor", {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}),
        ("pre_tokenizer", {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}),
    ],
)
def test_what_is_honoured_gives_the_same_ids(state, tmp_path, place, value):
    changed = change_at(state, place, value)
    if value == "Removed":
        changed = change_at(changed, f"{SPLIT}.invert", True)
    if value == []:
        for name in ("<s>", "<e>"):
            del changed["model"]["vocab"][name]
    assert same_ids(written(changed, tmp_path))


def test_merges_as_pairs(state, tmp_path):
    merges = [merge.split(" ") for merge in state["model"]["merges"]]
    assert same_ids(written(change_at(state, "model.merges", merges), tmp_path))


def test_further_pairs_for_a_token_do_nothing(state, tmp_path):
    """Files made from tiktoken's list every way to cut a token in two."""
    vocabulary = state["model"]["vocab"]
    merges = []
    for token in sorted(vocabulary, key=vocabulary.get):
        ways = [(token[:i], token[i:]) for i in range(1, len(token))]
        ways = [w for w in ways if w[0] in vocabulary and w[1] in vocabulary]
        merges += sorted(ways, key=lambda way: (vocabulary[way[0]], vocabulary[way[1]]))
    assert len(merges) > len(state["model"]["merges"])
    changed = change_at(state, "model.merges", [" ".join(pair) for pair in merges])
    for ignore in (True, False):
        changed = change_at(changed, "model.ignore_merges", ignore)
        assert same_ids(written(changed, tmp_path))


def step(kind, **fields):
    return {"type": kind, **fields}


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("normalizer", step("NFC"), "normalizer = {'type': 'NFC'}"),
        ("normalizer", step("Prepend", prepend="_"), "normalizer"),
        ("truncation", {"max_length": 3}, "truncation"),
        ("padding", {"strategy": "BatchLongest"}, "padding"),
        ("something", 1, "something"),
        ("post_processor", step("TemplateProcessing", single=[]), "post_processor has type"),
        ("post_processor", step("Sequence", processors=[]), "post_processor has type"),
        ("decoder", step("Metaspace"), "decoder has type"),
        ("model.type", "WordPiece", "model has type = 'WordPiece'"),
        ("model.type", "Unigram", "model has type = 'Unigram'"),
        ("model.dropout", 0.1, "dropout = 0.1"),
        ("model.unk_token", "<s>", "unk_token = '<s>'"),
        ("model.byte_fallback", True, "byte_fallback = True"),
        ("model.continuing_subword_prefix", "##", "continuing_subword_prefix"),
        ("model.end_of_word_suffix", "</w>", "end_of_word_suffix"),
        ("model.something", 1, "something"),
        ("added_tokens.0.single_word", True, "single_word = True"),
        ("added_tokens.0.lstrip", True, "lstrip"),
        ("added_tokens.1.rstrip", True, "rstrip"),
        ("added_tokens.1.id", 1000, "'<e>' has the id 1000"),
        ("pre_tokenizer", None, "pre_tokenizer"),
        ("pre_tokenizer", step("Metaspace"), "Metaspace"),
        ("pre_tokenizer", step("Whitespace"), "Whitespace"),
        ("pre_tokenizer.pretokenizers", [], "empty"),
        ("pre_tokenizer.pretokenizers", [step("Digits"), step("ByteLevel")], "Digits + ByteLevel"),
        (f"{LEVEL}.add_prefix_space", True, "add_prefix_space = True"),
        (f"{LEVEL}.add_prefix_space", ..., "lacks add_prefix_space"),
        (f"{LEVEL}.use_regex", True, "use_regex = True behind a Split"),
        (f"{LEVEL}.use_regex", ..., "use_regex = True behind a Split"),
        (f"{SPLIT}.behavior", "MergedWithNext", "behavior = 'MergedWithNext'"),
        (f"{SPLIT}.invert", True, "invert = True"),
        (f"{SPLIT}.pattern", {"String": " "}, "no Regex"),
        *((f"{SPLIT}.pattern", {"Regex": expression}, "Regex") for expression in (
            r"\w+|\W", r".+|\n", r"\s+$|.", r"^a|\s|\S", r"\bthe\b|\s|\S", r"[[:alpha:]]+|\s|\S",
            r"\h+|\H", r"(?i:ss)|\s|\S", r"[a-z&&[aeiou]]|\s|\S", r"\p{N}{1,3}+|\s|\S",
            r"(\s|\S)", r"(?<=a)b|\s|\S", r"\s+\Z|\s|\S", r"(?m)a|\s|\S", r"\X",
        )),
        (f"{SPLIT}.pattern", {"Regex": "a)"}, "not a regular expression"),
        ("pre_tokenizer", step("ByteLevel", add_prefix_space=False, use_regex=False), "no Split"),
    ],
)  # fmt: skip
def test_what_is_not_honoured_is_refused_by_name(state, tmp_path, place, value, words):
    path = written(change_at(state, place, value), tmp_path)
    with pytest.raises(ValueError, match=r"tokenizer\.json") as caught:
        load_huggingface(path)
    assert words in str(caught.value)
    assert "damaged" not in str(caught.value)  # it is another tokenizer
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m, v: ([*m[1:], m[0]], v), "order of merges is not the order of ids"),
        (lambda m, v: (m[1:], v), "made by no merge"),
        (lambda m, v: ([*m, "a q"], v), "not three tokens"),
        (lambda m, v: ([*m, "a"], v), "'a' is not two tokens"),
        (lambda m, v: ([*m, ["a", ""]], v), "is not two tokens"),
        (lambda m, v: ([*m, 3], v), "3 is not two tokens"),
        (lambda m, v: (m, v | {"zz": len(v)}), "made by no merge"),
        (lambda m, v: (m, {t: i for t, i in v.items() if t != "x"}), "single bytes are no tokens"),
        (lambda m, v: (m, v | {"x": 70}), "stands for both"),
        (lambda m, v: (m, v | {"x": "70"}), "expected an integer"),
        (lambda m, v: (m, [*v]), "AttributeError"),
        (lambda m, v: (None, v), "TypeError"),
    ],
)
def test_vocabularies_that_are_not_of_merges_are_refused(state, tmp_path, change, words):
    merges, vocabulary = change(state["model"]["merges"], state["model"]["vocab"])
    changed = change_at(change_at(state, "model.merges", merges), "model.vocab", vocabulary)
    with pytest.raises(ValueError, match=r"tokenizer\.json.*" + words):
        load_huggingface(written(changed, tmp_path))


def test_a_pair_that_the_ids_do_not_come_to_is_refused(tmp_path):
    """Theirs joins (ab, c); by the ids "bc" is made first, and "abc" of (a, bc)."""
    ranks = {bytes([byte]): byte for byte in range(256)} | {b"bc": 256, b"ab": 257, b"abc": 258}
    save_huggingface(Tokenizer(ranks), tmp_path / "tokenizer.json")
    state = json.loads((tmp_path / "tokenizer.json").read_bytes())
    assert state["model"]["merges"] == ["b c", "a b", "a bc"]
    state["model"]["merges"][-1] = "ab c"
    with pytest.raises(ValueError, match=r"b'abc' comes of b'a' \+ b'bc' by the order of ids"):
        load_huggingface(written(state, tmp_path))


def test_added_tokens_that_may_overlap_and_are_found_in_two_passes(state, tmp_path):
    """Theirs finds those that are not normalized first, wherever they begin."""
    theirs = tokenizers.Tokenizer.from_str(json.dumps(state))
    theirs.add_tokens([AddedToken("ab<", normalized=True)])
    theirs.save(str(tmp_path / "tokenizer.json"))
    assert theirs.encode("ab<s>").tokens[-1] == "<s>"
    with pytest.raises(ValueError, match=r"'<s>' and 'ab<' may overlap"):
        load_huggingface(tmp_path / "tokenizer.json")
    theirs = tokenizers.Tokenizer.from_str(json.dumps(state))
    theirs.add_tokens([AddedToken("  ", normalized=True)])
    theirs.save(str(tmp_path / "tokenizer.json"))
    assert same_ids(tmp_path / "tokenizer.json")


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"3", b"{}", b"\xff", b'{"model": 3}', b"[" * 9999]
)
def test_other_files_are_named(tmp_path, content):
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"tokenizer\.json"):
        load_huggingface(tmp_path / "tokenizer.json")


def test_each_loader_names_the_other(state, tmp_path):
    path = written(state, tmp_path)
    with pytest.raises(ValueError, match=r"load_huggingface reads Hugging Face's tokenizer\.json"):
        load_tokenizer(path)


def test_the_alphabet_is_theirs():
    assert sorted(pre_tokenizers.ByteLevel.alphabet()) == sorted(to_printable(bytes(range(256))))


def test_a_template_is_refused_or_left_out_as_asked(tmp_path):
    """Ours adds no token; ``begin_with`` has theirs add one."""
    ours = Tokenizer.train(TEXT, 280, special_tokens=["<s>"])
    path = tmp_path / "tokenizer.json"
    save_huggingface(ours, path, begin_with="<s>")
    theirs = peer_of(path)
    assert theirs.encode(TEXT).ids == [279, *ours.encode(TEXT)]
    assert theirs.encode("a", "b").ids == [279, *ours.encode("a"), *ours.encode("b")]
    with pytest.raises(ValueError, match=r"TemplateProcessing.* pass add_special_tokens=False"):
        load_huggingface(path)
    again = load_huggingface(path, add_special_tokens=False)
    assert again.encode(TEXT) == theirs.encode(TEXT, add_special_tokens=False).ids
