"""The same recurrent language model in torch, as its users write it: what ours is timed against."""

import torch
from torch import nn
from torch.nn import functional as F

from minissl.models.recurrent import RecurrentLM


class TorchLSTM(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.tokens = nn.Embedding(config.vocab_size, config.width)
        self.lstm = nn.LSTM(config.width, config.width, config.num_layers, batch_first=True)
        self.output = nn.Linear(config.width, config.vocab_size)

    @torch.inference_mode()
    def generate(self, prompt, max_new_tokens, generator, temperature=1.0):
        tokens, state, generated = torch.tensor([prompt]), None, []
        for _ in range(max_new_tokens):
            hidden, state = self.lstm(self.tokens(tokens), state)
            logits = self.output(hidden[0, -1])
            if temperature == 0:
                chosen = logits.argmax()
            else:
                chosen = torch.multinomial(
                    F.softmax(logits / temperature, dim=-1), 1, generator=generator
                )
            generated.append(int(chosen))
            tokens = chosen.view(1, 1)
        return generated


def in_torch(model: RecurrentLM) -> TorchLSTM:
    """A TorchLSTM with the weights of ours, whose cells are LSTMs."""
    twin = TorchLSTM(model.config)
    state = {name: torch.from_numpy(array) for name, array in model.state_dict().items()}
    for name in [n for n in state if n.startswith("layers.")]:
        _, layer, weight = name.split(".")
        state[f"lstm.{weight.removesuffix('0')}{layer}"] = state.pop(name)
    twin.load_state_dict(state)
    return twin
