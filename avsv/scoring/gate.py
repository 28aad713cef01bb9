"""A gate: voice and face are weighed by how reliable the measured quality of the recordings says they are.

The reliability of a modality of a recording is a logistic function of its measured quality, and 0 where the modality is
missing; that of a trial, r, is the product of those of its two recordings. The score is the mean of log-likelihood
ratios over what may be usable, both modalities, one or none; stage 9 calibrates it like any other:

    score = r_A r_V l_AV + r_A (1 - r_V) l_A + (1 - r_A) r_V l_V

where l_m = scale_m score_m + offset_m calibrates the score of a fused system in the mode m for clean recordings. A
modality with r = 0 is treated like a missing one, and where both are reliable the score is l_AV.

Reliabilities are fitted to each modality alone, as the probability that its score is one of clean recordings; otherwise
it says nothing: log(r exp(l_m) + 1 - r) is the log-likelihood ratio of this mixture.

Source of the idea to weigh modalities by measured quality: Kittler et al. 2007, "Quality dependent fusion of intramodal
and multimodal biometric experts".
"""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from avsv.errors import DataError
from avsv.io.atomic import write_text
from avsv.io.lists import read_scores, write_scores
from avsv.scoring.calibration import fit_calibration
from avsv.scoring.ensemble import common_trials
from avsv.scoring.metrics import check_trials
from avsv.scoring.trials import TrialSet, places_in

EXPERTS = ("AV", "A", "V")
"""The modes whose scores a gate combines."""
FILE = "gate.csv"
_RIDGE = 2e-4  # weight of half the squared weights of measures of variance 1, times the prior
_START = 3.0  # log odds of the reliability of a recording before the fit
_LEAST = 1e-12  # smallest probability that a modality is not usable
_CONSTANT = 1e-9  # a measure with a smaller deviation contains only rounding errors


class Reliability(NamedTuple):
    """The reliability of a modality of recordings: the logistic function of a sum of their measures.

    Attributes:
        measures: names of K measures.
        weights: (K,) of the measures.
        offset: of the sum.
    """

    measures: tuple[str, ...]
    weights: NDArray[np.float64]
    offset: float

    def __call__(self, quality: NDArray[np.float64]) -> NDArray[np.float64]:
        """Reliabilities (U,) of recordings with measures (U, K); 0 where one is NaN, as the modality is missing.

        Example:
            >>> Reliability(("snr",), np.array([1.0]), -10.0)(np.array([[10.0], [np.nan]])).tolist()
            [0.5, 0.0]
        """
        odds = np.nan_to_num(quality) @ self.weights + self.offset
        return np.where(np.isnan(quality).any(axis=1), 0.0, _logistic(odds))


class Expert(NamedTuple):
    """The calibration of the scores of one mode: scale * score + offset."""

    scale: float
    offset: float


class Gate(NamedTuple):
    """A fitted gate.

    Attributes:
        reliabilities: of the modalities A and V.
        experts: of the modes AV, A and V.
    """

    reliabilities: Mapping[str, Reliability]
    experts: Mapping[str, Expert]

    def __call__(self, scores: Mapping[str, NDArray], usable: Mapping[str, NDArray]) -> NDArray[np.float64]:
        """Log-likelihood ratios (N,) of trials.

        Args:
            scores: (N,) per mode AV, A and V; any finite number where a modality that it needs is missing.
            usable: (N,) the reliabilities of A and V: products of those of both sides.

        Example (a voice without worth adds nothing to the face):
            >>> gate = Gate({}, {"AV": Expert(2.0, 0.0), "A": Expert(1.0, 0.0), "V": Expert(1.0, -0.5)})
            >>> scores = {"AV": np.array([3.0]), "A": np.array([9.0]), "V": np.array([1.5])}
            >>> [gate(scores, {"A": np.array([r]), "V": np.ones(1)}).tolist() for r in (0.0, 0.5, 1.0)]
            [[1.0], [3.5], [6.0]]
        """
        both, voice, face = (self.experts[mode].scale * scores[mode] + self.experts[mode].offset for mode in EXPERTS)
        a, v = usable["A"], usable["V"]
        return a * v * both + a * (1 - v) * voice + (1 - a) * v * face


