"""The gate of voice and face: against its definition, and where one modality is noise that its quality gives away."""

from itertools import product

import numpy as np
import pytest

from avsv.errors import DataError
from avsv.scoring.gate import (
    EXPERTS,
    Expert,
    Gate,
    Gated,
    Material,
    Reliability,
    cross_entropy,
    find_gate,
    fit_gate,
    write_gate,
)
from avsv.scoring.metrics import eer

GATE = Gate(
    {
        "A": Reliability(("snr",), np.array([0.5]), -1.0),
        "V": Reliability(("light", "focus"), np.array([1.0, -2.0]), 0.25),
    },
    {"AV": Expert(3.0, -1.0), "A": Expert(2.0, 0.5), "V": Expert(1.5, -0.5)},
)


def test_the_gate_is_the_mean_over_what_is_usable():
    rng = np.random.default_rng(0)
    scores = {mode: rng.normal(size=50) for mode in EXPERTS}
    usable = {letter: rng.random(50) for letter in "AV"}
    expected = np.zeros(50)
    for voice, face in product((True, False), repeat=2):
        share = np.where(voice, usable["A"], 1 - usable["A"]) * np.where(face, usable["V"], 1 - usable["V"])
        mode = "A" * voice + "V" * face
        if mode:
            expected += share * (GATE.experts[mode].scale * scores[mode] + GATE.experts[mode].offset)
    np.testing.assert_allclose(GATE(scores, usable), expected)


def test_a_missing_modality_is_left_out():
    quality = np.array([[0.5, 0.1], [np.nan, np.nan]])
    usable = {"A": np.ones(2), "V": GATE.reliabilities["V"](quality)}
    scores = {"AV": np.array([1.0, 0.0]), "A": np.array([0.3, 0.3]), "V": np.array([2.0, 0.0])}
    r = 1 / (1 + np.exp(-(0.5 - 0.2 + 0.25)))
    np.testing.assert_allclose(usable["V"], [r, 0])
    np.testing.assert_allclose(GATE(scores, usable), [r * 2.0 + (1 - r) * 1.1, 1.1])


def test_the_cross_entropy_is_that_of_the_mixture_and_has_its_gradient():
    rng = np.random.default_rng(1)
    llr, quality, is_target = 2 * rng.normal(size=40), rng.normal(size=(40, 2, 3)), np.arange(40) < 15
    weights, prior, values = rng.random(40), 0.2, np.array([0.7, -0.3, 0.1, 1.2])
    odds = quality @ values[:3] + values[3]
    r = np.prod(1 / (1 + np.exp(-odds)), axis=1)
    posterior = 1 / (1 + (1 - prior) / prior / (r * np.exp(llr) + 1 - r))
    loss = weights @ -np.log(np.where(is_target, posterior, 1 - posterior))
    ridge = 2e-4 * prior * weights.sum() * 0.5 * (values[:3] ** 2).sum()
    arguments = llr, quality, is_target, weights, prior
    value, gradient = cross_entropy(values, *arguments)
    assert value == pytest.approx(loss + ridge)
    steps = 1e-6 * np.eye(4)
    numeric = [cross_entropy(values + s, *arguments)[0] - cross_entropy(values - s, *arguments)[0] for s in steps]
    np.testing.assert_allclose(gradient, np.array(numeric) / 2e-6, atol=1e-6)


def made_up(rng, count, dark, clean=False):
    """Scores of voice and face (llr of normal scores with means +-1), and of both; faces of a dark clip are noise.

    The quality of a face is its light, that of a voice has nothing to do with its score.
    """
    is_target = rng.random(count) < 0.3
    sign = np.where(is_target, 1, -1)
    voice = sign + rng.normal(size=count)
    face = np.where(dark, -1, sign) + rng.normal(size=count)
    light = np.stack([rng.normal(2, 0.3, count), np.where(dark, -2, 2) + 0.3 * rng.normal(size=count)], axis=1)
    quality = {"A": rng.normal(size=(count, 2, 1)), "V": light[:, :, np.newaxis]}
    return {"AV": voice + face, "A": voice, "V": face}, quality, is_target


def usable(gate, quality):
    return {m: np.prod([gate.reliabilities[m](quality[m][:, side]) for side in (0, 1)], axis=0) for m in "AV"}


def test_a_face_that_is_noise_does_not_count():
    rng = np.random.default_rng(2)
    clean, _, clean_target = made_up(rng, 20000, np.zeros(20000, bool))
    scores, quality, is_target = made_up(rng, 20000, rng.random(20000) < 0.2)
    names = {"A": ("level",), "V": ("light",)}
    gate = fit_gate(Material(clean, clean_target, scores, quality, names, is_target), 0.5)
    # The likelihood ratios of normal scores with means +-1 and variance 1.
    for mode in EXPERTS:
        assert gate.experts[mode].scale == pytest.approx(2, abs=0.1)
    for dark in (False, True):
        scores, quality, is_target = made_up(rng, 20000, np.full(20000, dark))
        found = usable(gate, quality)
        assert found["A"].mean() > 0.97
        rates = {mode: eer(part, is_target) for mode, part in scores.items()}
        gated = eer(gate(scores, found), is_target)
        if dark:
            assert found["V"].mean() < 0.05
            assert gated == pytest.approx(rates["A"], abs=0.005)
            assert rates["AV"] > rates["A"] + 0.05
        else:
            assert found["V"].mean() > 0.95
            assert gated == pytest.approx(rates["AV"], abs=0.005)


def test_a_constant_measure_has_no_weight():
    rng = np.random.default_rng(3)
    clean, quality, is_target = made_up(rng, 500, np.zeros(500, bool))
    quality["A"][:] = 3.0
    gate = fit_gate(Material(clean, is_target, clean, quality, {"A": ("x",), "V": ("y",)}, is_target), 0.5)
    assert gate.reliabilities["A"].weights.tolist() == [0]


def test_scores_that_are_of_no_use():
    rng = np.random.default_rng(4)
    clean, quality, is_target = made_up(rng, 500, np.zeros(500, bool))
    clean["V"] = -clean["V"]
    with pytest.raises(DataError, match="mode VxV: target trials do not score higher"):
        fit_gate(Material(clean, is_target, clean, quality, {"A": ("x",), "V": ("y",)}, is_target), 0.5)


def test_a_gate_is_read_as_it_was_written(tmp_path):
    folder = tmp_path / "both_gate/scores"
    folder.mkdir(parents=True)
    write_gate(folder, Gated("both_gate", "both", GATE))
    found = find_gate(tmp_path, "both_gate")
    assert (found.name, found.system, found.gate.experts) == ("both_gate", "both", GATE.experts)
    for letter, reliability in GATE.reliabilities.items():
        read = found.gate.reliabilities[letter]
        assert (read.measures, read.weights.tolist(), read.offset) == (
            reliability.measures,
            reliability.weights.tolist(),
            reliability.offset,
        )
    assert find_gate(tmp_path, "both") is None
    lines = (folder / "gate.csv").read_text().splitlines()
    for wrong in (lines[:-1], [line.replace("AVxAV", "AV") for line in lines], lines[:1], ["x"]):
        (folder / "gate.csv").write_text("\n".join(wrong) + "\n")
        with pytest.raises(DataError, match="not the file of a gate"):
            find_gate(tmp_path, "both_gate")
