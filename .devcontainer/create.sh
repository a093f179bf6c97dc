#!/usr/bin/env bash
# Once, when the container is made: the browser that tests of the site look with, PyTorch without its
# two gigabytes of CUDA, and what the tests need. Then `make test` and `make demo` begin at once.
set -euo pipefail
sudo apt-get update
sudo apt-get install --yes --no-install-recommends chromium
make .venv/bin/python
.venv/bin/python -m pip install --index-url https://download.pytorch.org/whl/cpu \
  "$(grep '^torch==' constraints.txt)"
make .venv/.test
