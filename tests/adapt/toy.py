"""Every adaptation on generated labelled data, of a run of images and of one of texts."""

from dataclasses import fields

from minissl.adapt import adaptation_names, load_adaptation
from minissl.adapt.run import adapt
from minissl.pretrain import load_method
from minissl.pretrain.run import open_run, pretrain
from tests.pretrain.toy import toy_data, toy_settings

TINY = {
    "batch_size": 6, "steps": 4, "evaluations": 1, "rank": 2, "k": 3, "hidden": 8, "dropout": 0.0,
    "template": "{text}", "prompts": 2, "prefix": 2, "middle": 4, "heads": 2, "experts": 3,
}  # fmt: skip
BASES = ("simclr", "gpt", "bert")
WITH_VECTORS = "skipgram"


def bases_of(name):
    """The toy runs that an adaptation is tried on: of texts and of images, where it takes any."""
    needs = load_adaptation(name).needs
    return [base for base in BASES if issubclass(load_method(base), needs)] or [WITH_VECTORS]


PAIRS = [(name, base) for name in adaptation_names() for base in bases_of(name)]


def toy_base(name, folder, seed=0):
    """A run of a method in a folder, opened."""
    settings = toy_settings(name)
    data = toy_data(name, settings)
    pretrain(load_method(name), data, settings, folder, seed=seed, progress=False)
    return open_run(folder)


def adapting(name, **changes):
    """The adaptation's settings at sizes for tests; ``changes`` are those it has."""
    kind = load_adaptation(name).Settings
    known = {one.name for one in fields(kind)}
    return kind(**{key: value for key, value in (TINY | changes).items() if key in known})


def toy_labelled(name, opened, seed=0):
    """Generated raw data with labels of the adaptation's kind, for the run."""
    raw = type(opened.method).Data.with_labels
    return raw.toy(opened.settings, seed=seed, labels=load_adaptation(name).labels)


def adapted(name, opened, folder=None, *, seed=0, data_seed=0, changes=(), **options):
    """The adaptation of an opened run to toy data."""
    data = toy_labelled(name, opened, data_seed)
    settings = adapting(name, **dict(changes))
    options = {"seed": seed, "progress": False, **options}
    return adapt(load_adaptation(name), opened, data, settings, folder, **options)
