#!/bin/sh
# Makes .venv and installs requirements.txt and the package into it. Called by the Makefile, through which
# PYTHON may name an interpreter. The stamp is written last, so that an interrupted set-up starts again.
set -u
cd "$(dirname "$0")/.." || exit 1
stamp=.venv/.unstuck
rm -f "$stamp"

stop() {
    echo "Set-up stopped: $*" >&2
    exit 1
}

suitable='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))'

if [ -e .venv/bin/python ] || [ -L .venv/bin/python ]; then
    # a .venv of the user's own is taken as it is, for instance one with the CPU build of torch in it
    .venv/bin/python -c "$suitable" 2>/dev/null ||
        stop ".venv holds no working Python 3.11, 3.12 or 3.13; remove it (rm -r .venv) and run make again."
    python=.venv/bin/python
else
    python='' no_venv=''
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
        "$candidate" -c "$suitable" 2>/dev/null </dev/null || continue
        if "$candidate" -c 'import venv, ensurepip' 2>/dev/null </dev/null; then
            python=$candidate
            break
        fi
        no_venv=${no_venv:-$("$candidate" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')}
    done
    if [ -z "$python" ] && [ -n "$no_venv" ]; then
        stop "$no_venv is here but its venv module is not; install it (on Debian and Ubuntu: sudo apt install $no_venv-venv) and run make again."
    fi
    [ -n "$python" ] ||
        stop "no Python 3.11, 3.12 or 3.13 among: ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; install one (python.org, or your system's packages) or name it: make PYTHON=/path/to/python3.12 ..."
fi

# also completes a .venv whose making was interrupted
if ! .venv/bin/python -c 'import pip' 2>/dev/null; then
    echo "Making .venv with $($python -V) ..."
    "$python" -m venv .venv || stop "$python could not make .venv; see the message above."
fi

echo "Installing what requirements.txt lists; the first time this takes some minutes and needs the network ..."
pip() { .venv/bin/python -m pip --disable-pip-version-check "$@"; }
pip install --quiet -r requirements.txt ||
    stop "pip could not install requirements.txt; check the network (or pip's own settings, such as a proxy or an index) and run make again: what is installed already is kept."
pip install --quiet --no-deps --no-build-isolation -e . || stop "the package could not be installed; see the message above."
pip check || stop "the versions installed do not fit together; remove .venv (rm -r .venv) and run make again."
date > "$stamp"
