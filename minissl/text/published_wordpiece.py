"""The WordPiece of a folder of published weights: ``tokenizer.json``, or ``vocab.txt``. Lecture 03.

``vocab.txt`` is the tokens alone: whether they are without case says ``tokenizer_config.json``.
What a file asks for is honoured, or it is refused by its name: the ids are those of the libraries
``tokenizers`` and ``transformers``, or there are none. Not here: truncation and padding, which a
method does itself, and added tokens that a text would have to spell.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minissl.reading import FileError, read_json, reading
from minissl.text.wordpiece import INSIDE, SPECIAL_TOKENS, WordPiece

JSON, VOCABULARY, CONFIG = "tokenizer.json", "vocab.txt", "tokenizer_config.json"
LONGEST = 100  # characters of a word that is looked at, in all of BERT's kin
WHAT = "a WordPiece tokenizer"
_NORMALIZER = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True}
_MODEL = {
    "type": "WordPiece",
    "unk_token": "[UNK]",
    "continuing_subword_prefix": INSIDE,
    "max_input_chars_per_word": LONGEST,
}
_TEMPLATES = (None, "TemplateProcessing", "BertProcessing")
_CLASSES = (
    None,
    "BertTokenizer",
    "BertTokenizerFast",
    "PreTrainedTokenizerFast",
    "TokenizersBackend",
)


def read_published_wordpiece(folder: Path) -> WordPiece:
    """The tokenizer of a folder; ``tokenizer.json`` where there is one, since it says everything.

    Raises FileNotFoundError where there is none, ValueError, with file and field, for a tokenizer
    that ours is not.
    """
    if (folder / JSON).exists():
        return load_wordpiece_json(folder / JSON)
    if not (folder / VOCABULARY).exists():
        raise FileNotFoundError(
            f"{folder} has neither {JSON} nor {VOCABULARY}: without its tokenizer the weights mean "
            "nothing, get it from where they are from"
        )
    return _of_vocabulary(folder / VOCABULARY, folder / CONFIG)


def load_wordpiece_json(path: Path) -> WordPiece:
    """From Hugging Face's ``tokenizer.json`` with a WordPiece in it, BERT's cleaning before it."""
    state = read_json(path, WHAT)
    with reading(path, WHAT):
        _require(state.get("model"), "model", _MODEL)
        normalizer = state.get("normalizer")
        _require(normalizer, "normalizer", _NORMALIZER)
        _require(state.get("pre_tokenizer"), "pre_tokenizer", {"type": "BertPreTokenizer"})
        template = state.get("post_processor")
        _require_template(template)
        lowercase = normalizer.get("lowercase", True)
        _require_lowercase(lowercase, "lowercase", normalizer.get("strip_accents"))
        ids = state["model"].get("vocab")
        if not isinstance(ids, dict) or sorted(ids.values()) != list(range(len(ids))):
            raise ValueError("model: expected vocab, the tokens with the ids 0, 1, 2, ...")
        return WordPiece(sorted(ids, key=ids.__getitem__), lowercase=lowercase)


def _of_vocabulary(path: Path, place: Path) -> WordPiece:
    """From ``vocab.txt``, with what ``tokenizer_config.json`` says of it."""
    told: dict[str, Any] = {}
    if place.exists():
        told = read_json(place, "the settings of a tokenizer")
    with reading(place, "the settings of a tokenizer"):
        if told.get("tokenizer_class") not in _CLASSES:
            raise ValueError(
                f"tokenizer_class is {told['tokenizer_class']!r:.60}, expected one of "
                f"{', '.join(filter(None, _CLASSES))}"
            )
        if told.get("tokenize_chinese_chars", True) is not True:
            raise ValueError("tokenize_chinese_chars must be true")
        lowercase = told.get("do_lower_case", True)
        _require_lowercase(lowercase, "do_lower_case", told.get("strip_accents"))
    words = WordPiece.read(path, lowercase=lowercase)
    if lowercase and "do_lower_case" not in told:
        cased = (t for t in words.tokens if t not in SPECIAL_TOKENS and t[:1] != "[")
        if capital := next((token for token in cased if token != token.lower()), None):
            raise FileError(
                f"{path} has the token {capital!r:.40}, so it is of words with case, and {place} "
                'does not say so: write {"do_lower_case": false} there'
            )
    return words


def _require(part: Any, name: str, expected: Mapping[str, Any]) -> None:
    """Raise ValueError for a part of the file that is missing or does something else."""
    if not isinstance(part, Mapping):
        raise ValueError(f"{name}: expected an object with type {expected['type']!r}")
    for field, value in expected.items():
        if (found := part.get(field, value if field != "type" else None)) != value:
            raise ValueError(f"{name} has {field} = {found!r:.60}, this tokenizer does {value!r}")


def _require_template(part: Any) -> None:
    """Raise ValueError unless a text is put between [CLS] and [SEP]."""
    kind = part.get("type") if isinstance(part, Mapping) else part
    if kind not in _TEMPLATES:
        raise ValueError(f"post_processor has type = {kind!r:.60}, expected {_TEMPLATES[1]!r}")
    if kind == "TemplateProcessing":
        names = [next(iter(piece.values()))["id"] for piece in part["single"]]
        if names != ["[CLS]", "A", "[SEP]"]:
            raise ValueError(f"post_processor makes {names!r:.80} of a text, not [CLS] A [SEP]")


def _require_lowercase(lowercase: Any, name: str, accents: Any) -> None:
    """Raise ValueError for what is no truth, and for accents that go while case stays."""
    if not isinstance(lowercase, bool):
        raise ValueError(f"{name} must be true or false, got {lowercase!r:.40}")
    if accents not in (None, lowercase):
        raise ValueError(
            f"strip_accents is {accents!r:.40} with {name} = {lowercase}: here both are the same"
        )
