"""torch's own LSTM and GRU as a language model, with the weights of one of ours."""

import torch


class TorchRecurrentLM(torch.nn.Module):
    """Embedding, torch.nn.LSTM or GRU of all layers, Linear: logits and the state behind them."""

    def __init__(self, ours):
        super().__init__()
        config = ours.config
        kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[config.cell]
        self.tokens = torch.nn.Embedding(config.vocab_size, config.width)
        self.layers = kind(config.width, config.width, config.num_layers, batch_first=True)
        self.output = torch.nn.Linear(config.width, config.vocab_size)
        self.to(torch.from_numpy(ours.output.bias.array[:1]).dtype)
        state = {name: torch.from_numpy(array) for name, array in ours.state_dict().items()}
        self.load_state_dict({torchs_name(name): array for name, array in state.items()})

    def forward(self, tokens, state=None):
        hidden, state = self.layers(self.tokens(torch.as_tensor(tokens)), state)
        return self.output(hidden), state


def torchs_name(name):
    """``layers.1.weight_ih_l0`` here is ``layers.weight_ih_l1`` there."""
    parts = name.split(".")
    if parts[0] != "layers":
        return name
    return f"layers.{parts[2][:-1]}{parts[1]}"


def torchs_state(state):
    """A StateCache's array (batch, parts, width) of each layer -> what torch's layers take."""
    together = torch.stack([torch.from_numpy(one) for one in state])
    h_and_c = together.permute(2, 0, 1, 3).contiguous()  # (parts, layers, batch, width)
    return (h_and_c[0], h_and_c[1]) if len(h_and_c) == 2 else h_and_c[0]
