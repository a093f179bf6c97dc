"""Homework 2: the tokenizer, from counting pairs to special tokens. Lecture 03."""

from minissl.homework.assignments.hw2_cutting import count_pieces, segment
from minissl.homework.assignments.hw2_ids import decode, encode
from minissl.homework.assignments.hw2_measured import experiment
from minissl.homework.assignments.hw2_training import count_pairs, learn_fast, learn_naive, merge
from minissl.homework.task import Assignment

ASSIGNMENT = Assignment(
    2,
    "the tokenizer",
    (count_pairs, merge, learn_naive, segment, count_pieces, decode, encode, learn_fast),
    experiment,
)
