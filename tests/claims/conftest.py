"""Each claim is run once for all tests of a module, at the scale that takes seconds."""

from functools import cache

import pytest

from minissl.claims import load_claim
from minissl.claims.run import run_claim


@pytest.fixture(scope="module")
def runs(request, tmp_path_factory):
    """A function: the name of a claim -> (result, folder). The module says its ``SEEDS``."""

    @cache
    def run(name):
        folder = tmp_path_factory.mktemp("claims")
        seeds = request.module.SEEDS
        return run_claim(
            load_claim(name), folder, scale="quick", seeds=seeds, progress=False
        ), folder

    return run
