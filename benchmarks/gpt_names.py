"""What the parameters of TorchGPT and NumpyGPT are called in ours."""

from minissl.models.gpt import GPTConfig


def twin_names(config: GPTConfig) -> dict[str, list[str]]:
    """Each parameter of a twin, with those of ours that make it up (stacked on axis 0)."""
    names = {
        "tokens.weight": ["tokens.weight"],
        "positions.weight": ["positions.weight"],
        "norm.weight": ["transformer.final_norm.weight"],
        "norm.bias": ["transformer.final_norm.bias"],
    }
    parts = {
        "attention_norm": ["attention_norm"],
        "query_key_value": ["attention.query", "attention.key", "attention.value"],
        "output": ["attention.output"],
        "mlp_norm": ["mlp_norm"],
        "hidden": ["mlp.hidden"],
        "contract": ["mlp.output"],
    }
    for i in range(config.num_layers):
        for theirs, ours in parts.items():
            for kind in ("weight", "bias") if config.bias or "norm" in theirs else ("weight",):
                names[f"blocks.{i}.{theirs}.{kind}"] = [
                    f"transformer.blocks.{i}.{part}.{kind}" for part in ours
                ]
    return names
