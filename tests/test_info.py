import json
import subprocess
import sys

import numpy as np
import pytest

from lenskern import __main__, _ffi, backends, info


@pytest.fixture(scope="module")
def report():
    return info.collect()


def test_every_backend_is_reported(report):
    assert [backend["name"] for backend in report["backends"]] == list(backends.NAMES)
    for backend in report["backends"]:
        assert backend["reason"]
        operations = [check["operation"] for check in backend["self_checks"]]
        assert operations == (["nnls", "deflect"] if backend["available"] else [])


def test_available_backends_pass(report):
    for backend in report["backends"]:
        if backend["available"]:
            for check in backend["self_checks"]:
                assert check["passed"] is not False, backend
                assert check["passed"] is None or check["max_error"] <= info.TOLERANCE


def test_versions_and_devices(report):
    assert {"lenskern", "python", "jax", "jaxlib", "numpy"} <= set(report["versions"])
    assert all(device["platform"] for device in report["devices"])


def test_command_prints_json():
    done = subprocess.run([sys.executable, "-m", "lenskern.info", "--json"], capture_output=True, text=True, check=True)
    assert set(json.loads(done.stdout)) == {"versions", "devices", "backends"}


def test_text_and_subcommand(capsys):
    assert __main__.main(["info"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in backends.NAMES)
    assert "self-check of nnls passed" in text and "self-check of deflect passed" in text and "FAILED" not in text


def test_unavailable_backend_is_no_failure(monkeypatch, capsys):
    def missing():
        raise ModuleNotFoundError("No module named '_cpp'")

    monkeypatch.setattr(_ffi, "load_cpp", missing)
    assert info.main([]) == 0
    assert "not available: lenskern was installed without its C++ kernels" in capsys.readouterr().out


@pytest.mark.parametrize("fault", ["wrong", "nan", "uncertified", "raises"])
def test_faulty_backend_fails_the_command(monkeypatch, capsys, fault):
    solve = info._solve

    def faulty(name, Q, q):
        x, certified = solve("reference", Q, q)
        if name == "reference":
            return x, certified
        if fault == "raises":
            raise RuntimeError("no such instruction")
        change = {"wrong": 1e-6, "nan": np.nan, "uncertified": 0.0}[fault]
        return x + change, certified & (fault != "uncertified")

    monkeypatch.setattr(info, "_solve", faulty)
    monkeypatch.setattr(info.backends, "availability", lambda name: backends.Availability(True, "here"))
    assert info.main(["--json"]) == 1
    checks = {b["name"]: b["self_checks"][0] for b in json.loads(capsys.readouterr().out)["backends"]}
    assert checks["reference"]["passed"] and not checks["cpp"]["passed"]
    if fault == "raises":
        assert checks["cpp"]["detail"] == "RuntimeError: no such instruction"


def test_faulty_sum_fails(monkeypatch):
    deflections = info._deflections
    monkeypatch.setattr(info, "_deflections", lambda name, *rest: deflections("reference", *rest) * (1 + 1e-6))
    assert info._self_check("reference", "deflect")["passed"] is False
    monkeypatch.setattr(info, "_deflections", lambda name, *rest: deflections("reference", *rest))
    assert info._self_check("cpp", "deflect")["passed"] is True


def test_operation_that_a_backend_does_not_have_is_no_failure(monkeypatch):
    def missing(name, *rest):
        raise NotImplementedError("backend 'pallas': no such sum")

    monkeypatch.setattr(info, "_deflections", missing)
    check = info._self_check("pallas", "deflect")
    assert check["passed"] is None and "no such sum" in check["detail"]


def test_faulty_reference_fails(monkeypatch):
    solve = info._solve
    monkeypatch.setattr(info, "_solve", lambda name, Q, q: (solve(name, Q, q)[0] * 1.001, np.ones(len(q), bool)))
    assert not info._self_check("reference", "nnls")["passed"]
