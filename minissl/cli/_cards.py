"""Model cards of exported runs: what a run recorded of its data and itself."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

GPT_CARD = """\
---
library_name: transformers
pipeline_tag: text-generation
tags: [minissl, gpt2]
---

# {name}

A GPT of {parameters:,} parameters with {vocabulary:,} tokens and a context of {context:,}, {origin}
by minissl to predict the next token: {step:,} steps.
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


BERT_CARD = """\
---
library_name: transformers
{task}tags: [minissl, bert]
---

# {name}

An encoder of {parameters:,} parameters as in BERT, with {vocabulary:,} tokens and a context of
{context:,}, {origin} by minissl (`{method}`): {step:,} steps.
It knows its text and nothing else, and what it says is likely, not true.

- Data: {data}.
- {measured}
- Heads: {heads}.
- Licence: not chosen yet. Say here, and as `license:` above, under which one others may use the
  weights; the licence of the text has a say in it.

## Open it

With transformers (the tokenizer puts [CLS] before a text and [SEP] behind it, as in training):

{theirs}
A text has room for {context:,} tokens, these two included. With minissl:

{ours}
## Settings

| setting | value |
| --- | --- |
{settings}
"""
_WORDS = (
    """\
```python
from transformers import AutoModelForMaskedLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{name}")
model = AutoModelForMaskedLM.from_pretrained("{name}")
text = tokenizer("the [MASK] is here.", return_tensors="pt")
logits = model(**text).logits[text.input_ids == tokenizer.mask_token_id]
print(tokenizer.convert_ids_to_tokens(logits.argmax(-1)))
```
""",
    """\
```python
import numpy as np

from minissl.models.published_bert import load_bert
from minissl.text.wordpiece import WordPiece

tokenizer = WordPiece.read("{name}/vocab.txt", lowercase={lowercase})
cls, sep, mask = (tokenizer.ids[token] for token in ("[CLS]", "[SEP]", "[MASK]"))
text = tokenizer.encode("the [MASK] is here.", allow_special="all")
tokens = np.array([[cls, *text, sep]])
model = load_bert("{name}")
logits = model.word_logits(model(tokens)).numpy()[tokens == mask]
print([tokenizer.tokens[token] for token in logits.argmax(-1)])
```
""",
)
_PAIRS = (
    """\
```python
from transformers import AutoModelForNextSentencePrediction, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{name}")
model = AutoModelForNextSentencePrediction.from_pretrained("{name}")
pair = tokenizer("It was here.", "It is gone.", return_tensors="pt")
print(["it follows", "it does not"][model(**pair).logits.argmax()])
```
""",
    """\
```python
import numpy as np

from minissl.models.published_bert import load_bert
from minissl.text.wordpiece import WordPiece

tokenizer = WordPiece.read("{name}/vocab.txt", lowercase={lowercase})
cls, sep = tokenizer.ids["[CLS]"], tokenizer.ids["[SEP]"]
first = [cls, *tokenizer.encode("It was here."), sep]
second = [*tokenizer.encode("It is gone."), sep]
segments = np.array([[0] * len(first) + [1] * len(second)])
model = load_bert("{name}")
states = model(np.array([first + second]), segments=segments)
print(["it follows", "it does not"][model.follows_logits(states).numpy().argmax()])
```
""",
)
_HEADS = {"words": "masked words", "follows": "whether a second text follows the first"}
# Of what a run measured, how a card says it.
_MEASURED = {
    "loss": "{:.4f} {{unit}}",
    "bits_per_byte": "{:.4f} bits per byte",
    "next_loss": "{:.4f} nats per pair of texts",
    "next_accuracy": "{:.1%} of the pairs told right",
}


def gpt_card(opened: Any, name: str) -> str:
    """The README.md of an exported GPT."""
    from minissl.text.documents import SEPARATOR

    return GPT_CARD.format(
        **_shared(opened, name),
        parameters=opened.method.model.config.num_parameters(),
        measured=_measured(opened, "nats per token"),
        separator=SEPARATOR,
    )


def bert_card(opened: Any, name: str, heads: Collection[str]) -> str:
    """The README.md of an exported encoder; heads: what is written with it."""
    model, fills = opened.method.model, "words" in heads
    parts = [model.encoder, *(getattr(model, head) for head in heads)]
    lowercase = opened.method.tokenizer.lowercase
    theirs, ours = (
        one.format(name=name, lowercase=lowercase) for one in (_WORDS if fills else _PAIRS)
    )
    said = " and ".join(text for head, text in _HEADS.items() if head in heads)
    if model.boundary is not None:
        said += "; that of the boundaries of spans is left out, BERT's files have no place for it"
    return BERT_CARD.format(
        **_shared(opened, name),
        parameters=sum(part.num_parameters() for part in parts),
        measured=_measured(opened, "nats per hidden token"),
        method=opened.name,
        task="pipeline_tag: fill-mask\n" if fills else "",
        heads=said,
        theirs=theirs,
        ours=ours,
    )


def _shared(opened: Any, name: str) -> dict[str, Any]:
    """What every card says."""
    from minissl.pretrain import PUBLISHED

    config, settings = opened.method.model.config, asdict(opened.settings)
    if settings.get("vocab"):  # a file: of its path only the last name, as of the data's
        settings["vocab"] = Path(settings["vocab"]).name
    return {
        "name": name,
        "origin": "trained on" if opened.name in PUBLISHED else "trained from scratch",
        "vocabulary": config.vocab_size,
        "context": config.context_length,
        "step": opened.checkpoint.step,
        "data": _data(opened),
        "settings": "\n".join(f"| {key} | {value} |" for key, value in settings.items()),
    }


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


def _measured(opened: Any, unit: str) -> str:
    """The last held-out loss, in ``unit``, that the run recorded up to its checkpoint."""
    from minissl.training import History

    for record in reversed(list(History.read(opened.folder))):
        said = [
            text.format(record[f"held_out_{key}"])
            for key, text in _MEASURED.items()
            if record.get(f"held_out_{key}") is not None
        ]
        if said and record["step"] <= opened.checkpoint.step:
            told = ", ".join(said).format(unit=unit)
            return f"Held-out loss after {record['step']:,} steps: {told}."
    return "The run recorded no held-out loss."
