"""Wrong answers to homework 3, Transformer, recurrent networks and language model."""

from tests.homework.planted import (
    Collection,
    hw3_broken,
    hw3_experiment,
    hw3_model,
    hw3_recurrent,
    hw3_shortcuts,
    hw3_text,
    hw3_training,
    hw3_unusual,
    hw3_unusual_text,
    hw3_unusual_training,
)

PLANTED = Collection(
    [
        *hw3_text.PLANTED,
        *hw3_model.PLANTED,
        *hw3_recurrent.PLANTED,
        *hw3_training.PLANTED,
        *hw3_unusual.PLANTED,
        *hw3_unusual_text.PLANTED,
        *hw3_unusual_training.PLANTED,
        *hw3_shortcuts.PLANTED,
        *hw3_broken.PLANTED,
        *hw3_experiment.PLANTED,
    ]
)
