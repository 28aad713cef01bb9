"""From scores to decisions: the threshold for a wanted false-accept rate."""

from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from avsv.errors import DataError
from avsv.scoring.thresholds import MIN_ACCEPTED, find_thresholds


class Operating(NamedTuple):
    """The operating point of a mode.

    Attributes:
        threshold: trials with a larger log-likelihood ratio are accepted.
        measured: whether enough non-target development trials are accepted there to measure the rate; if not, the
            threshold is that of a normal distribution with their mean and standard deviation.
        nontarget: how many non-target development trials there were.
    """

    threshold: float
    measured: bool
    nontarget: int


def decimals(value: float, count: int = 3) -> str:
    """A number as text with this number of decimals, without the sign of a negative zero.

    Example:
        >>> decimals(-0.0004), decimals(-1.2345, 2)
        ('0.000', '-1.23')
    """
    return f"{round(value, count) + 0.0:.{count}f}"


def named_order(mode: str, orders: int) -> str:
    """A mode as outputs show it: they say so if its scores are means over both orders.

    Example:
        >>> named_order("AVxA", 1), named_order("AVxA", 2)
        ('AVxA', 'AVxA, mean of both orders')
    """
    return mode if orders == 1 else f"{mode}, mean of both orders"


def check_far(far: float) -> None:
    """Raise DataError for a false-accept rate that is not between 0 and 1."""
    if not 0 < far < 1:
        raise DataError(f"--far {far:g}: a false-accept rate is between 0 and 1, as in 0.01")


def operating_point(target: NDArray, nontarget: NDArray, far: float) -> Operating:
    """Find the threshold for a false-accept rate.

    Args:
        target: (N,) log-likelihood ratios of target development trials.
        nontarget: (M,) those of the others.
        far: wanted rate, between 0 and 1.

    Raises:
        DataError: a rate outside that range.

    Example:
        >>> llr = np.arange(1000.0)
        >>> operating_point(llr[900:], llr[:900], 0.1)
        Operating(threshold=809.0, measured=True, nontarget=900)
        >>> operating_point(llr[900:], llr[:900], 0.01).measured
        False
    """
    check_far(far)
    if far * len(nontarget) >= MIN_ACCEPTED:
        llr = np.concatenate([target, nontarget])
        (found,) = find_thresholds("", llr, np.arange(len(llr)) < len(target), [100 * far])
        if found.threshold is not None:
            return Operating(found.threshold, True, len(nontarget))
    mean, deviation = float(np.mean(nontarget)), max(float(np.std(nontarget)), 1e-9)
    # By symmetry the quantile at 1 - far, which for the smallest rates is rounded to 1.
    return Operating(mean - deviation * NormalDist().inv_cdf(far), False, len(nontarget))
