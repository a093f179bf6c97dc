"""An encoder and its WordPiece in the folder that ``transformers`` opens. Lecture 08.

``AutoModelForMaskedLM`` (or the class that its configuration names) and ``AutoTokenizer`` read it,
and so do ``load_bert`` and ``WordPiece.read``.
"""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from minissl.durable import replace_durably, whole_folder
from minissl.models.encoder import MaskedEncoder
from minissl.models.published_bert import save_bert
from minissl.text.wordpiece import SPECIAL_TOKENS, WordPiece

LONGEST = 100  # characters of a word that is not [UNK] unseen; their tokenizer has no other
# What their tokenizer calls each special token.
_CALLED = {
    "[PAD]": "pad_token",
    "[UNK]": "unk_token",
    "[CLS]": "cls_token",
    "[SEP]": "sep_token",
    "[MASK]": "mask_token",
}


def export_bert(
    model: MaskedEncoder,
    tokenizer: WordPiece,
    folder: Path,
    *,
    heads: Collection[str] | None = None,
    card: str,
) -> None:
    """Write a new folder, whole or not at all. heads: see ``save_bert``; card: the README.md.

    Their tokenizer gives [CLS], the ids of ``encode(text, allow_special="all")``, [SEP]. Raises
    FileExistsError for a folder with something in it, ValueError for a model or a tokenizer that
    the formats cannot hold.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there already: name a new folder, or remove it")
    _require_writable(model, tokenizer)
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    if model.config.segments < 2:  # their tokenizer says 1 of a second text
        inputs.remove("token_type_ids")
    told = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": tokenizer.lowercase,
        "strip_accents": None,  # as do_lower_case says
        "tokenize_chinese_chars": True,
        **{_CALLED[name]: name for name in SPECIAL_TOKENS},
        "clean_up_tokenization_spaces": False,
        "model_max_length": model.config.context_length,
        "model_input_names": inputs,
    }
    with whole_folder(folder) as new:
        save_bert(model, new, heads=heads, padding=tokenizer.ids["[PAD]"])
        tokenizer.write(new / "vocab.txt")
        replace_durably(new / "tokenizer_config.json", _json(told))
        replace_durably(new / "README.md", card.encode())


def _require_writable(model: MaskedEncoder, tokenizer: WordPiece) -> None:
    """Raise ValueError for a tokenizer that BERT's files cannot hold, or of another model."""
    if not isinstance(tokenizer, WordPiece):
        raise ValueError(
            f"BERT's files have a WordPiece, vocab.txt; a {type(tokenizer).__name__} (byte-level "
            "BPE, as in RoBERTa) has no place there: train with pieces=wordpiece"
        )
    if missing := [name for name in SPECIAL_TOKENS if name not in tokenizer.ids]:
        raise ValueError(
            f"the vocabulary lacks {', '.join(missing)}, which BERT's tokenizer puts into texts"
        )
    if tokenizer.longest != LONGEST:
        raise ValueError(
            f"this WordPiece looks at words of up to {tokenizer.longest} characters, BERT's files "
            f"cannot say so: there it is {LONGEST}"
        )
    if tokenizer.vocab_size > model.config.vocab_size:
        raise ValueError(
            f"the tokenizer has {tokenizer.vocab_size} tokens, the model {model.config.vocab_size}:"
            " the two do not belong together"
        )


def _json(state: dict[str, Any]) -> bytes:
    return (json.dumps(state, indent=2) + "\n").encode()
