"""``computing_in`` alone: what the parameters hold within the block and behind it."""

from contextlib import suppress

import numpy as np
import pytest

from minissl import nn
from minissl.autograd import Tensor
from minissl.autograd import operations as ops
from minissl.training.precision import computing_in

torch = pytest.importorskip("torch")


class Net(nn.Module):
    """A layer that is used twice, one that is never used, and a weight in another layout."""

    def __init__(self):
        self.first = nn.Linear(3, 4, generator=np.random.default_rng(0)).to("torch")
        self.again = self.first
        self.idle = nn.Linear(3, 2, generator=np.random.default_rng(1)).to("torch")

    def forward(self, x):
        return self.first(x) + self.again(x)


def test_gradients_add_up_in_float32_and_the_masters_come_back():
    net = Net()
    masters = {name: p.array for name, p in net.named_parameters()}
    earlier = net.idle.bias.grad = torch.ones(2)
    x = Tensor(torch.ones(2, 3, dtype=torch.bfloat16))
    for rounds in (1, 2, 3):
        with suppress(ZeroDivisionError), computing_in("bfloat16", net):
            assert {p.dtype for p in net.parameters()} == {torch.bfloat16}
            assert all(p.grad is None for p in net.parameters())
            ops.sum(net(x)).backward()
            raise ZeroDivisionError  # the block may end like this: all comes back
        for name, parameter in net.named_parameters():
            assert parameter.array is masters[name]
            if name.startswith("idle"):
                assert parameter.grad is (earlier if name == "idle.bias" else None)
            else:  # two rows through a layer that is used twice
                assert parameter.grad.dtype == torch.float32
                assert (parameter.grad == 4 * rounds).all()


def test_copies_keep_the_layout():
    """Filters lie as the convolution is fastest on them; their copies must too."""
    net = Net()
    net.first.weight.array = net.first.weight.array.T.contiguous().T
    with computing_in("bfloat16", net):
        assert net.first.weight.array.stride() == (1, 4)
