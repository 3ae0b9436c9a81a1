"""The simulator stays on a GPU: programs lowered and compiled for one, on a machine that has none."""

import re
import types
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh, AxisType

from lenskern import _ffi, backends, convolve, deflect, simulate
from lenskern.simulate import batches, dataset
from lenskern.simulate.dataset.recipe import deterministic
from lenskern.simulate.noise import add_noise

ROOT = Path(__file__).resolve().parents[2]
# What a program may call: the kernels of this package.
ALLOWED = {"lenskern_deflect_fields_cuda", "lenskern_macro_deflection_cuda", "lenskern_poisson_cuda"}
UNIVERSE = deflect.flat_lambda_cdm(H0=67.7, Om0=0.31)


def scene(halos, read_noise=3.0):
    """Whose model draws haloes of two planes."""

    def model(theta, key):
        planes = []
        for key_of_plane in jax.random.split(key):
            positions, masses = jax.random.split(key_of_plane)
            centre = jax.random.uniform(positions, (halos, 2), "float32", minval=-2.0, maxval=2.0)
            kappa_s = theta["amplitude"] * jax.random.pareto(masses, jnp.float32(1.9), (halos,), "float32")
            planes.append(deflect.tnfw(centre, kappa_s, scale_radius=0.1, truncation_radius=0.3))
        macro = deflect.PowerLaw(einstein_radius=theta["einstein_radius"], slope=theta["slope"])
        lens = deflect.planes([0.3, 0.5], 1.5, UNIVERSE, halos=planes, macros=[(1, macro)])
        return simulate.System(lens, sources=(simulate.Sersic((0.1, 0.05), effective_radius=0.2, sersic_index=1.0),))

    options = {"exposure_time": 2000.0, "background": 0.1, "read_noise": read_noise, "dtype": "float32"}
    return simulate.Scene((50, 50), 0.1, over_sampling=4, psf=convolve.gaussian(0.2, 0.1), model=model, **options)


def operands(halos, lanes):
    thetas = {name: jnp.ones(lanes, "float32") for name in ("amplitude", "einstein_radius", "slope")}
    return scene(halos), thetas, jax.random.split(jax.random.key(0), lanes)


def shapes(tree, sharding=None):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def lowered(function, *arguments, sharding=None, **static):
    return (
        jax.jit(function, static_argnames=tuple(static))
        .trace(*shapes(arguments, sharding), **static)
        .lower(lowering_platforms=("cuda",))
    )


@pytest.fixture
def kernels(monkeypatch):
    """As if the CUDA kernels were there: to lower a program needs no more."""
    if not backends.availability("cuda").available:
        here = backends.Availability(True, "for a test")
        monkeypatch.setattr(_ffi, "cuda_status", lambda: here)
        monkeypatch.setattr(backends, "cuda_status", lambda: here)
        monkeypatch.setattr(_ffi, "register_cuda", lambda: None)
        scratch = types.SimpleNamespace(adjoint_scratch=lambda n, N: N, power_law_scratch=lambda lanes, n: lanes)
        monkeypatch.setattr(_ffi, "load_cuda", lambda: scratch)


def loops(text):
    """(a counted loop?) for each of the loops of a StableHLO program.

    The host has to look at the condition of one that is not counted, before every turn.
    """
    counted = []
    for condition in re.findall(r"stablehlo\.while.*?cond \{(.*?)\} do \{", text, re.DOTALL):
        known = set(re.findall(r"(%\w+) = stablehlo\.constant", condition))
        compared = re.search(r"stablehlo\.compare\s+LT, %iterArg\w*, (%\w+),", condition)
        lines = [line for line in condition.splitlines() if line.strip()]
        counted.append(compared is not None and compared[1] in known and len(lines) <= 3)
    return counted


def choices(text):
    """Number of branches that the host would choose by what a program computes.

    A choice by the platform is settled when the program is compiled: it is a case of constants, or of such a case.
    """
    settled, count = set(), 0
    for result, index in re.findall(r'(%\w+)(?::\d+)? = "stablehlo.(?:case|if)"\((%\w+)\)', text):
        if index.startswith("%c") or index in settled:
            settled.add(result)
        else:
            count += 1
    return count


