"""write a pretrained GPT, an encoder or word vectors for other programs"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from minissl.cli._shared import path

DESCRIPTION = """\
Of a GPT: writes weights, tokenizer, configuration and a model card (README.md) in a new folder that
transformers opens, AutoModelForCausalLM and AutoTokenizer, and continues with the same text. Of an
encoder (bert, spanbert, roberta --pieces wordpiece): the same for AutoModelForMaskedLM, with its
vocab.txt. Of a run that has word vectors: a new file, which gensim and others open. What
`minissl adapt` made is not written for other programs: `minissl predict` and `embed` use it."""
EXAMPLES = """\
examples:
  minissl export runs/book book-gpt
  python -c 'from transformers import pipeline
  print(pipeline("text-generation", "book-gpt")("It was", max_new_tokens=20))'
  minissl export runs/bert small-bert     transformers' AutoModelForMaskedLM opens it
  minissl export runs/words words.vec     word2vec text; words.bin: binary, words.txt: GloVe text"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is read and what is written."""
    parser.add_argument(
        "folder", type=path, metavar="RUN", help="a run of a GPT, an encoder or word vectors"
    )
    parser.add_argument(
        "out", type=path, metavar="OUT", help="a new folder; of word vectors a .vec, .bin or .txt"
    )


def run(arguments: argparse.Namespace) -> None:
    """Write what the run has, and say what opens it."""
    from minissl.data.vector_files import SUFFIXES
    from minissl.models.encoder import MaskedEncoder
    from minissl.pretrain.method import HasVectors
    from minissl.pretrain.published import is_published
    from minissl.pretrain.run import open_run

    if is_published(arguments.folder):
        raise ValueError(f"{arguments.folder} is what other programs open, already: copy it")
    opened = open_run(arguments.folder)
    if isinstance(opened.method, HasVectors) or arguments.out.suffix.lower() in SUFFIXES:
        _export_vectors(opened, arguments.folder, arguments.out)
    elif isinstance(opened.method.model, MaskedEncoder):
        _export_bert(opened, arguments.folder, arguments.out)
    else:
        _export_gpt(opened, arguments.folder, arguments.out)


def _export_vectors(opened: Any, folder: Path, out: Path) -> None:
    from minissl.cli._vectors import size_of, vectors_of
    from minissl.data.vector_files import check_suffix, write_vectors
    from minissl.durable import make_parents

    vectors = vectors_of(opened, folder)
    suffix = check_suffix(out)
    if out.exists():
        raise FileExistsError(f"{out} is there already: name a new file, or remove it")
    make_parents(out)
    write_vectors(vectors, out)
    how = {".bin": ", binary=True", ".txt": ", no_header=True"}.get(suffix, "")
    print(
        f"{out}: {size_of(vectors)}; `minissl neighbors {out} WORD` reads it, and gensim's "
        f"KeyedVectors.load_word2vec_format({str(out)!r}{how})"
    )


def _export_gpt(opened: Any, folder: Path, out: Path) -> None:
    from minissl.cli._cards import gpt_card
    from minissl.models.export import export_gpt
    from minissl.models.gpt import GPT
    from minissl.text.documents import SEPARATOR

    model, tokenizer = opened.method.model, getattr(opened.method, "tokenizer", None)
    if not isinstance(model, GPT) or tokenizer is None:
        raise ValueError(
            f"{folder} holds a run of {opened.name!r}: only a GPT (`minissl pretrain gpt`) or an "
            "encoder (`minissl pretrain bert`) can be written for transformers, and word vectors "
            "as a file"
        )
    export_gpt(model, tokenizer, out, separator=SEPARATOR, card=gpt_card(opened, out.name))
    print(
        f"{out}: {model.config.num_parameters():,} parameters, "
        f"{tokenizer.vocab_size:,} tokens; open it with transformers' "
        f"AutoModelForCausalLM.from_pretrained({str(out)!r}), and say in its README.md "
        "under which licence others may use it"
    )


# What ``--objective`` of bert leaves as it began.
_UNTRAINED = {"masked": {"pooler", "follows"}, "next": {"words"}}


def _export_bert(opened: Any, folder: Path, out: Path) -> None:
    from minissl.cli._cards import bert_card
    from minissl.models.export_bert import export_bert
    from minissl.models.published_bert import HEADS
    from minissl.text.wordpiece import WordPiece

    model, tokenizer = opened.method.model, opened.method.tokenizer
    if not isinstance(tokenizer, WordPiece):
        raise ValueError(
            f"{folder} holds a run of {opened.name!r} with byte-level BPE, for which BERT's files "
            "have no place: only runs with --pieces wordpiece can be written for transformers"
        )
    untrained = _UNTRAINED.get(getattr(opened.settings, "objective", ""), set())
    heads = [head for head in HEADS if getattr(model, head) is not None and head not in untrained]
    card = bert_card(opened, out.name, heads)
    export_bert(model, tokenizer, out, heads=heads, card=card)
    kind = "AutoModelForMaskedLM" if "words" in heads else "AutoModelForNextSentencePrediction"
    if {"words", "follows"} <= set(heads):
        kind += " or BertForPreTraining"
    left = ["its head for the boundaries of spans, for which BERT's files have no place"]
    left = left if model.boundary is not None else []
    if untrained:
        left.append(f"the heads that --objective {opened.settings.objective} does not train")
    print(
        f"{out}: {tokenizer.vocab_size:,} tokens; open it with transformers' {kind}, "
        f".from_pretrained({str(out)!r}), and say in its README.md under which licence others may "
        "use it" + (f". Left out: {'; '.join(left)}" if left else "")
    )
