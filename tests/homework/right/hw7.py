"""Homework 7, written in other styles."""

from tests.homework.planted import hw7, hw7_experiment, hw7_network, hw7_pairs, hw7_spans

RIGHT = {
    "7.1": hw7.piecer(),
    "7.1 by keys": hw7.pieces_by_keys,
    "7.2": hw7.loser(),
    "7.2 place by place": hw7.loss_place_by_place,
    "7.3": hw7.replacer(),
    "7.3 token by token": hw7.replace_one_by_one,
    "7.4": hw7_pairs.packer(),
    "7.4 by arithmetic": hw7_pairs.pack_by_arithmetic,
    "7.5": hw7_pairs.pairer(),
    "7.5 by weights": hw7_pairs.pair_by_weights,
    "7.6": hw7_network.attender(),
    "7.6 query by query": hw7_network.attend_by_words,
    "7.7": hw7_network.tier(),
    "7.7 by one-hot rows": hw7_network.tied_by_one_hot,
    "7.8": hw7_network.classifier(),
    "7.8 row by row": hw7_network.classify_row_by_row,
    "7.9": hw7_spans.worder(),
    "7.9 by keys": hw7_spans.words_by_keys,
    "7.10": hw7_spans.lengths_by_loop,
    "7.10 by the formula": hw7_spans.lengths_by_the_formula,
    "7.11": hw7_spans.spanner(),
    "7.11 by running sums": hw7_spans.spans_by_prefix_sums,
    "7.12": hw7_spans.bounder(),
    "7.12 step by step": hw7_spans.boundaries_step_by_step,
    "7.13": hw7_experiment.handed(
        three_views=hw7_experiment.views(),
        mean_nats=hw7_experiment.nats(),
        measure=hw7_experiment.measured(),
    ),
    "7.13 place by place, by fit": hw7_experiment.handed(
        three_views=hw7_experiment.views_one_by_one,
        mean_nats=hw7_experiment.nats_one_by_one,
        measure=hw7_experiment.recipe(),
    ),
}
