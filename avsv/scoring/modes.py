"""Evaluation modes: the modalities that each side of a trial uses."""

from avsv.errors import DataError

MODES = ("AVxAV", "AxA", "VxV", "AVxA", "AVxV", "AxV")
"""All modes, widest first: the modalities of the enrollment side, "x", and those of the test side."""


def parse_mode(mode: str) -> tuple[str, str]:
    """The modalities of both sides of a mode.

    Raises:
        DataError: not one of :data:`MODES`.

    Example:
        >>> parse_mode("AVxA")
        ('AV', 'A')
    """
    if mode not in MODES:
        raise DataError(f"mode '{mode}' is not one of {' '.join(MODES)}")
    enroll, test = mode.split("x")
    return enroll, test


def assignments(mode: str) -> list[tuple[str, str]]:
    """The (enrollment, test) modalities that are scored and averaged for a mode: both orders if the sides differ.

    Example:
        >>> assignments("AxA"), assignments("AVxA")
        ([('A', 'A')], [('AV', 'A'), ('A', 'AV')])
    """
    enroll, test = parse_mode(mode)
    return [(enroll, test)] if enroll == test else [(enroll, test), (test, enroll)]


def one_order(mode: str) -> str:
    """The name under which trials of a mode are calibrated of which only one order can be scored.

    The mean of two scores varies less than one of them, so both need their own calibration.

    Example:
        >>> one_order("AVxA")
        'AVxA/1'
    """
    return f"{mode}/1"


def calibration_name(mode: str, orders: int) -> str:
    """The name of the calibration of trials of a mode that are scored in this number of orders.

    Example:
        >>> calibration_name("AxA", 1), calibration_name("AVxA", 2), calibration_name("AVxA", 1)
        ('AxA', 'AVxA', 'AVxA/1')
    """
    return mode if orders == len(assignments(mode)) else one_order(mode)


def available_modes(modalities: set[str]) -> list[str]:
    """The modes available to a system with embeddings of these modalities, widest first.

    Example:
        >>> available_modes({"A"}), available_modes({"AV", "A"})
        (['AxA'], ['AVxAV', 'AxA', 'AVxA'])
    """
    return [mode for mode in MODES if set(parse_mode(mode)) <= modalities]


def joint_mode(modes: list[str]) -> str:
    """The mode of an ensemble: each side uses the modalities that any member uses there.

    Example:
        >>> joint_mode(["AxA", "VxV"])
        'AVxAV'
    """
    sides = zip(*(parse_mode(mode) for mode in modes), strict=True)
    enroll, test = ("".join(m for m in "AV" if any(m in part for part in side)) for side in sides)
    # In the name of a mode, the wider side comes first.
    return f"{enroll}x{test}" if f"{enroll}x{test}" in MODES else f"{test}x{enroll}"
