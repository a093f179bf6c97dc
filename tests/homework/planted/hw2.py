"""Wrong answers to homework 2, the tokenizer."""

from tests.homework.planted import (
    Collection,
    hw2_broken,
    hw2_cutting,
    hw2_delegating,
    hw2_encoding,
    hw2_experiment,
    hw2_ids,
    hw2_learning,
    hw2_training,
)

PLANTED = Collection(
    [
        *hw2_training.PLANTED,
        *hw2_learning.PLANTED,
        *hw2_encoding.PLANTED,
        *hw2_cutting.PLANTED,
        *hw2_ids.PLANTED,
        *hw2_delegating.PLANTED,
        *hw2_experiment.PLANTED,
        *hw2_broken.PLANTED,
    ]
)
