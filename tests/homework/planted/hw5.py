"""Wrong answers to homework 5, words: all of them."""

from tests.homework.planted import (
    Collection,
    hw5_broken,
    hw5_counting,
    hw5_delegated,
    hw5_edges,
    hw5_experiment,
    hw5_learning,
)

PLANTED = Collection(
    answer
    for part in (hw5_counting, hw5_learning, hw5_edges, hw5_delegated, hw5_experiment, hw5_broken)
    for answer in part.PLANTED
)
