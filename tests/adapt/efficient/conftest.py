"""The toy runs that these tests adapt, each made once, when it is first asked for."""

import pytest

from minissl.pretrain import load_method
from minissl.pretrain.run import open_run, pretrain
from tests.pretrain.toy import toy_data, toy_settings

OTHERS = {"resnet": ("simclr", {"encoder": "resnet18", "features": 16})}


class Runs(dict):
    """By the name of a method or of one of ``OTHERS``; "bert 3": with so many layers."""

    def __init__(self, place):
        super().__init__()
        self.place = place

    def __missing__(self, name):
        method, changes = OTHERS.get(name, (name.partition(" ")[0], {}))
        if " " in name:
            changes = {"num_layers": int(name.partition(" ")[2])}
        settings, folder = toy_settings(method, **changes), self.place / name.replace(" ", "-")
        pretrain(load_method(method), toy_data(method, settings), settings, folder, progress=False)
        self[name] = open_run(folder)
        return self[name]


@pytest.fixture(scope="session")
def bases(tmp_path_factory):
    """Opened runs by name; whoever changes one works on a copy (``opened.on``)."""
    return Runs(tmp_path_factory.mktemp("bases"))
