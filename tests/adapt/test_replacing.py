"""Replacing modules: by path, in lists, and once where one module stands twice."""

import numpy as np

from minissl.adapt.replacing import replace_modules
from minissl.nn.layers import Linear
from minissl.nn.module import Module


class Block(Module):
    def __init__(self, generator):
        self.query = Linear(3, 3, generator=generator)
        self.output = Linear(3, 3, generator=generator)


class Net(Module):
    def __init__(self):
        generator = np.random.default_rng(0)
        self.blocks = [Block(generator), Block(generator)]
        self.pair = (Linear(3, 3, generator=generator), Block(generator))
        self.tied = self.blocks[0].query
        self.numbers = [1, 2]


class Wrapped(Module):
    def __init__(self, inner):
        self.inner = inner


def test_those_that_are_asked_for_are_replaced_and_no_others():
    net = Net()
    before = dict(net.named_modules())
    names = replace_modules(
        net, lambda path, module: Wrapped(module) if path.endswith("query") else None
    )
    assert names == ["blocks.0.query", "blocks.1.query", "pair.1.query", "tied"]
    assert net.tied is net.blocks[0].query
    assert net.tied.inner is before["blocks.0.query"]
    assert type(net.pair) is tuple
    assert net.numbers == [1, 2]
    assert net.blocks[1].output is before["blocks.1.output"]
    assert [n for n, m in net.named_modules() if isinstance(m, Wrapped)] == names


def test_what_was_put_in_is_not_looked_into():
    net = Net()
    asked = []

    def make(path, module):
        asked.append(path)
        return Wrapped(module) if isinstance(module, Block | Linear) else None

    assert replace_modules(net, make) == ["blocks.0", "blocks.1", "pair.0", "pair.1", "tied"]
    assert asked == ["blocks.0", "blocks.1", "pair.0", "pair.1", "tied"]


def test_nothing_is_touched_when_nothing_is_made():
    net = Net()
    lists = net.blocks, net.pair
    assert replace_modules(net, lambda path, module: None) == []
    assert (net.blocks, net.pair) == lists
    assert net.blocks is lists[0]
