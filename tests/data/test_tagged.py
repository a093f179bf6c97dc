"""Sentences with a tag for each word: both kinds of files, every way to damage them, the pieces."""

import itertools
import json

import numpy as np
import pytest
from tokenizers import BertWordPieceTokenizer

from minissl.adapt.method import Task
from minissl.data import Fields, Kept
from minissl.data.asked import Asked, load_reads
from minissl.data.labels import Labelled
from minissl.data.pairs import TokenPairs
from minissl.data.passages import Passages
from minissl.data.streams import TOKENIZER, Streams
from minissl.data.tagged import Sentence, Tagged, TaggedTexts, pieces_of
from minissl.data.words import WordOptions, WordTexts
from minissl.text import Tokenizer
from minissl.text.documents import SEPARATOR
from minissl.text.formats import tokenizer_to_bytes
from minissl.text.wordpiece import WordPiece

ROW = "{}\t{}\t_\t{}\t{}\t_\t0\troot\t_\t_"
CONLLU = "\n".join([
    "# newdoc id = 1", "# text = He doesn't.", ROW.format(1, "He", "PRON", "PRP"),
    ROW.format("2-3", "doesn't", "_", "_"), ROW.format(2, "does", "AUX", "VBZ"),
    ROW.format(3, "n't", "PART", "RB"), ROW.format("3.1", "sing", "VERB", "VB"),
    ROW.format(4, ".", "PUNCT", "."), "", "# a comment alone", "", "",
    ROW.format(1, "New York", "PROPN", "NNP"), "",
])  # fmt: skip
ONE = ROW.format(1, "yes", "INTJ", "UH")
CONLL = "-DOCSTART- -X- O O\n\nEU NNP B-NP B-ORG\n# NN I-NP O\n-DOCSTART- -X- O O\nyes UH O O\n"
WORDS = ("the", "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##aff", "##able", "don", "'",
         "t", "cafe", "##s")  # fmt: skip
SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[MASK]")
TEXT = "the dog sang and the dog's bird sang, the dog ran " * 9


def written(folder, text, name="a.conllu"):
    path = folder / name
    path.write_bytes(text.encode())
    return path


def words_and_tags(raw):
    return [(one.words, one.tags) for one in raw.sentences]


def passages(tokenizer):
    """Made ready without any text; [CLS] and [SEP] stand around what is read."""
    return Passages(Kept(), tokenizer, None, None)


def streams():
    tokenizer = Tokenizer.train(TEXT, 280, special_tokens=[SEPARATOR])
    kept = Kept({TOKENIZER: tokenizer_to_bytes(tokenizer)})
    return Streams(kept, tokenizer, np.zeros(0), np.zeros(0), b"", b"")


# ---- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_conllu_has_words_and_neither_several_in_one_nor_empty_nodes(end, tmp_path):
    path = written(tmp_path, CONLLU.replace("\n", end))
    raw = TaggedTexts.read(path)
    assert words_and_tags(raw) == [
        (("He", "does", "n't", "."), ("PRON", "AUX", "PART", "PUNCT")),
        (("New York",), ("PROPN",)),
    ]
    assert [one.name for one in raw.sentences] == ["a.conllu, line 3", "a.conllu, line 13"]
    assert raw.class_names == ("AUX", "PART", "PRON", "PROPN", "PUNCT")
    assert [labels.tolist() for labels in raw.labels] == [[2, 0, 1, 4], [3]]
    other = TaggedTexts.read(path, None, Fields(label_field="XPOS"))
    assert other.sentences[0].tags == ("PRP", "VBZ", "RB", ".")
    without = TaggedTexts.read_examples(path)
    assert [one.words for one in without.sentences] == [one.words for one in raw.sentences]
    assert without.class_names == ()


@pytest.mark.parametrize("name", ["a.conll", "a.iob", "b.BIO"])
def test_columns_have_the_word_first_and_the_tag_last(name, tmp_path):
    path = written(tmp_path, CONLL, name)
    expected = [(("EU", "#"), ("B-ORG", "O")), (("yes",), ("O",))]
    assert words_and_tags(TaggedTexts.read(path)) == expected
    second = TaggedTexts.read(path, None, Fields(label_field="2"))
    assert [one.tags for one in second.sentences] == [("NNP", "NN"), ("UH",)]
    tabs = written(tmp_path, "New York\tB-LOC\nis\tO\n\t\nit\tO", "tabs.conll")
    assert words_and_tags(TaggedTexts.read(tabs)) == [
        (("New York", "is"), ("B-LOC", "O")), (("it",), ("O",)),
    ]  # fmt: skip