def custom_calls(text):
    return set(re.findall(r"custom_call @([\w.]+)", text))


@pytest.mark.parametrize("noise", [True, False])
def test_no_host_in_a_batch(kernels, noise):
    lanes = jax.vmap(partial(simulate.simulate, noise=noise), (None, 0, 0))
    text = lowered(lanes, *operands(70, 64)).as_text()
    assert custom_calls(text) == (ALLOWED if noise else ALLOWED - {"lenskern_poisson_cuda"})
    assert all(loops(text)) and choices(text) == 0
    for word in ("callback", "infeed", "outfeed", "stablehlo.send", "stablehlo.recv"):
        assert word not in text, word


def total(scene, theta, key):
    return jnp.sum(simulate.simulate(scene, theta, key, noise=False) ** 2)


def pull(scene, theta, key):
    return jax.grad(total, 1)(scene, theta, key)


def push(scene, theta, key):
    return jax.jvp(lambda theta: total(scene, theta, key), (theta,), (theta,))


@pytest.mark.parametrize(("function", "kind"), [(pull, "adjoint"), (push, "tangent")])
def test_no_host_in_a_batch_of_derivatives(kernels, function, kind):
    text = lowered(jax.vmap(function, (None, 0, 0)), *operands(70, 64)).as_text()
    derivatives = {f"lenskern_{name}_{kind}_cuda" for name in ("deflect", "macro")}
    assert custom_calls(text) == ALLOWED - {"lenskern_poisson_cuda"} | derivatives
    assert all(loops(text)) and choices(text) == 0
    assert "callback" not in text


def test_no_host_in_the_gradient_of_a_trace(kernels):
    def loss(model, grid, backend):
        lens = deflect.planes([0.3], 1.5, UNIVERSE, macros=[(0, model)])
        return jnp.sum(deflect.trace(lens, grid, backend=backend) ** 2)

    model = jax.tree.map(jnp.asarray, deflect.PowerLaw(slope=2.1))
    text, reference = (
        lowered(jax.grad(partial(loss, backend=name), (0, 1)), model, jnp.ones((100, 2))).as_text()
        for name in (None, "reference")
    )
    assert custom_calls(text) == {"lenskern_macro_deflection_cuda", "lenskern_macro_adjoint_cuda"}
    assert all(loops(text)) and not all(loops(reference))


def test_no_host_in_the_example(kernels):
    pytest.importorskip("yaml")
    recipe = dataset.load(ROOT / "examples/substructure.yaml").recipe()
    with deterministic(recipe.dtype):
        numbers = jax.ShapeDtypeStruct((64,), "uint32")
        traced = jax.jit(jax.vmap(recipe.one, (None, 0))).trace(recipe.root(), numbers)
        text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert custom_calls(text) == ALLOWED
    assert all(loops(text)) and choices(text) == 0


def test_loops_that_the_host_steers_are_told_from_counted_ones():
    def until(x):
        return jax.lax.while_loop(lambda x: jnp.max(x) > 1, lambda x: x / 2, x)

    assert loops(lowered(until, jnp.ones(3)).as_text()) == [False]
    assert loops(lowered(lambda x: jax.lax.fori_loop(0, 5, lambda i, x: x / 2, x), jnp.ones(3)).as_text()) == [True]
    bound = lowered(lambda n, x: jax.lax.fori_loop(0, n, lambda i, x: x / 2, x), jnp.int32(3), jnp.ones(3))
    assert loops(bound.as_text()) == [False]


