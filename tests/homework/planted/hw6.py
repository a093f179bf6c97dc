"""Wrong answers to homework 6, contrast: all of them."""

from tests.homework.planted import (
    Collection,
    hw6_agreement,
    hw6_broken,
    hw6_delegated,
    hw6_distances,
    hw6_edges,
    hw6_experiment,
    hw6_groups,
    hw6_triplets,
)

PARTS = (hw6_distances, hw6_triplets, hw6_groups, hw6_agreement, hw6_edges, hw6_delegated)
PLANTED = Collection(
    answer for part in (*PARTS, hw6_experiment, hw6_broken) for answer in part.PLANTED
)