class Material(NamedTuple):
    """Trials to fit a gate on, which have both modalities on both sides.

    Attributes:
        clean: (M,) scores of clean recordings per mode AV, A and V.
        clean_target: (M,).
        scores: (N,) scores of A and V of recordings of all qualities.
        quality: (N, 2, K) measures of both sides of these, per modality.
        measures: the names of the measures, per modality.
        is_target: (N,).
    """

    clean: Mapping[str, NDArray]
    clean_target: NDArray[np.bool_]
    scores: Mapping[str, NDArray]
    quality: Mapping[str, NDArray]
    measures: Mapping[str, tuple[str, ...]]
    is_target: NDArray[np.bool_]


def fit_gate(material: Material, prior: float) -> Gate:
    """Fit a gate on development trials.

    Args:
        material: the trials.
        prior: prior probability of a target trial, with which the fits are weighted.

    Raises:
        ValueError: as :func:`avsv.scoring.metrics.eer`.
        DataError: all scores of a mode are equal, or target trials do not score higher than others.
    """
    experts = {}
    for mode in EXPERTS:
        scale, offset, _ = fit_calibration(material.clean[mode], material.clean_target, prior)
        if scale <= 0:
            raise DataError(f"mode {mode}x{mode}: target trials do not score higher than others: a gate is of no use")
        experts[mode] = Expert(scale, offset)
    reliabilities = {}
    for letter, names in material.measures.items():
        scores, is_target = check_trials(material.scores[letter], material.is_target)
        llr = experts[letter].scale * scores + experts[letter].offset
        reliabilities[letter] = fit_reliability(llr, material.quality[letter], is_target, names, prior)
    return Gate(reliabilities, experts)


def fit_reliability(
    llr: NDArray[np.float64],
    quality: NDArray[np.float64],
    is_target: NDArray[np.bool_],
    measures: tuple[str, ...],
    prior: float,
) -> Reliability:
    """Fit the reliability of a modality: the smallest prior-weighted cross entropy of the mixture on trials.

    A small ridge keeps the weights of measures without effect at 0; a constant measure has weight 0.

    Args:
        llr: (N,) scores, calibrated for clean recordings.
        quality: (N, 2, K) measures of both sides.
        is_target: (N,).
        measures: K names.
        prior: prior probability of a target trial.
    """
    from scipy.optimize import minimize

    sides = quality.reshape(-1, quality.shape[-1])
    center, spread = sides.mean(axis=0), sides.std(axis=0)
    spread = np.where(spread > _CONSTANT, spread, np.inf)
    standardized = (quality - center) / spread
    counts = np.where(is_target, is_target.sum(), (~is_target).sum())
    # Of mean 1: the tolerances of the optimizer are absolute.
    weights = np.where(is_target, prior, 1 - prior) / counts * len(counts)
    options = {"maxiter": 1000, "ftol": 1e-12, "gtol": 1e-8 * len(counts)}
    found = minimize(
        cross_entropy,
        np.append(np.zeros(len(measures)), _START),
        (llr, standardized, is_target, weights, prior),
        jac=True,
        method="L-BFGS-B",
        options=options,
    )
    scaled = found.x[:-1] / spread
    return Reliability(measures, scaled, float(found.x[-1] - scaled @ center))


def cross_entropy(
    values: NDArray[np.float64],
    llr: NDArray[np.float64],
    quality: NDArray[np.float64],
    is_target: NDArray[np.bool_],
    weights: NDArray[np.float64],
    prior: float,
) -> tuple[float, NDArray[np.float64]]:
    """The cross entropy of the mixture, with the ridge, and its gradient.

    Args:
        values: (K + 1,) the weights of the standardized measures and the offset.
        llr, quality, is_target, prior: see :func:`fit_reliability`; the measures are standardized.
        weights: (N,) of the trials.
    """
    odds = quality @ values[:-1] + values[-1]
    usable = -np.logaddexp(0, -odds).sum(axis=1)
    unusable = np.log(np.maximum(-np.expm1(usable), _LEAST))
    total = np.logaddexp(usable + llr, unusable)
    logit = total + np.log(prior / (1 - prior))
    signed = np.where(is_target, -logit, logit)
    ridge = _RIDGE * prior * weights.sum()
    value = weights @ np.logaddexp(0, signed) + 0.5 * ridge * values[:-1] @ values[:-1]
    # Derivatives with respect to the total, the logarithm of r, and the log odds of both sides.
    of_total = weights * np.where(is_target, -1, 1) * _logistic(signed)
    of_usable = of_total * (np.exp(usable + llr - total) - np.exp(usable - total))
    of_odds = of_usable[:, np.newaxis] * _logistic(-odds)
    gradient = np.einsum("ns,nsk->k", of_odds, quality) + ridge * values[:-1]
    return float(value), np.append(gradient, of_odds.sum())


