#!/bin/sh
# install.sh VENV EXTRA...: makes the environment if needed and installs lenskern as a wheel, with these extras.
# Does nothing where the same sources are installed already. LENSKERN_CPP=OFF leaves out the compiled kernels,
# LENSKERN_CUDA=OFF those for NVIDIA GPUs, which are built where there is an nvcc (ON: or else it fails),
# JAX_VERSION=0.11.2 takes that jax instead of the newest supported one.
set -eu

venv=$1
shift
case $venv in /*) ;; *) venv=$PWD/$venv ;; esac
cd "$(dirname "$0")/.."
cpp=${LENSKERN_CPP:-ON}
cuda=${LENSKERN_CUDA:-AUTO}
python=$venv/bin/python

fail() {
    echo "lenskern: $1" >&2
    exit 1
}

compiles() {
    echo 'int main() { return 0; }' | "$@" -std=c++20 -x c++ -o /dev/null - >/dev/null 2>&1
}

has_compiler() { # as CMake looks for one: $CXX and no other if it is set
    if [ -n "${CXX:-}" ]; then
        compiles $CXX
    else
        compiles c++ || compiles g++ || compiles clang++
    fi
}

if [ "$cpp" = ON ] && ! has_compiler; then
    fail "no working C++20 compiler was found${CXX:+ (CXX=$CXX)}; install one (g++ or clang++), or set LENSKERN_CPP=OFF to install without the compiled kernels."
fi

nvcc=$(command -v "${CUDACXX:-nvcc}" || true)
if [ "$cuda" = ON ] && [ -z "$nvcc" ]; then
    fail "no nvcc was found${CUDACXX:+ (CUDACXX=$CUDACXX)}; install the CUDA toolkit, name its compiler in CUDACXX, or set LENSKERN_CUDA=OFF to install without the CUDA kernels."
fi

if ! "$python" -c 'import sys, pip; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1; then
    if [ -e "$venv" ] && [ ! -e "$venv/pyvenv.cfg" ]; then
        fail "$venv exists and is not a virtual environment; remove it or set VENV to another path."
    fi
    base=$(sh scripts/find_python.sh)
    echo "making $venv with $base"
    "$base" -m venv --clear "$venv"
fi

# What the installed wheel depends on: every source file and the options. Contents, so that a checkout costs no rebuild.
state=$venv/lenskern
mkdir -p "$state"
{
    echo "LENSKERN_CPP=$cpp LENSKERN_CUDA=$cuda nvcc=$nvcc CXX=${CXX:-} CXXFLAGS=${CXXFLAGS:-} JAX_VERSION=${JAX_VERSION:-}"
    find CMakeLists.txt pyproject.toml README.md LICENSE kernels python -type f ! -name '*.pyc' -exec cksum {} + | LC_ALL=C sort -k 3
} >"$state/wanted"
if ! cmp -s "$state/wanted" "$state/installed"; then
    echo "building lenskern (LENSKERN_CPP=$cpp LENSKERN_CUDA=$cuda)"
    rm -f "$state/installed" "$state"/extras-* "$state"/*.whl
    "$python" -m pip wheel --quiet --no-input --no-deps --wheel-dir "$state" \
        -C "cmake.define.LENSKERN_CPP=$cpp" -C "cmake.define.LENSKERN_CUDA=$cuda" .
    "$python" -m pip install --quiet --no-input --no-deps --force-reinstall "$state"/lenskern-*.whl
    mv "$state/wanted" "$state/installed"
fi
for extra; do
    if [ ! -e "$state/extras-$extra" ]; then
        echo "installing what lenskern[$extra] needs"
        "$python" -m pip install --quiet --no-input "$(echo "$state"/lenskern-*.whl)[$extra]" ${JAX_VERSION:+"jax==$JAX_VERSION"}
        : >"$state/extras-$extra"
    fi
done
