"""Frame rates: which source frame is shown in each output frame."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np


def as_rate(fps: float | Fraction) -> Fraction:
    """A frame rate as an exact fraction: 25.0 is 25, 29.97 is 2997/100.

    Example:
        >>> as_rate(29.97), as_rate(Fraction(30000, 1001))
        (Fraction(2997, 100), Fraction(30000, 1001))
    """
    return Fraction(fps).limit_denominator(1001)


def select_frames(num: int, fps_src: float | Fraction, fps_dst: float | Fraction) -> np.ndarray:
    """The source frames of a clip at another frame rate: floor((j + 0.5) * fps_src / fps_dst).

    An output frame shows the source frame at the middle of its time span. The output consists of the frames whose
    middle is inside the clip, but at least one.

    Args:
        num: number of source frames, at least one.
        fps_src: frame rate of the source.
        fps_dst: frame rate of the output.

    Returns:
        (n,) indices into the source frames.

    Raises:
        ValueError: no source frames.

    Example (2 s of video at 25 fps, shown at 6 fps):
        >>> select_frames(50, 25, 6).tolist()
        [2, 6, 10, 14, 18, 22, 27, 31, 35, 39, 43, 47]
        >>> len(select_frames(50, 25, 25))
        50
    """
    if num < 1:
        raise ValueError("there are no frames to select from")
    source, wanted = as_rate(fps_src), as_rate(fps_dst)
    count = max(_middles_before(num / source, wanted), 1)
    # Integers throughout: (2j + 1) * source / (2 * wanted), floored.
    above = source.numerator * wanted.denominator
    below = 2 * source.denominator * wanted.numerator
    indices = (2 * np.arange(count, dtype=np.int64) + 1) * above // below
    return np.minimum(indices, num - 1)


def _middles_before(time: Fraction, fps: Fraction) -> int:
    """The number of output frames whose middle is before ``time``: ceil(time * fps - 1/2)."""
    # In integers, since this is done for every frame and Fraction arithmetic is slow.
    below = 2 * time.denominator * fps.denominator
    return -((below // 2 - 2 * time.numerator * fps.numerator) // below)


def resample(frames: Iterable[tuple[Fraction, Fraction, Any]], fps: Fraction) -> Iterator[tuple[Any, int]]:
    """:func:`select_frames` for a stream of frames with individual times.

    Args:
        frames: (start, end, frame) in seconds from the start of the first frame, in order; a frame is shown until the
            next one starts, the last one until its end.
        fps: frame rate of the output.

    Yields:
        A frame, and the number of consecutive output frames that show it; frames that none shows are left out.

    Example (a frame that is shown for 0.1 s, then one for 0.3 s):
        >>> tenth = Fraction(1, 10)
        >>> list(resample([(0 * tenth, 1 * tenth, "a"), (1 * tenth, 4 * tenth, "b")], Fraction(20)))
        [('a', 2), ('b', 6)]
    """
    made = 0
    shown = None
    for start, end, frame in frames:
        if shown is not None:
            until = _middles_before(start, fps)
            if until > made:
                yield shown[1], until - made
                made = until
        shown = (end, frame)
    if shown is not None:
        until = max(_middles_before(shown[0], fps), 1)
        if until > made:
            yield shown[1], until - made
