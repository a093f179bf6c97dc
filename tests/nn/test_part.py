"""A part of a module: its own names, nothing else, and the arrays themselves."""

import numpy as np
import pytest

from minissl.nn.layers import Linear
from minissl.nn.part import Part


def test_a_part_has_what_it_was_given_and_no_more():
    layer = Linear(2, 3, generator=np.random.default_rng(0))
    both = Part({"below.weight": layer.weight, "below.bias": layer.bias})
    assert both.state_dict().keys() == {"below.weight", "below.bias"}
    assert [p is q for p, q in zip(both.parameters(), (layer.weight, layer.bias))] == [True, True]
    one = Part({"below.bias": layer.bias})
    assert one.state_dict().keys() == {"below.bias"}
    weight = layer.weight.numpy().copy()
    one.load_state_dict({"below.bias": [1.0, 2.0, 3.0]})
    np.testing.assert_array_equal(layer.bias.numpy(), [1, 2, 3])
    np.testing.assert_array_equal(layer.weight.numpy(), weight)
    with pytest.raises(KeyError, match="unexpected"):
        one.load_state_dict({"below.bias": [1.0, 2.0, 3.0], "below.weight": weight})
