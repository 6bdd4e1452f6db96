#!/usr/bin/env bash
# Renews requirements/dev.txt: exact versions with hashes and no addresses.
set -euo pipefail
cd "$(dirname "$0")/.."
"$1/bin/python" -m pip install --quiet --disable-pip-version-check uv
"$1/bin/uv" pip compile pyproject.toml requirements/build.in --extra dev --extra serving --extra s3 \
  --extra postgres --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header \
  --quiet --upgrade --output-file requirements/dev.txt
