"""Homework 7: encoders, from hidden tokens to the heads, and an experiment. Lecture 08."""

from minissl.homework.assignments.hw7_boundaries import boundaries
from minissl.homework.assignments.hw7_heads import classify
from minissl.homework.assignments.hw7_hiding import choose_pieces, masked_loss
from minissl.homework.assignments.hw7_measured import experiment
from minissl.homework.assignments.hw7_network import attend, tied_loss
from minissl.homework.assignments.hw7_pairs import next_sentence, pack
from minissl.homework.assignments.hw7_replacing import replace
from minissl.homework.assignments.hw7_spans import (
    choose_spans,
    choose_words,
    length_probabilities,
)
from minissl.homework.task import Assignment

ASSIGNMENT = Assignment(
    7,
    "encoders",
    (
        choose_pieces,
        masked_loss,
        replace,
        pack,
        next_sentence,
        attend,
        tied_loss,
        classify,
        choose_words,
        length_probabilities,
        choose_spans,
        boundaries,
    ),
    experiment,
)
