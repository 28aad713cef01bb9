"""Linear calibration: from scores to log-likelihood ratios."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from avsv.errors import DataError
from avsv.scoring.metrics import check_trials

_STEPS = 100
_RIDGE = 1e-5  # weight of half the squared scale


class LinearCalibration(NamedTuple):
    """llr = scale * score + offset, in natural logarithms."""

    scale: float
    offset: float

    def __call__(self, scores: ArrayLike) -> NDArray[np.float64]:
        """Log-likelihood ratios of scores, of the same shape."""
        return self.scale * np.asarray(scores, dtype=np.float64) + self.offset


def fit_calibration(scores: ArrayLike, is_target: ArrayLike, prior: float = 0.01) -> LinearCalibration:
    """Fit scale and offset by logistic regression on development trials.

    Minimises the cross entropy of the posterior at ``prior``, with the two classes weighted as prior : 1 - prior
    whatever their numbers. Trials without any error would drive the scale to infinity, so its square (for scores of
    variance 1) is added with a small weight: too small to matter where there are errors.

    Source: Brümmer and Doddington 2013, "Likelihood-ratio calibration using prior-weighted proper scoring rules",
    arXiv:1307.7981.

    Args:
        scores: (N,) scores.
        is_target: (N,) booleans.
        prior: of a target trial; the fit is best for decisions near it.

    Returns:
        The map; its scale is 0 or less where target trials do not score higher than others, and then it is of no use.

    Raises:
        ValueError: as :func:`avsv.scoring.metrics.eer`.
        DataError: all scores are equal.

    Example (the exact answer for normal scores of variance 1 with means +-1 is scale 2, offset 0):
        >>> rng = np.random.default_rng(0)
        >>> scores = np.r_[rng.normal(1, 1, 50_000), rng.normal(-1, 1, 50_000)]
        >>> scale, offset = fit_calibration(scores, np.arange(100_000) < 50_000, prior=0.5)
        >>> round(scale, 1), abs(round(offset, 1))
        (2.0, 0.0)
    """
    from scipy.special import expit

    scores, is_target = check_trials(scores, is_target)
    centre, spread = scores.mean(), scores.std()
    if spread == 0:
        raise DataError(f"all {len(scores)} scores are {scores[0]:g}: there is nothing to calibrate")
    inputs = np.stack([(scores - centre) / spread, np.ones_like(scores)])
    counts = np.where(is_target, is_target.sum(), (~is_target).sum())
    weights = np.where(is_target, prior, 1 - prior) / counts
    ridge = np.array([_RIDGE, 0.0])
    log_odds = np.log(prior / (1 - prior))

    def cost(parameters):
        logits = parameters @ inputs + log_odds
        return weights @ (np.logaddexp(0, logits) - is_target * logits) + ridge @ parameters**2 / 2

    parameters = np.zeros(2)
    for _ in range(_STEPS):
        posterior = expit(parameters @ inputs + log_odds)
        gradient = inputs @ (weights * (posterior - is_target)) + ridge * parameters
        hessian = (inputs * (weights * posterior * (1 - posterior))) @ inputs.T + np.diag(ridge)
        step = np.linalg.solve(hessian, gradient)
        before = cost(parameters)
        # Newton's method from afar may step too far; the cost is convex, so some part of the step lowers it.
        while cost(parameters - step) > before and np.abs(step).max() > 1e-12:
            step /= 2
        parameters = parameters - step
        if np.abs(step).max() < 1e-10:
            break
    scale = parameters[0] / spread
    return LinearCalibration(float(scale), float(parameters[1] - scale * centre))
