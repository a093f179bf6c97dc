"""Sampling 256 tokens, one after the other with a KV cache: ours and torch eager.

    OPENBLAS_NUM_THREADS=2 python -m benchmarks.sampling

4 layers, width 256, 4 heads, 4096 tokens in the vocabulary, float32; the same weights in both.
Before anything is timed, greedy sampling must give the same 256 tokens.
"""

import argparse

import numpy as np
import torch

from benchmarks.common import compare, report
from benchmarks.gpt_step import use_threads
from benchmarks.gpt_torch import in_torch
from minissl.conditions import environment
from minissl.models.generate import generate
from minissl.models.gpt import GPT, GPTConfig

CONFIG = GPTConfig(num_layers=4, width=256, num_heads=4, vocab_size=4096, context_length=272)
PROMPT, NEW_TOKENS = list(range(1, 17)), 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    machine = environment(["torch"])
    use_threads()
    model = GPT(CONFIG, generator=np.random.default_rng(0))
    twin = in_torch(model)
    same = twin.generate(PROMPT, NEW_TOKENS, None, temperature=0)
    if generate(model, PROMPT, NEW_TOKENS, temperature=0) != same:
        raise SystemExit("greedy sampling gave different tokens")
    draw, torch_draw = np.random.default_rng(0), torch.Generator().manual_seed(0)
    seconds = compare(
        {
            "greedy, minissl": lambda: generate(model, PROMPT, NEW_TOKENS, temperature=0),
            "greedy, torch": lambda: twin.generate(PROMPT, NEW_TOKENS, None, temperature=0),
            "temperature 1, minissl": lambda: generate(model, PROMPT, NEW_TOKENS, generator=draw),
            "temperature 1, torch": lambda: twin.generate(PROMPT, NEW_TOKENS, torch_draw),
        },
        arguments.repeats,
    )
    rows = [
        {
            "256 tokens": name,
            "milliseconds": time * 1000,
            "tokens per second": NEW_TOKENS / time,
            "× torch's speed": seconds[name.replace("minissl", "torch")] / time,
        }
        for name, time in seconds.items()
    ]
    notes = [
        "4 layers, width 256, 4 heads, vocabulary 4096, float32, prompt of 16 tokens; greedy gave "
        "the same tokens in both first; torch in inference_mode, with a cache of fixed size",
        f"{machine['thread_variables'].get('OPENBLAS_NUM_THREADS')} threads; medians of "
        f"{arguments.repeats} rounds in turn",
    ]
    report("sampling", rows, machine, notes)


if __name__ == "__main__":
    main()
