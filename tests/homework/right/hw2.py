"""Homework 2, written in other styles."""

from tests.homework.planted import hw2, hw2_training

RIGHT = {
    "2.3": hw2_training.learner(hw2_training.largest),
    "2.4": hw2.segmenter(min),
    "2.5": hw2.counter(),
    "2.7": hw2.encoder(),
    "2.8": hw2_training.quick_learner(),
}
