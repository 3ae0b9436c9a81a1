"""One compiled fit for the likelihood and the visualization of PyAutoFit's searches; skipped without autolens."""

import gc
import logging
import weakref
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from lenskern.bench import autolens_lenses
from lenskern.bench.visualize import compilations, difference, update
from lenskern.interop import autofit as interop_autofit

CASES = [case for case in autolens_lenses.CASES if case.startswith("imaging")]


@pytest.fixture(scope="module", autouse=True)
def autolens():
    # on one thread: a whole likelihood can wait for ever on XLA's pool
    autolens = pytest.importorskip("autolens")
    pytest.importorskip("matplotlib").use("Agg")
    from autofit.jax import enable_pytrees

    enable_pytrees()
    return autolens


@pytest.fixture(scope="module")
def lenses(autolens):
    """``lenses(case)``: the small lens of a case, its analysis and its shared fit, made once."""
    from lenskern.interop import autoarray

    made = {}

    def lens_of(case):
        if case not in made:
            lens = autolens_lenses.lens(case, autolens_lenses.QUICK)
            analysis = lens.analysis()
            shared = interop_autofit.shared_fit(analysis, lens.model).start(background=False)
            made[case] = lens, analysis, shared
        return made[case]

    # exact solutions, so that two programs for one fit differ by rounding alone
    with autoarray.registered():
        yield lens_of


def test_registered_with_the_solver(autolens):
    # the first test here, because the others keep the solver registered
    from autofit.non_linear.analysis.analysis import Analysis

    from lenskern.interop import autoarray

    before = Analysis.fit_for_visualization
    with autoarray.registered():
        assert Analysis.fit_for_visualization is not before
    assert Analysis.fit_for_visualization is before


@pytest.mark.parametrize("case", CASES)
def test_the_figure_shows_the_numbers_of_autolens(lenses, case):
    lens, analysis, _ = lenses(case)
    ours = update(analysis, lens.model, lens.parameters(2)[1])
    analysis.fit_for_visualization = lambda instance: analysis.fit_from(instance=instance)
    try:
        theirs = update(analysis, lens.model, lens.parameters(2)[1])
    finally:
        del analysis.fit_for_visualization
    assert len(theirs.drawn) >= 12
    assert difference(ours.drawn, theirs.drawn) < 1e-8
    assert theirs.compilations > 0 and ours.compilations == 0


@pytest.mark.parametrize("case", [*CASES, "interferometer-mge"])
def test_nothing_is_compiled_for_another_instance(lenses, case):
    lens, _, shared = lenses(case)
    for vector in lens.parameters(3):
        with compilations() as found:
            fit = shared.fit(lens.model.instance_from_vector(vector=vector))
            model_data = np.asarray(fit.model_data.array)
            value = float(shared.log_likelihood(vector))
        assert found == []
        assert np.isfinite(model_data).all()
        # the fit computes its own on NumPy, from the model data and the matrices that were brought back
        np.testing.assert_allclose(float(fit.figure_of_merit), value, rtol=1e-8)


def test_against_a_fit_on_numpy(lenses):
    lens, _, shared = lenses("imaging-rectangular")
    instance = lens.model.instance_from_vector(vector=lens.parameters(2)[1])
    theirs, ours = lens.analysis(use_jax=False).fit_from(instance), shared.fit(instance)
    assert type(ours) is type(theirs)
    value = float(shared.log_likelihood(lens.parameters(2)[1]))
    np.testing.assert_allclose([value, float(ours.figure_of_merit)], float(theirs.figure_of_merit), rtol=1e-8)
    scale = np.abs(theirs.model_data.array).max()
    np.testing.assert_allclose(ours.model_data.array, theirs.model_data.array, atol=1e-8 * scale)
    np.testing.assert_allclose(ours.inversion.reconstruction, theirs.inversion.reconstruction, atol=1e-7)
    assert isinstance(ours.model_data.array, np.ndarray)
    np.testing.assert_allclose(
        ours.inversion.mapped_reconstructed_operated_data.array, ours.model_data.array, atol=1e-8 * scale
    )


def test_a_fit_is_its_own(lenses):
    lens, _, shared = lenses("imaging-mge")
    first, second = (shared.fit(lens.model.instance_from_vector(vector=v)) for v in lens.parameters(2))
    before = np.array(second.model_data.array)
    first.model_data.array[:] = 0
    assert (second.model_data.array == before).all()
    assert first.dataset is second.dataset
    light = first.tracer_linear_light_profiles_to_light_profiles.galaxies[0].bulge.profile_list[0]
    assert isinstance(light.intensity, float)


