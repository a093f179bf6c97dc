"""Homework 6, written in other styles."""

from tests.homework.planted import (
    hw6_agreement,
    hw6_distances,
    hw6_experiment,
    hw6_groups,
    hw6_triplets,
)

RIGHT = {
    "6.1": hw6_distances.measurer(),
    "6.1 row by row": hw6_distances.row_by_row,
    "6.1 by products in float64": hw6_distances.by_float64_products,
    "6.2": hw6_distances.pairer(),
    "6.2 one by one": hw6_distances.pairs_one_by_one,
    "6.3": hw6_triplets.comparer(),
    "6.3 one by one": hw6_triplets.compare_one_by_one,
    "6.4": hw6_triplets.miner(),
    "6.4 by masks": hw6_triplets.mine_by_masks,
    "6.5": hw6_groups.lifter(),
    "6.5 pair by pair": hw6_groups.lift_pair_by_pair,
    "6.6": hw6_groups.supcon(),
    "6.6 row by row": hw6_groups.supcon_row_by_row,
    "6.7": hw6_groups.neighbor(),
    "6.7 by shares": hw6_groups.neighbor_by_shares,
    "6.8": hw6_agreement.follower(),
    "6.8 in place": hw6_agreement.follow_in_place,
    "6.9": hw6_agreement.agreer(),
    "6.9 by entropies": hw6_agreement.agree_by_entropies,
    "6.10": hw6_agreement.chooser(),
    "6.10 one by one": hw6_agreement.choose_one_by_one,
    "6.11": hw6_agreement.critic(),
    "6.11 by bounds": hw6_agreement.critic_by_bounds,
    "6.12": hw6_experiment.handed(
        active_share=hw6_experiment.active(),
        recall_at_1=hw6_experiment.recall(),
        measure=hw6_experiment.measured(),
    ),
    "6.12 by the library and scikit-learn": hw6_experiment.handed(
        active_share=hw6_experiment.active_by_mining,
        recall_at_1=hw6_experiment.recall_by_neighbors,
        measure=hw6_experiment.measure_by_fit,
    ),
}
