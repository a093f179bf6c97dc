"""write a pretrained GPT or word vectors for other programs"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from minissl.cli._shared import path

DESCRIPTION = """\
Of a GPT: writes weights, tokenizer, configuration and a model card (README.md) in a new folder that
transformers opens, AutoModelForCausalLM and AutoTokenizer, and continues with the same text. Of a
run that has word vectors: a new file, which gensim and others open."""
EXAMPLES = """\
examples:
  minissl export runs/book book-gpt
  python -c 'from transformers import pipeline
  print(pipeline("text-generation", "book-gpt")("It was", max_new_tokens=20))'
  minissl export runs/words words.vec     word2vec text; words.bin: binary, words.txt: GloVe text"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is read and what is written."""
    parser.add_argument("folder", type=path, metavar="RUN", help="a run of a GPT or word vectors")
    parser.add_argument(
        "out", type=path, metavar="OUT", help="a new folder; of word vectors a .vec, .bin or .txt"
    )


def run(arguments: argparse.Namespace) -> None:
    """Write what the run has, and say what opens it."""
    from minissl.data.vector_files import SUFFIXES
    from minissl.pretrain.method import HasVectors
    from minissl.pretrain.run import open_run

    opened = open_run(arguments.folder)
    if isinstance(opened.method, HasVectors) or arguments.out.suffix.lower() in SUFFIXES:
        _export_vectors(opened, arguments.folder, arguments.out)
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
    from minissl.models.export import export_gpt
    from minissl.models.gpt import GPT
    from minissl.text.documents import SEPARATOR

    model, tokenizer = opened.method.model, getattr(opened.method, "tokenizer", None)
    if not isinstance(model, GPT) or tokenizer is None:
        raise ValueError(
            f"{folder} holds a run of {opened.name!r}: only a GPT (`minissl pretrain gpt`) "
            "can be written for transformers, and word vectors as a file"
        )
    export_gpt(model, tokenizer, out, separator=SEPARATOR, card=card(opened, out.name))
    print(
        f"{out}: {model.config.num_parameters():,} parameters, "
        f"{tokenizer.vocab_size:,} tokens; open it with transformers' "
        f"AutoModelForCausalLM.from_pretrained({str(out)!r}), and say in its README.md "
        "under which licence others may use it"
    )


CARD = """\
---
library_name: transformers
pipeline_tag: text-generation
tags: [minissl, gpt2]
---

# {name}

A GPT of {parameters:,} parameters with {vocabulary:,} tokens and a context of {context:,}, trained
from scratch by minissl to predict the next token: {step:,} steps.
It knows its text and nothing else, and what it writes is likely, not true.

- Data: {data}.
- {measured}
- Licence: not chosen yet. Say here, and as `license:` above, under which one others may use the
  weights; the licence of the text has a say in it.

## Open it

With transformers (the tokenizer puts `{separator}` before a text, as in training):

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{name}")
model = AutoModelForCausalLM.from_pretrained("{name}")
prompt = tokenizer("It was", return_tensors="pt")
print(tokenizer.decode(model.generate(**prompt, max_new_tokens=20)[0]))
```

A prompt and what follows it have room for {context:,} tokens together. With minissl:

```python
from minissl.models.generate import generate
from minissl.models.published import load_gpt2
from minissl.text import load_huggingface

tokenizer = load_huggingface("{name}/tokenizer.json", add_special_tokens=False)
end = tokenizer.special_tokens["{separator}"]
prompt = [end, *tokenizer.encode("It was")]
print(tokenizer.decode(generate(load_gpt2("{name}"), prompt, 20, temperature=0, stop=[end])))
```

## Settings

| setting | value |
| --- | --- |
{settings}
"""


def card(opened: Any, name: str) -> str:
    """The README.md of an exported run: what the run recorded of its data and itself."""
    from minissl.text.documents import SEPARATOR

    config, settings = opened.method.model.config, asdict(opened.settings)
    return CARD.format(
        name=name,
        parameters=config.num_parameters(),
        vocabulary=config.vocab_size,
        context=config.context_length,
        step=opened.checkpoint.step,
        data=_data(opened),
        measured=_measured(opened),
        separator=SEPARATOR,
        settings="\n".join(f"| {key} | {value} |" for key, value in settings.items()),
    )


def _data(opened: Any) -> str:
    """What the run recorded of its data; of the path only the last name, which is no secret."""
    from minissl.reading import reading
    from minissl.training.folder import DATA, read_if_there

    file, what = opened.folder / DATA, "what the data of a run is"
    about = read_if_there(file, what)
    if about is None:
        return "not recorded"
    with reading(file, what):
        told, place = about["fingerprint"], about["read_from"] or opened.method.Data.default
        return (
            f"`{Path(place).name}`, {told['documents']:,} documents, {told['bytes']:,} bytes, "
            f"SHA-256 `{told['sha256']}`"
        )


def _measured(opened: Any) -> str:
    """The last held-out loss that the run recorded up to its checkpoint."""
    from minissl.training import History

    for record in reversed(list(History.read(opened.folder))):
        if record["step"] <= opened.checkpoint.step and record.get("held_out_loss") is not None:
            bits = record.get("held_out_bits_per_byte")
            return (
                f"Held-out loss after {record['step']:,} steps: {record['held_out_loss']:.4f} nats "
                "per token" + (f", {bits:.4f} bits per byte" if bits is not None else "") + "."
            )
    return "The run recorded no held-out loss."
