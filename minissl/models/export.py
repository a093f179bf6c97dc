"""A GPT and its tokenizer in the folder that ``transformers`` opens. Lecture 10.

``AutoModelForCausalLM`` and ``AutoTokenizer`` read it, and so do ``load_gpt2`` and
``load_huggingface``.
"""

import json
from pathlib import Path
from typing import Any

from minissl.durable import replace_durably, whole_folder
from minissl.models.gpt import GPT
from minissl.models.published import save_gpt2
from minissl.text import Tokenizer, save_huggingface


def export_gpt(
    model: GPT, tokenizer: Tokenizer, folder: Path, *, separator: str, card: str
) -> None:
    """Write a new folder, whole or not at all.

    separator: the special token that begins and ends a document, so the bos and eos of everything:
    a prompt is continued from the beginning of a document, as in training. card: the README.md.

    Raises FileExistsError for a folder with something in it, ValueError for a model or a tokenizer
    that the formats cannot hold.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there already: name a new folder, or remove it")
    number = tokenizer.special_tokens[separator]
    ends = {"bos_token_id": number, "eos_token_id": number, "pad_token_id": number}
    generation = {**ends, "do_sample": False}  # greedy unless it is asked for otherwise
    told = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": separator,
        "eos_token": separator,
        "clean_up_tokenization_spaces": False,
        "model_max_length": model.config.context_length,
        "model_input_names": ["input_ids", "attention_mask"],  # GPT-2 would add others to these
    }
    with whole_folder(folder) as new:
        save_gpt2(model, new, separator=number)
        save_huggingface(tokenizer, new / "tokenizer.json", begin_with=separator)
        replace_durably(new / "generation_config.json", _json(generation))
        replace_durably(new / "tokenizer_config.json", _json(told))
        replace_durably(new / "README.md", card.encode())


def _json(state: dict[str, Any]) -> bytes:
    return (json.dumps(state, indent=2) + "\n").encode()
