"""Homework 5: words, from counting them to vectors, and an experiment. Lectures 03 and 04."""

from minissl.homework.assignments.hw5_counting import (
    cooccurrences,
    keep_probabilities,
    mutual_information,
    noise_distribution,
)
from minissl.homework.assignments.hw5_losses import glove, glove_weights, gradients
from minissl.homework.assignments.hw5_measured import experiment
from minissl.homework.assignments.hw5_vectors import adagrad, analogy
from minissl.homework.assignments.hw5_words import longest_pieces, unknown_rate
from minissl.homework.task import Assignment

ASSIGNMENT = Assignment(
    5,
    "words",
    (
        unknown_rate,
        longest_pieces,
        cooccurrences,
        mutual_information,
        keep_probabilities,
        noise_distribution,
        gradients,
        glove_weights,
        glove,
        adagrad,
        analogy,
    ),
    experiment,
)
