"""Homework 3, written in other styles."""

from tests.homework.planted import hw3_experiment, hw3_model, hw3_recurrent, hw3_text, hw3_training

RIGHT = {
    "3.1": hw3_text.cutter(lambda windows: (windows[..., :-1], windows[..., 1:])),
    "3.2": hw3_text.loss(),
    "3.3": hw3_model.masker(),
    "3.4": hw3_model.attender(),
    "3.5": hw3_model.splitter(),
    "3.6": hw3_model.blocks(),
    "3.7": hw3_text.sampler(),
    "3.8": hw3_text.writer(),
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
}
