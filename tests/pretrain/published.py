"""Small folders of published weights, as they are distributed: BERT's kin, GPT-2's layout."""

import json

import numpy as np

from minissl.data.texts import Texts
from minissl.models.encoder import EncoderConfig, MaskedEncoder
from minissl.models.gpt import GPT, GPTConfig
from minissl.models.published import save_gpt2
from minissl.models.published_bert import save_bert
from minissl.text import Tokenizer, save_huggingface
from minissl.text.documents import SEPARATOR
from minissl.text.wordpiece import WordPiece

TEXTS = [document.text for document in Texts.toy().documents]
SIZES = {"num_layers": 2, "width": 12, "num_heads": 3, "hidden_width": 20}
POOLING = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
MODULES = [
    {"type": "sentence_transformers.models.Transformer", "path": ""},
    {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
    {"type": "sentence_transformers.models.Normalize", "path": "2_Normalize"},
]


def spread(model, seed=0):
    """Weights at which a mistake is seen: norms and biases too are random."""
    draw = np.random.default_rng(seed)
    state = {name: array + 0.3 * draw.standard_normal(array.shape).astype(np.float32)
             for name, array in model.state_dict().items()}  # fmt: skip
    model.load_state_dict(state)
    return model


def write_bert(folder, *, heads=("pooler",), seed=0, lowercase=True):
    words = WordPiece.train(TEXTS, 90, lowercase=lowercase)
    config = EncoderConfig(**SIZES, vocab_size=96, context_length=20, norm_eps=1e-6)
    draw = np.random.default_rng(seed)
    save_bert(
        spread(MaskedEncoder(config, next_sentence=True, generator=draw)), folder, heads=heads
    )
    words.write(folder / "vocab.txt")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"do_lower_case": lowercase}), encoding="utf-8"
    )
    return folder


def write_json(folder):
    """``tokenizer.json`` in place of the vocabulary, as its library writes it."""
    from tokenizers import BertWordPieceTokenizer

    BertWordPieceTokenizer(str(folder / "vocab.txt")).save(str(folder / "tokenizer.json"))
    for name in ("vocab.txt", "tokenizer_config.json"):
        (folder / name).unlink()


def write_gpt2(folder, *, seed=0, **changes):
    tokenizer = Tokenizer.train(TEXTS, 290, special_tokens=[SEPARATOR])
    config = GPTConfig(**SIZES, vocab_size=296, context_length=24, norm_eps=1e-6, **changes)
    model = GPT(config, generator=np.random.default_rng(seed))
    save_gpt2(spread(model), folder, separator=tokenizer.special_tokens[SEPARATOR])
    save_huggingface(tokenizer, folder / "tokenizer.json")
    return folder


def as_sentence_encoder(folder, modules=MODULES, **pooling):
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text(json.dumps(pooling or POOLING), encoding="utf-8")
