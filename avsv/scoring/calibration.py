"""Calibration: from scores and quality measures of the recordings to log-likelihood ratios."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from avsv.errors import DataError
from avsv.scoring.metrics import check_trials

_STEPS = 100  # of Newton's method, which needs about ten
_TOLERANCE = 1e-12  # of the gradient
RIDGE = 1e-5  # weight of half the squared weight of a score
# Penalty on half the squared weight of a quality measure, times the prior: 100 target trials are as strong as the prior
# assumption that the weight is normal with variance 1. Few development identities cannot determine the weight.
_QUALITY_RIDGE = 0.01
_CONSTANT = 1e-6  # a column with a smaller relative deviation contains only rounding errors


class LinearCalibration(NamedTuple):
    """llr = scale * score + sum_k weights[k] * quality[k] + offset, in natural logarithms."""

    scale: float
    offset: float
    weights: tuple[float, ...] = ()

    def __call__(self, scores: ArrayLike, quality: ArrayLike = ()) -> NDArray[np.float64]:
        """Log-likelihood ratios of scores, in the same shape, given (K, N) quality measures as in the fit."""
        llr = self.scale * np.asarray(scores, dtype=np.float64) + self.offset
        for weight, column in zip(self.weights, quality, strict=True):
            llr = llr + weight * np.asarray(column, dtype=np.float64)
        return llr


def fit_calibration(
    scores: ArrayLike, is_target: ArrayLike, prior: float = 0.01, quality: ArrayLike = ()
) -> LinearCalibration:
    """Fit scale, offset and weights of quality measures by logistic regression on development trials.

    For trials without any error the scale would become infinite, so its square (for scores of variance 1) is added with
    a small weight, too small to matter if there are errors. The weights of quality measures have a larger penalty.

    Source: Brümmer and Doddington 2013, "Likelihood-ratio calibration using prior-weighted proper scoring rules",
    arXiv:1307.7981; quality measures: Thienpondt et al. 2021, "The IDLab VoxSRC-20 submission", arXiv:2010.11255.

    Args:
        scores: (N,) scores.
        is_target: (N,) booleans.
        prior: prior probability of a target trial; the fit is best for decisions near it.
        quality: (K, N) quality measures of the trials; a constant one gets weight 0.

    Returns:
        The map; its scale is 0 or less if target trials do not score higher than others, in which case it is useless.

    Raises:
        ValueError: as :func:`avsv.scoring.metrics.eer`.
        DataError: all scores are equal.

    Example (the exact solution for normal scores of variance 1 with means +-1 is scale 2, offset 0):
        >>> rng = np.random.default_rng(0)
        >>> scores = np.r_[rng.normal(1, 1, 50_000), rng.normal(-1, 1, 50_000)]
        >>> scale, offset, _ = fit_calibration(scores, np.arange(100_000) < 50_000, prior=0.5)
        >>> round(scale, 1), abs(round(offset, 1))
        (2.0, 0.0)
    """
    scores, is_target = check_trials(scores, is_target)
    if scores.std() == 0:
        raise DataError(f"all {len(scores)} scores are {scores[0]:g}: there is nothing to calibrate")
    columns = [scores, *(check_trials(column, is_target)[0] for column in quality)]
    ridge = [RIDGE] + [_QUALITY_RIDGE * prior] * (len(columns) - 1)
    (scale, *weights), offset = fit_logistic(columns, is_target, prior, ridge)
    return LinearCalibration(scale, offset, tuple(weights))


def fit_logistic(
    columns: Sequence[NDArray[np.float64]], is_target: NDArray[np.bool_], prior: float, ridge: Sequence[float]
) -> tuple[list[float], float]:
    """Fit the weights (K) and the offset of the linear map from columns to log-likelihood ratios.

    Minimizes the cross entropy of the posterior at ``prior``, with the two classes weighted as prior : 1 - prior
    independently of their numbers, plus half the squared weights, for columns of variance 1, times ``ridge``.

    Args:
        columns: K arrays (N,) of finite numbers; a constant one gets weight 0.
        is_target: (N,) booleans, with both values.
        prior: prior probability of a target trial.
        ridge: (K,) numbers larger than 0.

    Example:
        >>> fit_logistic([np.array([1.0, 0.0, 0.0]), np.ones(3)], np.array([True, False, False]), 0.5, [0.2, 0.2])[0][1]
        0.0
    """
    from sklearn.linear_model import LogisticRegression

    centers = np.array([column.mean() for column in columns])
    spreads = np.array([column.std() for column in columns])
    # scikit-learn has a single penalty: that of each column is applied by scaling it; constant columns are zeroed.
    units = np.where(spreads > _CONSTANT * np.abs(centers), spreads * np.sqrt(ridge), np.inf)
    inputs = (np.stack(columns, axis=1) - centers) / units
    counts = np.where(is_target, is_target.sum(), (~is_target).sum())
    weights = np.where(is_target, prior, 1 - prior) / counts
    model = LogisticRegression(C=1.0, solver="newton-cholesky", tol=_TOLERANCE, max_iter=_STEPS)
    model.fit(inputs, is_target, sample_weight=weights)
    scales = model.coef_[0] / units
    offset = model.intercept_[0] - np.log(prior / (1 - prior)) - scales @ centers
    return scales.tolist(), float(offset)
