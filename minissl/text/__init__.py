"""Text: byte-level BPE, WordPiece, words, characters, bytes; files; a coloured view of tokens.

Strings and integers only: nothing here knows of tensors. Lecture 03.
"""

from minissl.text.formats import (
    load_gpt2_tokenizer,
    load_tiktoken,
    load_tokenizer,
    save_tokenizer,
)
from minissl.text.huggingface import load_huggingface, save_huggingface
from minissl.text.patterns import CL100K, GPT2, O200K, Pattern
from minissl.text.show import show_tokens
from minissl.text.tokenizer import Tokenizer
from minissl.text.wordpiece import WordPiece
from minissl.text.words import Bytes, Characters, WordVocabulary, words_of

__all__ = [
    "CL100K",
    "GPT2",
    "O200K",
    "Bytes",
    "Characters",
    "Pattern",
    "Tokenizer",
    "WordPiece",
    "WordVocabulary",
    "load_gpt2_tokenizer",
    "load_huggingface",
    "load_tiktoken",
    "load_tokenizer",
    "save_huggingface",
    "save_tokenizer",
    "show_tokens",
    "words_of",
]
