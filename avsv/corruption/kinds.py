"""The kinds of corruption and their levels."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avsv.config.strict import check_keys, read_yaml
from avsv.corruption.codec import find_encoder, parse_codec, through_codec
from avsv.corruption.picture import blur, darken, lower_resolution, occlude
from avsv.corruption.sound import Noises, add_noise, add_room, clip_peaks, limit_band
from avsv.corruption.table import KINDS
from avsv.errors import DataError
from avsv.seeding import generator_for

Level = float | str


def read_sweeps(path: str | Path) -> dict[str, tuple[Level, ...]]:
    """Read ``conf/sweeps.yaml``: the levels of each kind, in the order of the table.

    Raises:
        DataError: no such file, an unknown kind (the message names the nearest known one), levels that are out of range
            or occur twice.
    """
    content = read_yaml(path)
    check_keys(content, KINDS, f"{path}: ")
    sweeps = {}
    for name, levels in content.items():
        where = f"{path}: {name}"
        if not isinstance(levels, list) or not levels:
            raise DataError(f"{where}: expected a list of levels like [10, 5, 0], not {levels}")
        for level in levels:
            check_level(name, level, where)
        if len({format_level(level) for level in levels}) < len(levels):
            raise DataError(f"{where}: a level occurs twice")
        sweeps[name] = tuple(levels)
    return sweeps


def check_level(kind: str, level: object, where: str) -> None:
    """Raise DataError for a level that is not valid for a kind."""
    _, _, unit, lowest, highest = KINDS[kind]
    try:
        if kind in ("codec", "band") and not isinstance(level, str):
            raise ValueError(f"{level}: {unit} must be text")
        if kind == "codec":
            parse_codec(level)
        elif kind == "band":
            _parse_band(level)
        elif isinstance(level, bool) or not isinstance(level, int | float) or not lowest <= level <= highest:
            raise ValueError(f"{level}: {unit} must be a number from {lowest:g} to {highest:g}")
    except ValueError as error:
        raise DataError(f"{where}: {error}") from None


def format_level(level: Level) -> str:
    """Format a level for tables and file names.

    Example:
        >>> format_level(0.50), format_level(-5), format_level("opus 12")
        ('0.5', '-5', 'opus 12')
    """
    return level if isinstance(level, str) else f"{level:g}"


def _parse_band(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split("-"))
    except ValueError:
        raise ValueError(f"'{text}' is not a pass band like 300-3400") from None
    if not 0 <= low < high:
        raise ValueError(f"'{text}' is not a pass band: its ends are in the wrong order")
    return low, high


def why_impossible(kind: str, level: Level, noises: Noises | None) -> str | None:
    """Why a corruption is not possible on this machine with these lists; None if it is possible."""
    needed = {"noise": "noise", "music": "music", "babble": "speech"}.get(kind)
    if needed and (noises is None or needed not in noises.files):
        return f"no recordings of type {needed}"
    if kind == "codec" and find_encoder(parse_codec(level)[0]) is None:
        return f"PyAV has no encoder for {parse_codec(level)[0]}"
    return None


@dataclass(frozen=True)
class Corruption:
    """A corruption of one kind at one level. Random draws depend on (seed, kind, utterance), but not on the level.

    The levels of a sweep therefore differ only in the level: an utterance has the same noise at every signal-to-noise
    ratio, and a clip that has no audio when a tenth of the clips have none also has none when a fifth have none.

    Args:
        kind: one of :data:`KINDS`.
        level: a valid level of the kind.
        seed: seed of all draws.
        noises: recordings for noise, music and babble.

    Example:
        >>> corruption = Corruption("clipping", 0.5)
        >>> corruption.sound(np.array([0.25, -0.5, 0.75, 1.0], np.float32), "id1", 16000).tolist()
        [0.25, -0.5, 0.5, 0.5]
        >>> Corruption("out_of_step", 0.08).rows(np.array([0, 1, 2]), 5, 25.0, "id1").tolist()
        [3, 4, 0]
    """

    kind: str
    level: Level
    seed: int = 0
    noises: Noises | None = None

    def __post_init__(self) -> None:
        check_level(self.kind, self.level, self.kind)

    @property
    def touches(self) -> str:
        """The modalities that the corruption changes."""
        return KINDS[self.kind].touches

    def _generator(self, key: str) -> np.random.Generator:
        return generator_for(self.seed, "corruption", self.kind, key)

    def sound(self, waveform: np.ndarray, key: str, sample_rate: int) -> np.ndarray:
        """Corrupt the waveform (n,) of an utterance: (n,) float32."""
        change = _SOUND.get(self.kind)
        return waveform if change is None else change(self, waveform, self._generator(key), sample_rate)

    def picture(self, frames: np.ndarray, key: str) -> np.ndarray:
        """Corrupt frames (T, C, H, W) of an utterance."""
        change = _PICTURE.get(self.kind)
        return frames if change is None else change(self, frames, self._generator(key))

    def rows(self, rows: np.ndarray, count: int, fps: float, key: str) -> np.ndarray:
        """Which of the ``count`` frames of a clip are shown instead of the frames ``rows``.

        A dropped frame is replaced by the last frame before it that is not dropped, as in a player, or otherwise by the
        first one after it. Video out of step is delayed and begins with the end of the clip, so that only the timing
        changes.
        """
        if self.kind == "out_of_step":
            return (rows - round(self.level * fps)) % count
        if self.kind != "frame_drop":
            return rows
        draws = self._generator(key).random(count)
        kept = np.flatnonzero(draws >= self.level)
        if not len(kept):
            kept = np.array([int(draws.argmax())])
        return kept[np.maximum(np.searchsorted(kept, rows, side="right") - 1, 0)]

    def strangers(self, rows: np.ndarray, count: int, key: str) -> np.ndarray:
        """Which of the frames ``rows`` of a clip of ``count`` frames show another speaker: a contiguous part of it."""
        if self.kind != "wrong_face":
            return np.zeros(len(rows), dtype=bool)
        length = round(self.level * count)
        start = int(self._generator(key).random() * (count - length + 1))
        return (rows >= start) & (rows < start + length)

    def lacks(self, key: str) -> bool:
        """Whether the corruption, which affects a share of the clips, removes its modality from the utterance."""
        return self.kind in ("no_audio", "no_video") and self._generator(key).random() < self.level

    def seconds(self, key: str, letter: str) -> float:
        """The longest part of a modality of an utterance that is used, in seconds."""
        return float(self.level) if self.kind == "length" else math.inf

    def start(self, key: str, spare: float) -> float:
        """The start of a shorter clip within a clip in seconds, given the difference of their lengths."""
        return float(self._generator(key).random()) * spare if self.kind == "length" else 0.0


def _noise(kind: str) -> Callable:
    def add(corruption: Corruption, waveform: np.ndarray, rng: np.random.Generator, _rate: int) -> np.ndarray:
        return add_noise(waveform, corruption.noises.window(kind, len(waveform), rng), corruption.level)

    return add


_SOUND: Mapping[str, Callable[[Corruption, np.ndarray, np.random.Generator, int], np.ndarray]] = {
    "noise": _noise("noise"),
    "music": _noise("music"),
    "babble": lambda c, x, rng, _: add_noise(x, c.noises.babble(len(x), rng), c.level),
    "reverb": lambda c, x, rng, rate: add_room(x, c.level, rng, rate),
    "clipping": lambda c, x, *_: clip_peaks(x, c.level),
    "band": lambda c, x, _, rate: limit_band(x, *_parse_band(c.level), rate),
    "codec": lambda c, x, _, rate: through_codec(x, *parse_codec(c.level), rate),
}

_PICTURE: Mapping[str, Callable[[Corruption, np.ndarray, np.random.Generator], np.ndarray]] = {
    "blur": lambda c, frames, _: blur(frames, c.level),
    "occlusion": lambda c, frames, rng: occlude(frames, c.level, rng),
    "resolution": lambda c, frames, _: lower_resolution(frames, round(c.level)),
    "darkness": lambda c, frames, rng: darken(frames, c.level, rng),
}


def conditions(sweeps: Mapping[str, Sequence[Level]]) -> list[tuple[str, Level]]:
    """All pairs (kind, level) of sweeps, in order."""
    return [(kind, level) for kind, levels in sweeps.items() for level in levels]
