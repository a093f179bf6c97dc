"""Homework 8: adaptation, from thin matrices to bytes, and an experiment. Lecture 11."""

from minissl.homework.assignments.hw8_adapter import adapt, new_adapter
from minissl.homework.assignments.hw8_answers import best_span, tagged_row
from minissl.homework.assignments.hw8_counting import gate, training_bytes
from minissl.homework.assignments.hw8_lora import gradients, lora, merge
from minissl.homework.assignments.hw8_measured import experiment
from minissl.homework.assignments.hw8_names import span_f1
from minissl.homework.assignments.hw8_prefix import attend
from minissl.homework.task import Assignment

ASSIGNMENT = Assignment(
    8,
    "adaptation",
    (
        lora,
        merge,
        gradients,
        attend,
        adapt,
        new_adapter,
        best_span,
        tagged_row,
        span_f1,
        gate,
        training_bytes,
    ),
    experiment,
)
