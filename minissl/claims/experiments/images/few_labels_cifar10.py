"""Lecture 12: pretraining without labels on CIFAR-10, with few labels and with all."""

from minissl.claims import images_by_name as named
from minissl.claims import simclr_on_digits as digits
from minissl.claims.claim import Claim, ahead
from minissl.claims.labels_by_name import LABELS, OWN, SCRATCH, SIMCLR, figure, measure, scales
from minissl.pretrain.images.simclr import SimCLRSettings
from minissl.pretrain.images.supervised import SupervisedSettings

CLAIM = Claim(
    name="few-labels-cifar10",
    title="Few labels on CIFAR-10",
    statement="On small photographs, too, pretraining without labels is worth something when "
    "labels are few; with all labels the network that was trained on them is ahead.",
    lecture="12, section 17",
    measure=measure,
    expectations=(
        ahead(SIMCLR, digits.RAW, "5 labels", 2),
        ahead(SIMCLR, digits.RANDOM, "5 labels", 2),
        ahead(SIMCLR, SCRATCH, "5 labels", 1),
        ahead(SIMCLR, digits.RAW, named.NEIGHBORS, 5),
        ahead(SIMCLR, digits.RANDOM, named.NEIGHBORS, 3),
        ahead(SCRATCH, SIMCLR, named.NEIGHBORS, 3, "labels are worth more where there are many"),
    ),
    figure=figure,
    scales=scales("cifar10"),
    settings=[SimCLRSettings, SupervisedSettings],
    own=OWN,
    formats=dict.fromkeys([*map(digits.column, LABELS), named.NEIGHBORS], ".1f"),
    rows="accuracy in %, labels per class",
    about=named.about("CIFAR-10") + " The probes are the mean of ten draws of labels, the network "
    "from scratch sees the first of them, with the same augmentations. In the last column the "
    "network from scratch was trained on all labels, the others on none; 50 neighbours vote. At "
    "the scale small this is a short training of a small network: published results train a "
    "ResNet-18 far longer. "
    "Seen: two to three points more than a random network, and little else.",
)