def test_what_is_predicted_needs_no_tags(tmp_path):
    bare = written(tmp_path, "He\nsings\n\nyes\n", "a.conll")
    raw = TaggedTexts.read_examples(bare)
    assert words_and_tags(raw) == [(("He", "sings"), ()), (("yes",), ())]
    empty = written(tmp_path, CONLLU.replace("PRON", "_"))
    assert TaggedTexts.read_examples(empty).sentences[0].words[0] == "He"
    text = written(tmp_path, "He  sings .\n\n yes \r\n", "a.txt")
    raw = TaggedTexts.read_examples(text)
    assert words_and_tags(raw) == [(("He", "sings", "."), ()), (("yes",), ())]
    assert [one.name for one in raw.sentences] == ["a.txt, line 1", "a.txt, line 3"]
    with pytest.raises(ValueError, match="have no tags"):
        raw.labelled_by(passages(WordPiece(WORDS)))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.conllu", "", "a.conllu holds no sentence"),
        ("a.conllu", "# nothing\n\n", "holds no sentence"),
        ("a.conllu", "1\tHe\tPRON\n", "line 1 has 3 column.s., CoNLL-U has 10"),
        ("a.conllu", CONLLU.replace("4\t.", "5\t."), "line 8: the word has the number '5', .* 4"),
        ("a.conllu", f"{ONE}\n{ONE}\n", "line 2: the word has the number '1', expected 2: a wo"),
        ("a.conllu", CONLLU.replace("PRON", "_"), r"line 3: the word has no tag .*\('_'\)"),
        ("a.conllu", CONLLU.replace("\tHe\t", "\t\t"), "line 3: there is no word"),
        ("a.conll", "He O\nsings\n", "line 2 has 1 column.s., those before it 2"),
        ("a.conll", "He\nsings\n", "line 1 has one column"),
        ("a.conll", "He\tO\n\tO\n", "line 2: there is no word"),
        ("a.conll", "He\tO\nis\t\n", "line 2: the word has no tag"),
        ("a.conll", "He O\nis O\xa0\n", r"a.conll: the classes 'O' and 'O\\xa0' differ only by"),
        ("a.tsv", "He\tO\n", r"a.tsv: words with tags are read from .*\.iob.* rename it"),
    ],
)  # fmt: skip
def test_what_is_damaged_is_named_with_its_line(name, text, words, tmp_path):
    path = written(tmp_path, text, name)
    with pytest.raises(ValueError, match=words) as caught:
        TaggedTexts.read(path)
    assert str(path) in str(caught.value)


def test_what_cannot_be_read_is_told(tmp_path):
    path = written(tmp_path, CONLL, "a.conll")
    for column, name in (("1", path), ("5", path), ("x", path)):
        with pytest.raises(ValueError, match="expected a number from 2 to 4"):
            TaggedTexts.read(name, None, Fields(label_field=column))
    with pytest.raises(ValueError, match="no column 'form' for tags: give one of lemma, upos"):
        TaggedTexts.read(written(tmp_path, CONLLU), None, Fields(label_field="form"))
    with pytest.raises(ValueError, match="layout snli is that of a table"):
        TaggedTexts.read(path, None, Fields(layout="snli"))
    with pytest.raises(ValueError, match="have labels 'tags', asked for is 'class'"):
        TaggedTexts.read(path, labels="class")
    for wrong in (None, tmp_path):
        with pytest.raises(ValueError, match="are read from a file"):
            TaggedTexts.read(wrong)
    with pytest.raises(ValueError, match=r"a.txt holds no word"):
        TaggedTexts.read_examples(written(tmp_path, " \n\n", "a.txt"))
    with pytest.raises(ValueError, match=r"a.csv is a table: .* a sentence on each line"):
        TaggedTexts.read_examples(written(tmp_path, "text\nHe\n", "a.csv"))
    with pytest.raises(FileNotFoundError):
        TaggedTexts.read(tmp_path / "none.conll")


@pytest.mark.parametrize(
    ("sentences", "words"),
    [
        ([], "there are no sentences"),
        ([Sentence("s", (), ())], "s: a sentence needs a word"),
        ([Sentence("s", ("a", ""), ("X", "Y"))], "s: a sentence needs a word"),
        ([Sentence("s", ("a", "b"), ("X",))], r"s: 2 word\(s\) with 1 tag\(s\), expected one for"),
        ([Sentence("s", ("a",), ("X",)), Sentence("t", ("a",))], "t: 1 .* with 0 tag"),
        ([Sentence("s", ("a",)), Sentence("t", ("a",), ("X",))], "t: .* expected none, as in"),
    ],
)
def test_sentences_without_a_tag_for_each_word_are_refused(sentences, words):
    with pytest.raises(ValueError, match=words):
        TaggedTexts(sentences)


def test_the_fingerprint_is_that_of_every_name_word_and_tag():
    raw = TaggedTexts.toy(seed=0)
    own = raw.fingerprint()
    assert json.loads(json.dumps(own)) == own == TaggedTexts.toy(seed=0).fingerprint()
    assert own["sentences"] == 40
    assert own["words"] == sum(map(len, raw.labels))
    first, *rest = raw.sentences
    name, words, tags = first
    changed = [
        [*raw.sentences[::-1]], [first._replace(name=name + "!"), *rest],
        [first._replace(words=("ran", *words[1:])), *rest],
        [first._replace(tags=("X", *tags[1:])), *rest],
    ]  # fmt: skip
    found = {TaggedTexts(sentences).fingerprint()["sha256"] for sentences in changed}
    assert len({*found, own["sha256"], TaggedTexts.toy(seed=1).fingerprint()["sha256"]}) == 6