def test_read_noise_asks_the_host_only_on_the_cpu(kernels):
    image, key = jnp.ones((4, 5)), jax.random.key(1)

    def noisy(read_noise):
        return add_noise(image, key, exposure_time=100.0, background=1.0, read_noise=read_noise)

    traced = jax.jit(noisy).trace(jnp.zeros(()))
    assert choices(traced.lower(lowering_platforms=("cpu",)).as_text()) == 1
    assert choices(traced.lower(lowering_platforms=("cuda",)).as_text()) == 0
    # A read noise of 0 adds nothing, whichever way.
    assert (noisy(jnp.zeros(())) == noisy(0.0)).all()


def test_the_batch_is_shared_out_without_communication(kernels):
    fixed, thetas, keys = operands(70, 64)
    mesh = AbstractMesh((4,), ("batch",), axis_types=(AxisType.Auto,))
    text = lowered(batches._sharded.__wrapped__, fixed, thetas, keys, noise=True, mesh=mesh).as_text()
    assert ALLOWED <= custom_calls(text)
    # Each of the four takes 16 lanes.
    assert "sdy.manual_computation" in text or "SPMDFullToShardShape" in text
    assert re.search(r"lenskern_poisson_cuda.*tensor<16x2500xf32>", text)
    for word in ("all_gather", "all_reduce", "collective_permute", "all_to_all", "reduce_scatter"):
        assert word not in text


def test_which_compiled_kernels_run(monkeypatch):
    missing = backends.Availability(False, "not built")
    monkeypatch.setattr(_ffi, "cuda_status", lambda: missing)
    for platform, name, reason in (("cpu", "cuda", "NVIDIA GPUs"), ("cuda", "cpp", "the CPU"), ("", "cpp", "the CPU")):
        with pytest.raises(NotImplementedError, match=f"'{name}' runs on {reason} only"):
            _ffi.compiled_backend(platform, name)
    with pytest.raises(RuntimeError, match="'cuda' is not available: not built"):
        _ffi.compiled_backend("cuda", "cuda")
    for platform, name in (("cuda", None), ("cuda", "reference"), ("cpu", "reference"), ("", None)):
        assert _ffi.compiled_backend(platform, name) is None


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize(("source", "count"), [("macro.cu", 4), ("poisson.cu", 1)])
def test_resources(cuda_resources, source, count, architecture):
    functions = cuda_resources(source, architecture)
    kernels = {name: found for name, found in functions.items() if found.registers is not None}
    assert len(kernels) == 2 * count  # float64 and float32
    for name, found in kernels.items():
        most = 80 if "deflect_power_law" in name or "draw_all" in name else 128
        assert found.registers <= most and found.spilled == 0, name


# Of an image of 50 x 50 pixels with 4 x 4 rays each and a margin of 8, float32. A lane has some 41,000 rays; what is
# alive at once is their positions, displacements, deflections and light.
RAYS, MOST_BYTES_OF_A_RAY = 16 * 2500, 80


def test_memory_of_a_theta(h200, kernels, emulate):
    if not isinstance(_ffi.load_cuda(), types.ModuleType):
        # A program can be compiled with any handler of the right name.
        handler = jax.ffi.pycapsule(emulate("emulate_simulate.cc", {}).LenskernPoissonCuda)
        for target in ALLOWED:
            jax.ffi.register_ffi_target(target, handler, platform="CUDA")
    lanes = jax.vmap(simulate.simulate, (None, 0, 0))
    bytes_of = {}
    for halos in (70, 700):
        compiled = lowered(lanes, *operands(halos, 64), sharding=h200).compile()
        bytes_of[halos] = compiled.memory_analysis().temp_size_in_bytes / 64
        text = compiled.as_text()
        assert set(re.findall(r'custom_call_target="([^"]+)"', text)) <= ALLOWED
        assert not re.search(r"\b(infeed|outfeed|send|recv|conditional)\(", text)
        assert all("known_trip_count" in line for line in text.splitlines() if re.search(r"= .*\bwhile\(", line))
    assert bytes_of[70] < MOST_BYTES_OF_A_RAY * RAYS
    # Ten times as many haloes cost their own arrays: profile, centre, amplitude, scale, shape, mask; of two planes.
    assert bytes_of[700] - bytes_of[70] < 2 * 630 * 64
