"""Wrong answers to homework 1."""

from tests.homework.planted import (
    Collection,
    hw1_broken,
    hw1_delegated,
    hw1_experiment,
    hw1_gradcheck,
    hw1_gradcheck_details,
    hw1_graphs,
    hw1_graphs_details,
    hw1_rules,
    hw1_rules_details,
    hw1_softmax,
    hw1_uses,
    hw1_uses_details,
)

PLANTED = Collection(
    [
        *hw1_broken.PLANTED,
        *hw1_delegated.PLANTED,
        *hw1_experiment.PLANTED,
        *hw1_gradcheck.PLANTED,
        *hw1_gradcheck_details.PLANTED,
        *hw1_graphs.PLANTED,
        *hw1_graphs_details.PLANTED,
        *hw1_rules.PLANTED,
        *hw1_rules_details.PLANTED,
        *hw1_softmax.PLANTED,
        *hw1_uses.PLANTED,
        *hw1_uses_details.PLANTED,
    ]
)
