import types
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata

import pytest

import lenskern
from lenskern import _ffi, backends

requires_cpp = pytest.mark.skipif(not backends.availability("cpp").available, reason="no compiled kernels")


def compiled(monkeypatch, major, minor):
    """Pretend that the compiled kernels were built on these FFI headers; registering them fails the test."""

    def targets():
        raise AssertionError("handlers must not be touched")

    cpp = types.SimpleNamespace(ffi_version=(major, minor), isa=lambda: "baseline", targets=targets)
    monkeypatch.setattr(_ffi, "load_cpp", lambda: cpp)


def test_jaxlib_speaks_a_version():
    major, minor = _ffi.jaxlib_ffi_version()
    assert major == 0 and minor >= 4


@requires_cpp
def test_compiled_kernels_are_built_on_the_oldest_headers():
    assert _ffi.load_cpp().ffi_version <= _ffi.jaxlib_ffi_version()


@requires_cpp
def test_registration_is_idempotent_and_thread_safe():
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: _ffi.register_cpp(), range(8))) == [None] * 8


@pytest.mark.parametrize("step", [(0, 1), (1, 0), (-1, 0)])
def test_foreign_ffi_version_is_refused_before_registration(monkeypatch, step):
    major, minor = _ffi.jaxlib_ffi_version()
    compiled(monkeypatch, major + step[0], minor + step[1])
    status = backends.availability("cpp")
    assert not status.available
    assert f"need XLA FFI {major + step[0]}.{minor + step[1]}" in status.reason
    assert f"has {major}.{minor}" in status.reason
    with pytest.raises(RuntimeError, match="backend 'cpp' is not available: the compiled kernels need XLA FFI"):
        _ffi.register_cpp()


def test_older_ffi_version_is_accepted(monkeypatch):
    major, minor = _ffi.jaxlib_ffi_version()
    compiled(monkeypatch, major, minor - 1)
    assert backends.availability("cpp").available


@pytest.mark.parametrize("text", [None, "", "#define XLA_FFI_API_MAJOR 0\n"])
def test_unreadable_header_is_refused(monkeypatch, tmp_path, text):
    if text is not None:
        header = tmp_path / "xla" / "ffi" / "api" / "c_api.h"
        header.parent.mkdir(parents=True)
        header.write_text(text)
    monkeypatch.setattr(_ffi.jax.ffi, "include_dir", lambda: str(tmp_path))
    monkeypatch.setattr(_ffi, "jaxlib_ffi_version", _ffi.jaxlib_ffi_version.__wrapped__)
    compiled(monkeypatch, 0, 4)
    assert "cannot be determined" in backends.availability("cpp").reason


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ModuleNotFoundError("No module named '_cpp'"), "LENSKERN_CPP=ON"),
        (ImportError("libgcc_s.so.1: cannot open"), "cannot be loaded: libgcc_s.so.1"),
    ],
)
def test_missing_module_has_its_reason(monkeypatch, error, reason):
    def fail():
        raise error

    monkeypatch.setattr(_ffi, "load_cpp", fail)
    status = backends.availability("cpp")
    assert not status.available and reason in status.reason
    with pytest.raises(RuntimeError, match="backend 'cpp' is not available"):
        backends.require("cpp")


def cuda(monkeypatch, driver, ffi_version=None):
    """Pretend that the CUDA kernels were built with CUDA 13.0 and that this driver is installed."""
    version = ffi_version or _ffi.jaxlib_ffi_version()
    module = types.SimpleNamespace(
        ffi_version=version, cuda_version=(13, 0), architectures="sm_90", driver_version=lambda: driver
    )
    monkeypatch.setattr(_ffi, "load_cuda", lambda: module)
    return backends.availability("cuda")


@pytest.mark.parametrize(("driver", "says"), [(None, "no driver here"), ((13, 0), "CUDA 13.0"), ((14, 1), "CUDA 14.1")])
def test_cuda_needs_no_driver_but_no_old_one(monkeypatch, driver, says):
    status = cuda(monkeypatch, driver)
    assert status.available and says in status.reason


def test_driver_that_is_too_old_is_refused(monkeypatch):
    status = cuda(monkeypatch, (12, 8))
    assert not status.available and "supports 12.8; upgrade the NVIDIA driver" in status.reason
    with pytest.raises(RuntimeError, match="backend 'cuda' is not available: the CUDA kernels were built"):
        _ffi.register_cuda()


def test_cuda_kernels_of_another_ffi_version_are_refused(monkeypatch):
    major, minor = _ffi.jaxlib_ffi_version()
    status = cuda(monkeypatch, None, (major, minor + 1))
    assert not status.available and f"the CUDA kernels need XLA FFI {major}.{minor + 1}" in status.reason


def test_require(monkeypatch):
    def missing():
        raise ModuleNotFoundError("No module named '_cuda'")

    assert backends.require("reference") is None
    monkeypatch.setattr(_ffi, "load_cuda", missing)
    with pytest.raises(RuntimeError, match="backend 'cuda' is not available: .*LENSKERN_CUDA=ON"):
        backends.require("cuda")
    for function in (backends.require, backends.availability):
        with pytest.raises(ValueError, match="backend: got 'numpy', expected one of 'reference', 'cpp', "):
            function("numpy")


@pytest.mark.parametrize("version", ["0.11.1", "0.11.2", "0.12", "0.12.0.1", "0.12.3.dev20270101+abc"])
def test_supported_jax(version):
    assert lenskern._jax_problem(version) is None


@pytest.mark.parametrize("version", [None, "0.10.2", "0.11", "0.11.0", "0.13.0", "0.13.0.dev1", "1.0"])
def test_unsupported_jax_is_one_sentence_with_the_fix(monkeypatch, version):
    def installed(package):
        if version is None:
            raise metadata.PackageNotFoundError(package)
        return version

    monkeypatch.setattr(lenskern.metadata, "version", installed)
    with pytest.raises(ImportError, match="pip install 'jax>=0.11.1,<0.13'") as error:
        lenskern._require_jax()
    assert "\n" not in str(error.value) and (version or "not installed") in str(error.value)


def test_jax_range_is_the_one_that_pip_resolves():
    (requirement,) = [r for r in metadata.requires("lenskern") if r.startswith("jax") and "extra" not in r]
    oldest, too_new = (".".join(map(str, v)) for v in (lenskern.JAX_OLDEST, lenskern.JAX_TOO_NEW))
    assert set(requirement.removeprefix("jax").split(",")) == {f">={oldest}", f"<{too_new}"}
