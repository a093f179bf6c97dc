"""Homework 4: contrastive losses and kernels, and an experiment. Lectures 07 and 12.

Oracles: the formulas of lecture 12 in float64 NumPy, finite differences of them, and softmax
written out. Values of well-known mistakes are computed beside them, so that a student who makes
one is told which.
"""

from minissl.homework.assignments.hw4_gradient import gradients, z_std
from minissl.homework.assignments.hw4_kernels import layer_norm
from minissl.homework.assignments.hw4_losses import normalize, simclr_cs229
from minissl.homework.assignments.hw4_measured import experiment
from minissl.homework.assignments.hw4_online import online_softmax
from minissl.homework.assignments.hw4_paper import nt_xent
from minissl.homework.task import Assignment

ASSIGNMENT = Assignment(
    4,
    "contrastive losses and kernels",
    (normalize, simclr_cs229, nt_xent, z_std, gradients, layer_norm, online_softmax),
    experiment,
)
