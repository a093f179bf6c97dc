"""Lecture 12: pretraining without labels on MNIST, with few labels."""

from minissl.claims import images_by_name as named
from minissl.claims import simclr_on_digits as digits
from minissl.claims.claim import Claim, ahead
from minissl.claims.labels_by_name import LABELS, OWN, SCRATCH, SIMCLR, figure, measure, scales
from minissl.pretrain.images.simclr import SimCLRSettings
from minissl.pretrain.images.supervised import SupervisedSettings

CLAIM = Claim(
    name="few-labels-mnist",
    title="Few labels on MNIST",
    statement="On MNIST a network that was pretrained without labels needs fewer labels than one "
    "that begins with random weights.",
    lecture="12, section 17",
    measure=measure,
    expectations=(
        ahead(SIMCLR, digits.RAW, "1 label", 10),
        ahead(SIMCLR, digits.RANDOM, "1 label", 10),
        ahead(SIMCLR, SCRATCH, "1 label", 5),
        ahead(SIMCLR, SCRATCH, "5 labels", 1),
        ahead(SIMCLR, digits.RAW, named.NEIGHBORS, 0.5),
    ),
    figure=figure,
    scales=scales("mnist"),
    settings=[SimCLRSettings, SupervisedSettings],
    own=OWN,
    formats=dict.fromkeys([*map(digits.column, LABELS), named.NEIGHBORS], ".1f"),
    rows="accuracy in %, labels per class",
    about=named.about("MNIST")
    + " The probes are the mean of ten draws of labels, the network from scratch sees the first of "
    "them, with the same augmentations. In the last column the network from scratch was trained on "
    "all labels, the others on none; 50 neighbours vote. Seen: SimCLR is far ahead with one label "
    "per class; from five on the labels are worth more. In a first run digits were shifted by up "
    "to 3.5 pixels, an eighth of the image, not by 1.75: SimCLR then had 50.5 % with one label, "
    "76.6 with five and 87.8 by neighbours, below raw pixels. The expectations are of before that "
    "run.",
)
