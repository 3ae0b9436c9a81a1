"""The harness for GPUs, on a machine without one: all of it at tiny sizes, and what it makes of programs that fail."""

import argparse
import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lenskern.bench import report
from lenskern.bench.gpu import command, expected, parity, parts, programs, race, results, summary
from lenskern.bench.gpu import nnls as gpu_nnls

# Cases that fail in every way that a kernel can, each beside one that does not.
REGISTRY = """
import os, signal, sys, time
import jax.numpy as jnp
from lenskern.bench import report
from lenskern.bench.gpu import race
from lenskern.bench.gpu.race import System

PARTS = {"toy": ("programs that fail", 60), "late": ("programs that hang", 2), "other": ("one that does not", 60)}
GOOD = System("lenskern", "good", "float64")

def measure(bad, guard):
    setups = {GOOD: lambda: lambda: jnp.ones(3), System("lenskern", "bad", "float64"): bad}
    outcome = race.race(setups, guard, runs=5, least=0.0, enough=0.01)
    return race.failed(outcome) + [report.record(**s.fields, **t) for s, t in outcome.times.items()]

def raises(*arguments):
    raise ValueError("wrong answer")

def lacks(*arguments):
    raise NotImplementedError("no such kernel; use another")

def cases(part, dry_run):
    bad = {
        "crash": lambda: lambda: os.kill(os.getpid(), signal.SIGSEGV),
        "raise": lambda: raises,
        "absent": lacks,
        "poison": lambda: poison,
    }
    if part == "late":
        bad = {"hang": lambda: lambda: time.sleep(60)}
    found = {name: lambda guard, setup=setup: measure(setup, guard) for name, setup in bad.items()}
    return {"good": lambda guard: measure(lacks, guard)} if part == "other" else found | {"broken case": raises}

def poison():
    race.Guard.probe = lambda self, name, reason: (_ for _ in ()).throw(race.Broken(str(name), reason))
    raise RuntimeError("an illegal memory access was encountered")
"""


def arguments(*options):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(options)


def statuses(records, case):
    return {r["backend"] or r["system"]: r["status"] for r in records if r["case"] == case}


