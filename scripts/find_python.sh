#!/bin/sh
# Prints the path of a Python that can make lenskern's environment, or one sentence on stderr that says what is missing.
# $PYTHON, if set, is the only candidate.
set -u

suitable() { # runs it: a pyenv shim is there for versions that are not selected, and then fails
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1
}

accept() {
    suitable "$1" || return 0
    if "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; then
        "$1" -c 'import sys; print(sys.executable)'
        exit 0
    fi
    without_venv=$1
}

fail() {
    echo "lenskern: $1" >&2
    exit 1
}

without_venv=
if [ -n "${PYTHON:-}" ]; then
    accept "$PYTHON"
    if [ -z "$without_venv" ]; then
        fail "PYTHON=$PYTHON is not a Python 3.12 or newer; set PYTHON to one, or unset it to have one looked for."
    fi
else
    root=$(cd "$(dirname "$0")/.." && pwd)
    wanted=$(cat "$root/.python-version")
    pyenv=${PYENV_ROOT:-$HOME/.pyenv}/versions
    for python in "$pyenv/$wanted"/bin/python "$pyenv/$wanted".*/bin/python "python$wanted"; do
        accept "$python"
    done
    if command -v uv >/dev/null 2>&1; then
        python=$(uv python find --system --no-project "$wanted" 2>/dev/null) && accept "$python"
        python=$(uv python find --system --no-project '>=3.12' 2>/dev/null) && accept "$python"
    fi
    for python in python3.13 python3.14 python3 python "$pyenv"/3.*/bin/python; do
        accept "$python"
    done
fi
if [ -n "$without_venv" ]; then
    fail "$without_venv cannot make virtual environments; install its venv package (Debian, Ubuntu: python3-venv)."
fi
fail "no Python 3.12 or newer was found; install one (pyenv install 3.12, or uv python install 3.12) or name it: PYTHON=/path/to/python3.12"
