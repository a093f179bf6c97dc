"""Homework 1: rules, the walk back, the check of a rule, and an experiment. Lecture 02."""

from __future__ import annotations

from minissl.homework.assignments.hw1_gradcheck import gradcheck
from minissl.homework.assignments.hw1_graphs import parents_first
from minissl.homework.assignments.hw1_measured import experiment
from minissl.homework.assignments.hw1_reductions import max, softmax
from minissl.homework.assignments.hw1_rules import divide, matmul
from minissl.homework.assignments.hw1_uses import scatter_add, unbroadcast
from minissl.homework.assignments.hw1_walk import walk_back
from minissl.homework.task import Assignment

ASSIGNMENT = Assignment(
    1,
    "autograd and gradient checking",
    (divide, unbroadcast, matmul, max, softmax, scatter_add, parents_first, walk_back, gradcheck),
    experiment,
)