def test_another_model_is_refused(lenses):
    import autofit as af

    lens, _, shared = lenses("imaging-mge")
    with pytest.raises(ValueError, match="expected"):
        shared.fit(af.Collection(galaxies=af.Collection()).instance_from_vector(vector=[]))
    fixed = lens.model.instance_from_vector(vector=lens.parameters(1)[0])
    fixed.galaxies.source.redshift = 1.1
    with pytest.raises(ValueError, match=r"source\.redshift: expected 1\.0, got 1\.1"):
        shared.fit(fixed)
    with pytest.raises(TypeError, match="use_jax=True"):
        interop_autofit.shared_fit(lens.analysis(use_jax=False), lens.model)
    with pytest.raises(TypeError, match="fit_from"):
        interop_autofit.shared_fit(af.Analysis(use_jax=True), lens.model)


def test_a_search_shares_it(lenses, tmp_path, caplog):
    """Set-up begins the compilation; likelihoods and quick updates add none."""
    from autofit.non_linear.fitness import Fitness

    lens, analysis, shared = lenses("imaging-mge")
    assert interop_autofit.shared_fit(analysis, lens.model) is shared
    written = []
    paths = SimpleNamespace(
        image_path=tmp_path, output_model_results=lambda **text: written.append(text), load_samples_summary=_no_samples
    )
    fitness = Fitness(lens.model, analysis, paths, fom_is_log_likelihood=False, iterations_per_quick_update=2)
    vectors = lens.parameters(4)
    values = [fitness.call_wrap(vectors[0])]
    with compilations() as found, caplog.at_level(logging.WARNING):
        values += [fitness.call_wrap(vector) for vector in vectors[1:]]
    assert found == [] and len(written) == 2 and (tmp_path / "fit.png").exists()
    assert "not shared" not in caplog.text and "raised" not in caplog.text
    priors = [sum(lens.model.log_prior_list_from_vector(vector=vector, xp=np)) for vector in vectors]
    expected = [float(shared.log_likelihood(vector)) + prior for vector, prior in zip(vectors, priors, strict=True)]
    np.testing.assert_allclose(values, expected, rtol=1e-12)
    # inside another program it is the likelihood itself
    assert jax.eval_shape(fitness.objective("scalar"), jax.ShapeDtypeStruct(vectors[0].shape, float)).shape == ()


def _no_samples():
    raise FileNotFoundError


def test_the_compilation_is_announced_and_in_the_background(autolens, caplog):
    lens = autolens_lenses.lens("imaging-mge", autolens_lenses.QUICK)
    analysis = lens.analysis()
    shared = interop_autofit.shared_fit(analysis, lens.model)
    with caplog.at_level(logging.INFO):
        assert shared.start() is shared
        thread = shared._started
        assert shared.start()._started is thread
        fit = shared.fit(lens.model.instance_from_vector(vector=lens.parameters(1)[0]))
    assert not thread.is_alive() and fit.dataset is analysis.dataset
    assert "Compiling the shared fit" in caplog.text and "Shared fit compiled in" in caplog.text
    assert shared.seconds.keys() == {"trace", "compile"}
    # an analysis that nobody else needs goes, and takes its program along
    gone = weakref.ref(analysis), weakref.ref(shared)
    del analysis, shared
    gc.collect()
    assert [reference() for reference in gone] == [None, None]


def test_what_fails_is_visualized_as_before(lenses, caplog, monkeypatch):
    """A warning tells why, and upstream's own way takes over."""
    from autofit.non_linear.fitness import Fitness

    lens, analysis, _ = lenses("imaging-mge")
    asked = []
    monkeypatch.setattr(type(analysis), "fit_from", lambda self, instance: asked.append(instance))
    monkeypatch.setattr(interop_autofit.SharedFit, "fit", _fail)
    with caplog.at_level(logging.WARNING):
        analysis.fit_for_visualization("an instance")
    assert asked == ["an instance"] and "out of order" in caplog.text
    monkeypatch.setattr(interop_autofit.SharedFit, "start", _fail)
    with caplog.at_level(logging.WARNING):
        Fitness(lens.model, analysis, iterations_per_quick_update=10)
    assert len(asked) == 2 and "compiled on its own" in caplog.text


def _fail(*args, **kwargs):
    raise ValueError("out of order")


def test_an_unknown_autofit_is_refused(autolens, monkeypatch):
    from autofit.non_linear.fitness import Fitness

    monkeypatch.setattr(Fitness, "objective", lambda self, kind, strict: None)
    with pytest.raises(RuntimeError, match=r"autofit .* is not .*objective.*Known to work: autofit 2026"):
        interop_autofit.patches()


def test_the_cache_on_disk(tmp_path):
    names = (
        "jax_compilation_cache_dir",
        "jax_persistent_cache_min_compile_time_secs",
        "jax_persistent_cache_min_entry_size_bytes",
    )
    before = {name: getattr(jax.config, name) for name in names}
    try:
        assert interop_autofit.compilation_cache(tmp_path / "programs") == tmp_path / "programs"
        assert (tmp_path / "programs").is_dir()
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "programs")
        assert jax.config.jax_persistent_cache_min_compile_time_secs == 0
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