# ---- pieces --------------------------------------------------------------------------------------


def test_a_tag_stands_at_the_first_piece_of_its_word_as_in_tokenizers():
    """Positions by ``tokenizers``, which is told what the words are."""
    words = ("the", "unaffable", "Cafés", "don't", "zebra", "the")
    theirs = BertWordPieceTokenizer(vocab={w: i for i, w in enumerate(WORDS)}, lowercase=True)
    encoded = theirs.encode([*words], is_pretokenized=True)
    raw = TaggedTexts([Sentence("s", words, ("X",) * len(words))])
    (one,), _ = raw.examples_by(passages(WordPiece(WORDS)))
    assert [*one] == encoded.ids
    firsts = [encoded.word_ids.index(number) for number in range(len(words))]
    assert one.firsts.tolist() == firsts == [1, 2, 5, 7, 10, 11]
    assert one.words == words
    assert isinstance(one, Tagged)


def test_words_of_which_nothing_is_left_are_unknown():
    """A control character, a zero-width space and, longer than WordPiece reads, a word."""
    tokenizer = WordPiece(WORDS)
    raw = TaggedTexts([Sentence("s", ("the", "\x01", "\u200b", "x" * 101, "the"))])
    (one,), _ = raw.examples_by(passages(tokenizer))
    cls, sep, unknown = (tokenizer.special_tokens[n] for n in ("[CLS]", "[SEP]", "[UNK]"))
    assert [*one] == [cls, 0, unknown, unknown, unknown, 0, sep]
    assert one.firsts.tolist() == [1, 2, 3, 4, 5]
    assert pieces_of("[SEP]", tokenizer) != [sep]  # a text is no special token


@pytest.mark.parametrize("kind", ["gpt", "roberta"])
def test_bytes_are_cut_as_inside_a_text(kind):
    """The pieces of all words together are those of the text with a space before it."""
    prepared = streams()
    if kind == "roberta":
        prepared = passages(Tokenizer.train(TEXT, 280, special_tokens=SPECIAL))
    words = ("the", "dog", "sang", "über", SEPARATOR, "the")
    (one,), _ = TaggedTexts([Sentence("s", words)]).examples_by(prepared)
    ends = 1 if kind == "gpt" else 2
    assert [one[0], *one[len(one) - ends + 1 :]] == prepared.tokens("")
    inside = one[1:-1] if kind == "roberta" else one[1:]
    assert inside == prepared.tokenizer.encode(" " + " ".join(words), allow_special="none")
    begins = [*one.firsts.tolist(), len(inside) + 1]
    text = [prepared.tokenizer.decode(one[i:j]) for i, j in itertools.pairwise(begins)]
    assert text == [f" {word}" for word in words]


def test_a_run_reads_them_by_their_own_rule():
    raw = TaggedTexts.toy(seed=3)
    assert isinstance(raw, Asked)
    assert load_reads(raw.reads) is TaggedTexts
    labelled = raw.labelled_by(streams())
    assert isinstance(labelled, Labelled)
    assert labelled.kind == labelled.form == "tags"
    assert labelled.class_names == ("B-animal", "I-animal", "O")
    assert labelled.raw.shape == (40, 0)
    train, held_out = labelled.split()
    assert (len(train), len(held_out)) == (27, 13)
    for one, tags in zip(held_out.inputs, held_out.labels):
        assert len(one.words) == len(one.firsts) == len(tags)
    task = Task.prepare(streams(), raw, ["class", "tags"])
    assert task.describe() == "27 labelled examples of 3 tags, 13 held out"
    assert (task.form, task.reads) == ("tags", "tagged")
    pairs = TokenPairs(Kept(), streams().tokenizer, [])
    assert raw.examples_by(pairs).inputs == labelled.inputs
    words = WordTexts.toy(seed=0).prepare(Kept(), WordOptions(min_count=1))
    with pytest.raises(ValueError, match="tagged words are read by a run of texts that cuts them"):
        raw.examples_by(words)


def test_no_word_of_the_toy_says_its_tag_alone_and_two_do():
    raw = TaggedTexts.toy(seed=4)
    alone, two = {}, {}
    for _, words, tags in raw.sentences:
        for before, word, tag in zip(("", *words), words, tags):
            alone.setdefault(word, set()).add(tag)
            two.setdefault((before, word), set()).add(tag)
    assert alone["dog"] == {"O", "I-animal"}
    assert all(len(tags) == 1 for tags in two.values())
    assert {len(words) for _, words, _ in raw.sentences} == {1, 3, 4, 6}
    with pytest.raises(ValueError, match="asked for is 'number'"):
        TaggedTexts.toy(labels="number")
