"""Homework accepts every right answer, not only the library's way to write it.

The wrong answers of ``planted`` are made by functions with one switch for each mistake; with all
switches at their defaults they are right.
"""

import pytest

from minissl.homework.assignments import load_assignment
from minissl.homework.outcome import run_check
from tests.homework.planted import (
    hw2,
    hw2_training,
    hw3,
    hw3_experiment,
    hw3_model,
    hw3_recurrent,
    hw3_training,
    hw5,
    hw5_experiment,
    hw5_learning,
    hw6,
    hw6_agreement,
    hw6_experiment,
    hw6_groups,
    hw6_triplets,
)

RIGHT = {
    "2.3": hw2_training.learner(hw2_training.largest),
    "2.4": hw2.segmenter(min),
    "2.5": hw2.counter(),
    "2.7": hw2.encoder(),
    "2.8": hw2_training.quick_learner(),
    "3.1": hw3.cutter(lambda windows: (windows[..., :-1], windows[..., 1:])),
    "3.2": hw3.loss(),
    "3.3": hw3_model.masker(),
    "3.4": hw3_model.attender(),
    "3.5": hw3_model.splitter(),
    "3.6": hw3_model.blocks(),
    "3.7": hw3.sampler(),
    "3.8": hw3.writer(),
    "3.9": hw3_recurrent.stepper(),
    "3.9 number by number": hw3_recurrent.step_by_columns,
    "3.10": hw3_recurrent.way_back(),
    "3.10 number by number": hw3_recurrent.back_by_loops,
    "3.11": hw3_recurrent.windower(),
    "3.11 by rolling": hw3_recurrent.windows_by_rolling,
    "3.12": hw3_training.updater(),
    "3.12 number by number": hw3_training.update_by_numbers,
    "3.13": hw3_training.scheduler(),
    "3.13 by a table": hw3_training.schedule_by_a_table,
    "3.14": hw3_training.looper(),
    "3.14 inside out": hw3_training.loop_by_train_steps,
    "3.15": hw3_training.counter(),
    "3.15 token by token": hw3_training.nats_token_by_token,
    "3.16": hw3_experiment.handed(
        landmarks=hw3_experiment.marks(),
        curve=hw3_experiment.points(),
        measure=hw3_experiment.measured(),
    ),
    "3.16 by sums": hw3_experiment.handed(
        landmarks=hw3_experiment.marks(finish=lambda costs: sum(costs) / len(costs)),
        curve=hw3_experiment.curve_by_sums,
        measure=hw3_experiment.measure_by_fit,
    ),
    "5.1": hw5.rate(),
    "5.1 word by word": hw5.rate_by_running_words,
    "5.2": hw5.cutter(),
    "5.2 by recursion": hw5.recursive,
    "5.3": hw5.near(),
    "5.3 with a table": hw5.near_by_table,
    "5.4": hw5.mutual(),
    "5.4 with a table": hw5.mutual_by_table,
    "5.5": hw5.keeper(),
    "5.5 in a loop": hw5.keep_in_a_loop,
    "5.6": hw5.drawer(),
    "5.6 by logarithms": hw5.draw_by_logarithms,
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
    "6.1": hw6.measurer(),
    "6.1 row by row": hw6.row_by_row,
    "6.1 by products in float64": hw6.by_float64_products,
    "6.2": hw6.pairer(),
    "6.2 one by one": hw6.pairs_one_by_one,
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


@pytest.mark.parametrize("answer", RIGHT)
def test_another_right_answer_scores_full_marks(answer):
    number = answer.partition(" ")[0]
    tasks = load_assignment(int(number[0])).parts
    (task,) = (task for task in tasks if task.number == number)
    for check in task.checks:
        outcome = run_check(task, check, RIGHT[answer], seed=3)
        assert outcome.status == "passed", outcome