def test_a_dry_run_goes_through_everything(tmp_path):
    out = tmp_path / "results" / "dry.json"
    options = ["gpu", "--dry-run", "--out", str(out), "--minutes", "9"]
    done = subprocess.run(
        [sys.executable, "-m", "lenskern.bench", *options], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    log = out.with_suffix(".log").read_text()
    assert done.returncode == 0, done.stdout + done.stderr + log
    records = report.read(out)
    assert {r["part"] for r in records} == set(parts.PARTS)
    assert all(r["dry_run"] and set(report.FIELDS) <= set(r) for r in records)
    assert {r["status"] for r in records} <= {"right", "measured", "absent"}
    for part in parts.PARTS:
        assert {r["case"] for r in records if r["part"] == part} == set(parts.cases(part, True))
    for r in records:
        if r["status"] == "right":
            assert 0 <= r["max_abs_err"] <= r["tolerance"]
        if r["status"] == "measured":
            assert 0 < r["min_s"] <= r["median_s"] and r["runs"] >= 1
    solved = [r for r in records if r["part"] == "nnls" and r["system"] == "lenskern"]
    assert solved and all(r["solved"] == 2 and r["max_rel_err"] < 1e-8 and r["double_flops"] > 0 for r in solved)
    assert "DRY RUN" in done.stdout and "Inversions" in done.stdout and "simulate, " in log
    assert not (tmp_path / "benchmarks").exists()


@pytest.fixture
def toy(tmp_path, monkeypatch):
    (tmp_path / "toy_registry.py").write_text(REGISTRY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return importlib.import_module("toy_registry")


def test_a_program_that_fails_costs_its_own_record_alone(toy, tmp_path, capsys):
    options = ("--dry-run", "--out", "r.json", "--parts", "toy,late,other")
    assert command.run(arguments(*options), toy) == 1
    records = report.read("r.json")
    for case in ("crash", "raise", "poison", "hang"):
        assert statuses(records, case) == {"good": "measured", "bad": "failed"}, case
    assert statuses(records, "absent") == {"good": "measured", "bad": "absent"}
    assert statuses(records, "good") == {"good": "measured", "bad": "absent"}
    reasons = {r["case"]: r["reason"] for r in records if r["status"] == "failed"}
    assert "signal 11" in reasons["crash"] and "ValueError: wrong answer" in reasons["raise"]
    assert "illegal memory access" in reasons["poison"] and "time limit" in reasons["hang"]
    assert "wrong answer" in reasons["broken case"]
    printed = capsys.readouterr().out
    assert "FAILED: lenskern bad float64 (toy, crash): the process ended with signal 11" in printed
    assert "absent: lenskern bad (toy, absent and 1 more): no such kernel" in printed

    # The same again: nothing is measured twice, a changed source is.
    before = Path("r.json").read_bytes()
    assert command.run(arguments(*options), toy) == 1
    assert capsys.readouterr().out.count("in the file already") == 8
    assert Path("r.json").read_bytes() == before
    stale = [r | {"state": "another"} if r["part"] == "other" else r for r in records]
    results.Results("r.json").path.write_text(json.dumps(stale))
    assert command.run(arguments(*options, "--minutes", "0"), toy) == 1
    assert "other" in capsys.readouterr().out
    assert statuses(report.read("r.json"), "good") == {"all": "left out"}
    # What was left out is not done: the next run has it.
    assert command.run(arguments("--dry-run", "--out", "r.json", "--parts", "other"), toy) == 0
    assert statuses(report.read("r.json"), "good") == {"good": "measured", "bad": "absent"}


def test_without_a_gpu_it_says_what_to_do(toy, monkeypatch, capsys):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert command.run(arguments("--parts", "other"), toy) == 1
    said = capsys.readouterr().err
    assert "finds no NVIDIA GPU" in said and "--dry-run" in said
    with pytest.raises(SystemExit, match="--parts: got 'nothing', expected one of toy"):
        command.run(arguments("--parts", "nothing"), toy)


def test_a_time_that_is_replaced_is_kept_beside_the_new_one(tmp_path):
    found = results.Results(tmp_path / "r.json")
    fields = {"benchmark": "gpu", "system": "lenskern", "backend": "cuda", "dtype": "float64"}
    found.put("nnls", "a", [report.record(**fields, median_s=2.0)], "first")
    found.put("nnls", "b", [report.record(**fields, median_s=float("nan"))], "first")
    found.put("nnls", "a", [report.record(**fields, median_s=1.0)], "second")
    again = results.Results(tmp_path / "r.json")
    (record,) = again.of("nnls", "a")
    assert (record["median_s"], record["previous_s"], record["status"]) == (1.0, 2.0, "measured")
    assert again.has("nnls", "a", "second") and not again.has("nnls", "a", "first")
    assert again.of("nnls", "b")[0]["median_s"] is None
    assert len((tmp_path / "r.json").read_text().splitlines()) == 4


def test_figures_depend_on_their_own_sources(tmp_path):
    files = (
        "kernels/cuda/nnls.cu",
        "kernels/cuda/deflect.cu",
        "python/lenskern/nnls/api.py",
        "python/lenskern/_ffi.py",
    )
    for name in (*files, "python/lenskern/bench/gpu/ceilings.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("old")

    def changed(name):
        before = {part: results.state(part, tmp_path) for part in parts.PARTS}
        (tmp_path / name).write_text(name)
        return {part for part in parts.PARTS if results.state(part, tmp_path) != before[part]}

    everything = set(parts.PARTS)
    assert changed("kernels/cuda/nnls.cu") == {"parity", "nnls"}
    assert changed("kernels/cuda/deflect.cu") == {"parity", "deflect", "simulate"}
    assert changed("python/lenskern/_ffi.py") == everything - {"ceilings"}
    assert changed("python/lenskern/bench/gpu/ceilings.py") == everything
    assert changed("python/lenskern/_cpp.so") == set()


def test_files_are_named_after_devices():
    assert results.file_name({"model": "NVIDIA H100 80GB HBM3"}) == "nvidia-h100-80gb-hbm3.json"


def test_every_kernel_of_a_gpu_has_its_cases():
    cases = parts.cases("parity", False)
    assert {
        f"{o}, {b}, {d}" for o in ("deflect", "nnls") for b in ("cuda", "pallas") for d in ("float32", "float64")
    } <= set(cases)
    assert {"K = 1261, batch 3", "K = 1261, batch 16", "K = 40, batch 1024"} <= set(parts.cases("nnls", False))
    assert {K for K, _ in gpu_nnls.CASES} == {40, 1149, 1261, 1581}
    for part, case, *_ in expected.TABLE:
        assert case in parts.cases(part, False), (part, case)


def test_differences_see_what_is_not_finite():
    a = np.array([1.0, np.nan, 4.0])
    assert parity.difference((a, np.zeros(0)), (a, np.zeros(0))) == 0
    assert parity.difference(a, np.array([1.0, 2.0, 4.0])) == np.inf
    assert parity.difference(a + 0.4, a) == pytest.approx(0.1)
    assert parity.difference(np.ones(2), np.ones((2, 1))) == np.inf


def test_the_summary_puts_floor_expectation_and_the_time_before_beside_each_figure():
    common = {"benchmark": "gpu", "device": {"model": "NVIDIA H200"}, "versions": {}, "status": "measured"}
    ours = {"part": "nnls", "case": "K = 1261, batch 3", "batch": 3, "backend": "cuda", "dtype": "float64"}
    counts = {"solved": 3, "max_rel_err": 1e-9, "single_flops": 6e10, "double_flops": 6e9}
    records = [
        report.record(
            **common, part="ceilings", case="c", system="cublas", backend="gemm", dtype=dtype, flops=6e13, median_s=0.1
        )
        for dtype in ("float32", "float64")
    ]
    records.append(report.record(**common, **ours, **counts, system="lenskern", median_s=2.2e-3, previous_s=4e-3))
    records.append(report.record(**common, **ours | {"backend": "vmap"}, system="jaxnnls", median_s=4.4e-2))
    text = summary.text(records)
    row = next(line for line in text.splitlines() if "lenskern cuda" in line)
    for words in ("2.2 ms", "733 us", "1.1 ms", "50.0%", "1 ms to 3 ms", "4 ms", "1e-09, 3/3 solved"):
        assert words in row, words
    assert " 20 " in next(line for line in text.splitlines() if "jaxnnls" in line)
    assert "60 TFLOP/s" in text and "67 TFLOP/s" in text


def test_what_is_absent_is_told_from_what_has_failed():
    assert race.explain(ImportError("not installed: pip install x")) == ("absent", "not installed: pip install x")
    assert race.explain(RuntimeError("backend 'cuda' is not available: no nvcc"))[0] == "absent"
    assert race.explain(RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS")) == (
        "failed",
        "RuntimeError: CUDA_ERROR_ILLEGAL_ADDRESS",
    )


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc")
@pytest.mark.parametrize("source", ["device.cu", "tiles.cu"])
def test_programs_compile(source, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    command = ["nvcc", *programs.flags("sm_90"), "-ptx", str(programs.FOLDER / source), "-o", "/dev/null"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_tiles_that_lose_digits_are_wrong(monkeypatch, tmp_path):
    program = tmp_path / "tiles"
    found = {
        "float32 on tensor cores": {"dtype": "float32", "step_s": 9e-7, "error": 3e-4},
        "float64 by threads": {"dtype": "float64", "step_s": 4e-6, "error": 1e-16},
        "float64 on tensor cores": {"dtype": "float64", "step_s": 2e-6, "error": float("inf")},
    }
    program.write_text(f"#!/bin/sh\necho '{json.dumps(found)}'\n")
    program.chmod(0o755)
    monkeypatch.setattr(programs, "build", lambda source, dry_run: program)
    records = parity.cases(False)["tiles of large inversions"](race.Guard())
    assert [r["status"] for r in records] == ["wrong", "right", "wrong"]
    for r in records:
        r |= {"part": "parity", "case": "tiles", "device": {"model": "NVIDIA H200"}}
    row = next(line for line in summary.text(records).splitlines() if "products of tiles, float32" in line)
    assert "900 ns" in row and "1 us" in row, row
