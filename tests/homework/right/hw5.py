"""Homework 5, written in other styles."""

from tests.homework.planted import hw5_counting, hw5_experiment, hw5_learning

RIGHT = {
    "5.1": hw5_counting.rate(),
    "5.1 word by word": hw5_counting.rate_by_running_words,
    "5.2": hw5_counting.cutter(),
    "5.2 by recursion": hw5_counting.recursive,
    "5.3": hw5_counting.near(),
    "5.3 with a table": hw5_counting.near_by_table,
    "5.4": hw5_counting.mutual(),
    "5.4 with a table": hw5_counting.mutual_by_table,
    "5.5": hw5_counting.keeper(),
    "5.5 in a loop": hw5_counting.keep_in_a_loop,
    "5.6": hw5_counting.drawer(),
    "5.6 by logarithms": hw5_counting.draw_by_logarithms,
    "5.7": hw5_learning.sampler(),
    "5.7 in a loop": hw5_learning.sample_in_a_loop,
    "5.8": hw5_learning.weigh_by_where,
    "5.8 clipped": hw5_learning.weigh_by_clip,
    "5.9": hw5_learning.fitter(),
    "5.9 by roots": hw5_learning.fit_by_roots,
    "5.10": hw5_learning.stepper(),
    "5.10 in a loop": hw5_learning.LoopedAdaGrad,
    "5.11": hw5_learning.scorer(),
    "5.11 by logarithms": hw5_learning.score_by_logarithms,
    "5.12": hw5_experiment.handed(
        same_topic=hw5_experiment.topics(),
        same_ending=hw5_experiment.endings(),
        measure=hw5_experiment.measured(),
    ),
    "5.12 by scikit-learn": hw5_experiment.handed(
        same_topic=hw5_experiment.topics_by_neighbors,
        same_ending=hw5_experiment.endings_by_neighbors,
        measure=hw5_experiment.measure_step_by_step,
    ),
}
