"""Wrong answers to homework 1."""

from tests.homework.planted import (
    Collection,
    hw1_gradcheck,
    hw1_graphs,
    hw1_rules,
    hw1_softmax,
    hw1_uses,
)

PLANTED = Collection(
    [
        *hw1_rules.PLANTED,
        *hw1_uses.PLANTED,
        *hw1_softmax.PLANTED,
        *hw1_graphs.PLANTED,
        *hw1_gradcheck.PLANTED,
    ]
)