def _logistic(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(-np.logaddexp(0, -values))


class Gated(NamedTuple):
    """The gate of a fused system of a run, which has scores of its own.

    Attributes:
        name: of the gate.
        system: whose modes it combines.
        gate: the gate.
    """

    name: str
    system: str
    gate: Gate


def write_gate(folder: Path, gated: Gated) -> None:
    """Write ``gate.csv`` in a folder."""
    rows: list[tuple[str, str, float]] = []
    for mode, expert in gated.gate.experts.items():
        rows += [(f"{mode}x{mode}", "score", expert.scale), (f"{mode}x{mode}", "offset", expert.offset)]
    for letter, (measures, weights, offset) in gated.gate.reliabilities.items():
        rows += [(letter, *pair) for pair in zip((*measures, "offset"), (*weights, offset), strict=True)]
    lines = [f"{gated.system},{part},{term},{weight:.8g}" for part, term, weight in rows]
    write_text(folder / FILE, "\n".join(["system,part,term,weight", *lines]) + "\n")


def write_gate_scores(
    exp: Path, gated: Gated, trial_set: TrialSet, reliabilities: Mapping[str, NDArray]
) -> list[tuple[Path, int]]:
    """Write ``NAME/scores/LIST/AVxAV.asnorm`` for the lists of a data directory from the scores of the fused system.

    Args:
        exp: folder of the systems.
        gated: the gate.
        trial_set: the lists.
        reliabilities: (S,) of the sides, for A and V.

    Returns:
        The files and their numbers of trials.

    Raises:
        DataError: the system lacks scores of a mode, or scores belong to other trials.
    """
    written = []
    for trials in trial_set.lists:
        paths = {m: exp / gated.system / "scores" / trials.name / f"{m}x{m}.asnorm" for m in EXPERTS}
        common = common_trials([read_scores(path) for path in paths.values()])
        found = dict(zip(EXPERTS, common, strict=True))
        places = {mode: places_in(paths[mode], scores, trials.trials) for mode, scores in found.items()}
        order = {mode: np.argsort(place) for mode, place in places.items()}
        rows = np.sort(places["AV"])
        enroll, test = trials.enroll[rows], trials.test[rows]
        usable = {letter: values[enroll] * values[test] for letter, values in reliabilities.items()}
        llr = gated.gate({mode: scores.score[order[mode]] for mode, scores in found.items()}, usable)
        folder = exp / gated.name / "scores" / trials.name
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "AVxAV.asnorm"
        write_scores(path, trials.trials.enroll[rows], trials.trials.test[rows], llr)
        written.append((path, len(llr)))
    return written


def find_gate(exp: Path, name: str) -> Gated | None:
    """The gate of this name; None if the system of this name is no gate.

    Raises:
        DataError: its file does not contain a gate.
    """
    path = exp / name / "scores" / FILE
    if not path.is_file():
        return None
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        parts: dict[str, dict[str, float]] = {}
        for row in rows:
            parts.setdefault(row["part"], {})[row["term"]] = float(row["weight"])
        experts = {
            mode: Expert(parts[f"{mode}x{mode}"]["score"], parts[f"{mode}x{mode}"]["offset"]) for mode in EXPERTS
        }
        reliabilities = {}
        for letter in "AV":
            offset = parts[letter].pop("offset")
            reliabilities[letter] = Reliability(tuple(parts[letter]), np.array(list(parts[letter].values())), offset)
        return Gated(name, rows[0]["system"], Gate(reliabilities, experts))
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise DataError(f"{path}: not the file of a gate ({error!r}): fit it again") from None
