from pathlib import Path

import numpy as np
import pytest

from lenskern.simulate import dataset
from lenskern.simulate.dataset import priors
from lenskern.simulate.dataset.document import parse

pytest.importorskip("yaml", reason="configs need PyYAML: pip install 'lenskern[simulate]'")

TOY = """\
# a comment
seed: 3
batch: 4
chunk: 12
theta:
  width: {uniform: [0.2, 0.5]}
  centre:
    normal:
      mean: 0
      sigma: 1
function: toy_images:blob
"""


@pytest.fixture(autouse=True)
def toys_can_be_imported(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def load(tmp_path, text):
    (tmp_path / "bad.yaml").write_text(text)
    return dataset.load(tmp_path / "bad.yaml")


def test_a_config_is_read(tmp_path):
    config = load(tmp_path, TOY)
    assert (config.seed, config.batch, config.chunk, config.dtype) == (3, 4, 12, "float32")
    assert config.priors == {"width": priors.Uniform(0.2, 0.5), "centre": priors.Normal(0, 1)}
    assert dataset.load(config, seed=8).seed == 8
    assert dataset.load(config).fingerprint == config.fingerprint != dataset.load(config, seed=8).fingerprint


def test_priors_can_be_written_in_three_ways(tmp_path):
    theta = "theta: {a: 1.5, b: {constant: 2}, c: {choice: [1, 2]}, d: {choice: {values: [1, 2], weights: [1, 3]}}}\n"
    found = load(tmp_path, theta + "function: toy_images:blob\n").priors
    weighted = priors.Choice((1, 2), (1, 3))
    assert found == {"a": priors.Constant(1.5), "b": priors.Constant(2), "c": priors.Choice((1, 2)), "d": weighted}


def test_numbers_are_those_of_yaml_1_2():
    text = "[1e9, -.5, 1_000, 0x10, yes, 'true', true, ~, 12:30, 1.e-3, .inf, +3]"
    assert parse(text, "x").plain() == [
        10**9,
        -0.5,
        "1_000",
        "0x10",
        "yes",
        "true",
        True,
        None,
        "12:30",
        1e-3,
        np.inf,
        3,
    ]


# Replacements in the config, the line and the path of the error, and words of the message.
BAD = [
    ("seed: 3", "sead: 3", "2: sead: unknown key, did you mean 'seed'?"),
    ("seed: 3", "seed: -1", "2: seed: got -1, expected an integer of at least 0"),
    ("seed: 3", "seed: 1.5", "2: seed: got 1.5, expected an integer"),
    ("batch: 4", "batch: four", "3: batch: got 'four', expected an integer"),
    ("batch: 4", "batch: 5", "4: chunk: got 12, expected a multiple of batch, 5"),
    ("batch: 4", "dtype: float31", "3: dtype: got 'float31', expected one of float32, float64; did you mean"),
    ("batch: 4", "batch: 4\nbatch: 5", "4: batch: again, after line 3"),
    ("batch: 4", "batch: [4", "4: not YAML: expected ',' or ']', but got ':'"),
    ("batch: 4", "batch: &a [*a]", "3: batch[0]: an anchor that contains itself"),
    ("batch: 4", "? [1]\n: 4", "3: a key that is not a word"),
    ("theta:", "theat:", "5: theat: unknown key, did you mean 'theta'?"),
    ("function: toy_images:blob", "", "2: the key 'scene' is missing, or 'function'"),
    ("function: toy_images:blob", "function: toy_images", "11: function: got 'toy_images', expected MODULE:NAME"),
    ("function: toy_images:blob", "function: no_such:blob", "11: function: cannot be imported: No module named"),
    (
        "function: toy_images:blob",
        "function: toy_images:no",
        "11: function: cannot be imported: module .* no attribute",
    ),
    ("{uniform: [0.2, 0.5]}", "{unifrom: [0.2, 0.5]}", "6: theta.width.unifrom: unknown key, did you mean 'uniform'"),
    (
        "{uniform: [0.2, 0.5]}",
        "{uniform: [0.5, 0.2]}",
        "6: theta.width.uniform[1]: got 0.2, expected a number above low",
    ),
    ("{uniform: [0.2, 0.5]}", "{uniform: [0.2]}", "6: theta.width.uniform: got 1 numbers, expected low, high"),
    ("{uniform: [0.2, 0.5]}", "{uniform: 0.2}", "6: theta.width.uniform: got 0.2, expected a list or a mapping"),
    ("{uniform: [0.2, 0.5]}", "wide", "6: theta.width: got 'wide', expected a number or a prior"),
    ("{uniform: [0.2, 0.5]}", "{uniform: [0, 1], normal: [0, 1]}", "6: theta.width: got 2 priors, expected one of"),
    ("sigma: 1", "sigma: -1", "10: theta.centre.normal.sigma: got -1, expected a number above 0"),
    ("sigma: 1", "sigma: wide", "10: theta.centre.normal.sigma: got 'wide', expected a finite number"),
    ("sigma: 1", "sigma: .nan", "10: theta.centre.normal.sigma: got nan, expected a finite number"),
    ("sigma: 1", "scale: 1", "10: theta.centre.normal.scale: unknown key, expected one of mean, sigma"),
    ("      sigma: 1\n", "", "8: theta.centre.normal: the key 'sigma' is missing"),
]


@pytest.mark.parametrize("old, new, message", BAD)
def test_an_error_names_the_line_and_the_key(tmp_path, old, new, message):
    assert TOY.count(old) == 1
    with pytest.raises(dataset.ConfigError) as caught:
        load(tmp_path, TOY.replace(old, new))
    place = f"{tmp_path / 'bad.yaml'}:"
    start, _, words = message.partition(" .* ")
    assert str(caught.value).startswith(place + start) and words in str(caught.value)


@pytest.mark.parametrize(
    "text, message", [("", "bad.yaml:1: the file is empty"), ("[1]", "got a list of 1, expected a")]
)
def test_what_is_no_mapping_is_an_error(tmp_path, text, message):
    with pytest.raises(dataset.ConfigError, match=message):
        load(tmp_path, text)


def test_a_dict_is_checked_too():
    with pytest.raises(dataset.ConfigError, match="^config: theta.a.uniform: got 1 numbers"):
        dataset.load({"theta": {"a": {"uniform": [1]}}, "function": "toy_images:blob"})
    with pytest.raises(ValueError, match="config: got int, expected a path, a dict"):
        dataset.load(3)
