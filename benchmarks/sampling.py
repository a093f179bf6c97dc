"""Sampling 256 tokens, one after the other with a KV cache or a state: ours and torch eager.

    python -m benchmarks.sampling

GPT: 4 layers, width 256, 4 heads; LSTM: 2 layers, width 256; 4096 tokens in the vocabulary,
float32; the same weights in both, each in a process of its own. Greedy sampling must give the same
256 tokens.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.common import add_options, new_parser, report, require_peers, stoppable
from benchmarks.turns import Contender, race
from minissl.conditions import environment
from minissl.models.generate import generate
from minissl.models.gpt import GPT, GPTConfig
from minissl.models.recurrent import RecurrentConfig, RecurrentLM

CONFIG = GPTConfig(num_layers=4, width=256, num_heads=4, vocab_size=4096, context_length=272)
LSTM_CONFIG = RecurrentConfig(num_layers=2, width=256, vocab_size=4096)
PROMPT, NEW_TOKENS = list(range(1, 17)), 256


def new_model(kind: str) -> Any:
    generator = np.random.default_rng(0)
    if kind == "GPT":
        return GPT(CONFIG, generator=generator)
    return RecurrentLM(LSTM_CONFIG, generator=generator)


def ours(kind: str, temperature: float) -> Callable[[], str]:
    model = new_model(kind)
    draw = None if temperature == 0 else np.random.default_rng(0)
    settings = {"temperature": temperature, "generator": draw}
    return lambda: str(generate(model, PROMPT, NEW_TOKENS, **settings))


def theirs(kind: str, temperature: float) -> Callable[[], str]:
    import torch

    from benchmarks import gpt_torch, lstm_torch

    twin = (gpt_torch if kind == "GPT" else lstm_torch).in_torch(new_model(kind))
    draw = torch.Generator().manual_seed(0)
    return lambda: str(twin.generate(PROMPT, NEW_TOKENS, draw, temperature=temperature))


GREEDY, SAMPLED = ("greedy", 0.0), ("temperature 1", 1.0)
CONTENDERS = {
    f"{kind}, {name}, {library}": Contender(
        partial(build, kind, temperature), ["minissl.optim", *imports]
    )
    for kind in ("GPT", "LSTM")
    for name, temperature in (GREEDY, SAMPLED)
    for library, build, imports in (("minissl", ours, ()), ("torch", theirs, ["torch"]))
}


def main() -> None:
    arguments = add_options(new_parser("sampling", __doc__), repeats=15).parse_args()
    require_peers("torch")
    machine = environment(["torch"])
    found = race("benchmarks.sampling", CONTENDERS, arguments.repeats, threads=arguments.threads)
    for kind in ("GPT", "LSTM"):
        if found[f"{kind}, greedy, minissl"].answer != found[f"{kind}, greedy, torch"].answer:
            raise SystemExit(f"{kind}: greedy sampling gave different tokens")
    rows = [
        {
            "256 tokens": name,
            "milliseconds": result.seconds * 1000,
            "tokens per second": NEW_TOKENS / result.seconds,
            "× torch's speed": found[name.replace("minissl", "torch")].seconds / result.seconds,
        }
        for name, result in found.items()
    ]
    notes = [
        "GPT: 4 layers, width 256, 4 heads; LSTM: 2 layers, width 256; vocabulary 4096, the "
        "GPT's output tied, float32, prompt of 16 tokens; greedy gave the same tokens in both; "
        "torch in inference_mode, its GPT with a cache of fixed size, its LSTM with its state",
        f"{arguments.threads} threads; each in a process of its own, medians of "
        f"{arguments.repeats} turns; neither keeps freed memory, as generate does not ask for it",
    ]
    report("sampling", rows, machine, notes)


if __name__ == "__main__":
    stoppable(main)
