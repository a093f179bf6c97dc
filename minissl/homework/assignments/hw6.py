"""Homework 6: contrast, from distances to critics, and an experiment. Lecture 12."""

from minissl.homework.assignments.hw6_agreement import consistency, follow
from minissl.homework.assignments.hw6_critics import bilinear, info_nce
from minissl.homework.assignments.hw6_distances import pair_loss, pairwise_distances
from minissl.homework.assignments.hw6_groups import soft_nearest, supcon
from minissl.homework.assignments.hw6_lifted import lifted
from minissl.homework.assignments.hw6_measured import experiment
from minissl.homework.assignments.hw6_triplets import mine_triplets, triplet_loss
from minissl.homework.task import Assignment

ASSIGNMENT = Assignment(
    6,
    "contrast",
    (
        pairwise_distances,
        pair_loss,
        triplet_loss,
        mine_triplets,
        lifted,
        supcon,
        soft_nearest,
        follow,
        consistency,
        info_nce,
        bilinear,
    ),
    experiment,
)
