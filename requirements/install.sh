#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes .venv from the pinned lock. Run by the Makefile, from the checkout's root; safe to stop and run again.
#   PYTHON         interpreter to build on (default python3, 3.11 or newer)
#   PIP_FIND_LINKS folder(s) with wheels that pip would look in; passed on to uv, as are PIP_INDEX_URL and PIP_EXTRA_INDEX_URL
#   TORCH_BACKEND  build of torch to take from its own index: cpu (default), auto, cu130, ...
set -euo pipefail
python=${PYTHON:-python3}

missing=()
need() { command -v "$1" >/dev/null 2>&1 || missing+=("$1 (Debian package: $2)"); }
need "$python" python3
need make make
need g++ g++
need perl perl
need git git
if command -v "$python" >/dev/null 2>&1; then
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        missing+=("Python 3.11 or newer; $python is $("$python" -V 2>&1) (Debian 12 package: python3; or set PYTHON=...)")
    "$python" -c 'import ensurepip, venv' 2>/dev/null || missing+=("the Python module venv (Debian package: python3-venv)")
fi
if [ ${#missing[@]} -gt 0 ]; then
    printf 'Missing, install first:\n' >&2
    printf '  %s\n' "${missing[@]}" >&2
    exit 1
fi

[ -x .venv/bin/python ] || "$python" -m venv .venv
uv_version=0.13.9
.venv/bin/uv --version 2>/dev/null | grep -qF " $uv_version" ||
    .venv/bin/python -m pip install -q --disable-pip-version-check "uv==$uv_version"

export UV_HTTP_TIMEOUT=${UV_HTTP_TIMEOUT:-300}
[ -z "${PIP_INDEX_URL:-}" ] || export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$PIP_INDEX_URL}
[ -z "${PIP_EXTRA_INDEX_URL:-}" ] || export UV_INDEX=${UV_INDEX:-$PIP_EXTRA_INDEX_URL}
[ -z "${PIP_FIND_LINKS:-}" ] || export UV_FIND_LINKS=${UV_FIND_LINKS:-${PIP_FIND_LINKS// /,}}

# torch on the registry is the CUDA build, several GB; take the CPU build unless a local folder offers one.
torch_backend=${TORCH_BACKEND:-cpu}
torch=(--torch-backend "$torch_backend")
for folder in ${PIP_FIND_LINKS:-}; do
    if compgen -G "$folder/torch-*.whl" >/dev/null; then torch=(); fi
done

echo "Installing the pinned environment into .venv (about 4.5 GB; a few minutes on the first run)" >&2
.venv/bin/uv pip install --python .venv/bin/python --no-deps "${torch[@]}" -r requirements/lock.txt
if [ "$torch_backend" != cpu ] && [ ${#torch[@]} -gt 0 ]; then
    # A CUDA build brings libraries of its own that the lock leaves out.
    .venv/bin/uv pip install --python .venv/bin/python "${torch[@]}" "$(grep '^torch==' requirements/lock.txt)"
fi
.venv/bin/uv pip install -q --python .venv/bin/python --no-deps --no-build-isolation -e .
touch .venv/.complete
