#!/usr/bin/env bash
# Once, when the container is made: the browser that tests of the site look with, and what the tests
# need. Then `make test` and `make demo` begin at once. PyTorch comes with gigabytes of CUDA, unless
# PYTORCH_CPU_INDEX, in the environment of the host, names the index of its CPU builds.
set -euo pipefail
sudo apt-get update
sudo apt-get install --yes --no-install-recommends chromium
if [ -n "${PYTORCH_CPU_INDEX:-}" ]; then
  export PIP_EXTRA_INDEX_URL="$PYTORCH_CPU_INDEX"
fi
make .venv/.test
