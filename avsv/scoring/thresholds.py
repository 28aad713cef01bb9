"""Thresholds on log-likelihood ratios for given false-accept rates: SYSTEM/scores/thresholds.csv."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from avsv.errors import DataError
from avsv.scoring.metrics import det_curve

WANTED = (10.0, 1.0, 0.1)
"""False-accept rates in percent."""

MIN_ACCEPTED = 30
"""False accepts that a threshold must be based on.

With 30 independent errors the true rate is within 30 % of the measured rate with a probability of 90 %. Source:
Doddington et al. 2000, "The NIST speaker recognition evaluation", section 3.1 (the rule of 30). Trials that share
utterances are not independent, so this is a minimum.
"""


class Threshold(NamedTuple):
    """One line of thresholds.csv; rates in percent.

    Attributes:
        mode: evaluation mode.
        wanted: requested false-accept rate.
        threshold: trials with a larger log-likelihood ratio are accepted; None if there are too few non-target trials.
        false_accept, false_reject: rates of the development trials at the threshold.
        n_target, n_nontarget: development trials.
    """

    mode: str
    wanted: float
    threshold: float | None
    false_accept: float | None
    false_reject: float | None
    n_target: int
    n_nontarget: int


def find_thresholds(
    mode: str, llr: NDArray, is_target: NDArray[np.bool_], rates: Sequence[float] = WANTED
) -> list[Threshold]:
    """The lowest thresholds at which at most the requested rates of non-target trials are accepted.

    Args:
        mode: evaluation mode.
        llr: (N,) log-likelihood ratios of development trials, rounded as in score files.
        is_target: (N,) booleans, with both values.
        rates: wanted false-accept rates in percent.

    Example:
        >>> llr, is_target = np.arange(400.0), np.arange(400) >= 300
        >>> [(row.wanted, row.threshold) for row in find_thresholds("AxA", llr, is_target)]
        [(10.0, 269.0), (1.0, None), (0.1, None)]
    """
    curve = det_curve(llr, is_target)
    counts = int(is_target.sum()), int((~is_target).sum())
    rows = []
    for wanted in rates:
        if round(wanted / 100 * counts[1], 6) < MIN_ACCEPTED:
            rows.append(Threshold(mode, wanted, None, None, None, *counts))
            continue
        # Rates are quotients of counts: 1e-12 allows for rounding errors, but not for one more trial.
        point = int(np.argmax(curve.p_fa <= wanted / 100 + 1e-12))
        errors = 100 * float(curve.p_fa[point]), 100 * float(curve.p_miss[point])
        rows.append(Threshold(mode, wanted, float(curve.thresholds[point]), *errors, *counts))
    return rows


def thresholds_csv(rows: Sequence[Threshold]) -> str:
    """The text of thresholds.csv, with nine digits, from which every threshold is restored exactly."""
    lines = [",".join(Threshold._fields)]
    for row in rows:
        numbers = ["" if x is None else f"{x:.9g}" for x in row[1:5]]
        lines.append(",".join([row.mode, *numbers, *map(str, row[5:])]))
    return "\n".join(lines) + "\n"


def read_thresholds(path: Path) -> list[Threshold]:
    """Read thresholds.csv.

    Raises:
        DataError: no such file, or it is not such a table.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            records = list(csv.DictReader(file))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file: calibrate again") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not a text file (UTF-8): calibrate again") from None
    try:
        return [
            Threshold(
                record["mode"],
                float(record["wanted"]),
                *(float(record[name]) if record[name] else None for name in Threshold._fields[2:5]),
                *(int(record[name]) for name in Threshold._fields[5:]),
            )
            for record in records
        ]
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path}: not a table of thresholds: {error}: calibrate again") from error
