"""Published vocabularies, for the tests that compare with them."""

import lzma

import pytest

from minissl.text import load_gpt2_tokenizer, load_tiktoken
from tests.shared_data import shared_data


def unpacked(name):
    return lzma.decompress(shared_data(f"tokenizers/{name}.xz").read_bytes())


@pytest.fixture(scope="module")
def gpt2_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpt2")
    for name in ("vocab.bpe", "encoder.json"):
        (folder / name).write_bytes(unpacked(f"gpt2_{name}"))
    return folder / "vocab.bpe", folder / "encoder.json"


@pytest.fixture(scope="module")
def gpt2(gpt2_files):
    return load_gpt2_tokenizer(*gpt2_files)


@pytest.fixture(scope="module")
def cl100k(tmp_path_factory):
    path = tmp_path_factory.mktemp("cl100k") / "cl100k_base.tiktoken"
    path.write_bytes(unpacked("cl100k_base.tiktoken"))
    special = {"<|endoftext|>": 100257, "<|endofprompt|>": 100276}
    return load_tiktoken(path, pattern="cl100k", special_tokens=special, num_tokens=100_256)
