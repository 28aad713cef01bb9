"""The kinds of corruption, their levels, and one corruption at one level."""

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
    """Read ``conf/sweeps.yaml``: for each kind its levels, in the order of the table.

    Raises:
        DataError: no such file, an unknown kind (names the nearest), levels that make no sense or stand twice.
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
    """Raise DataError for a level that a kind does not have."""
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
    """A level as it stands in tables and file names.

    Example:
        >>> format_level(0.50), format_level(-5), format_level("opus 12")
        ('0.5', '-5', 'opus 12')
    """
    return level if isinstance(level, str) else f"{level:g}"


def _parse_band(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split("-"))
    except ValueError:
        raise ValueError(f"'{text}' is no pass band like 300-3400") from None
    if not 0 <= low < high:
        raise ValueError(f"'{text}' is no pass band: its ends are in the wrong order")
    return low, high


def why_impossible(kind: str, level: Level, noises: Noises | None) -> str | None:
    """Why this machine and these lists cannot make a corruption; None where they can."""
    needed = {"noise": "noise", "music": "music", "babble": "speech"}.get(kind)
    if needed and (noises is None or needed not in noises.files):
        return f"no recordings of the type {needed}"
    if kind == "codec" and find_encoder(parse_codec(level)[0]) is None:
        return f"PyAV has no encoder of {parse_codec(level)[0]}"
    return None


@dataclass(frozen=True)
class Corruption:
    """One kind at one level. What is drawn is drawn by (seed, kind, utterance) and not by the level.

    So the levels of a sweep differ in nothing but the level: an utterance has the same noise at every
    signal-to-noise ratio, and a clip without audio in a tenth of the clips has none in a fifth of them either.

    Args:
        kind: one of :data:`KINDS`.
        level: one that it has.
        seed: of all draws.
        noises: for noise, music and babble.

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
        """Which modalities it changes."""
        return KINDS[self.kind].touches

    def _generator(self, key: str) -> np.random.Generator:
        return generator_for(self.seed, "corruption", self.kind, key)

    def sound(self, waveform: np.ndarray, key: str, sample_rate: int) -> np.ndarray:
        """The waveform (n,) of an utterance as it is heard: (n,) float32."""
        change = _SOUND.get(self.kind)
        return waveform if change is None else change(self, waveform, self._generator(key), sample_rate)

    def picture(self, frames: np.ndarray, key: str) -> np.ndarray:
        """Frames (T, C, H, W) of an utterance as they are seen."""
        change = _PICTURE.get(self.kind)
        return frames if change is None else change(self, frames, self._generator(key))

    def rows(self, rows: np.ndarray, count: int, fps: float, key: str) -> np.ndarray:
        """Which of a clip's ``count`` frames are seen in the place of the frames ``rows``.

        A frame that is dropped shows the last one before it that is not, as a player does, or else the first one after
        it. Video out of step comes later and begins with the clip's end, so that nothing but the timing changes.
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
        """Which of the frames ``rows`` of a clip of ``count`` frames show another person: one stretch of the clip."""
        if self.kind != "wrong_face":
            return np.zeros(len(rows), dtype=bool)
        length = round(self.level * count)
        start = int(self._generator(key).random() * (count - length + 1))
        return (rows >= start) & (rows < start + length)

    def lacks(self, key: str) -> bool:
        """Whether the utterance lacks the modality that the corruption touches: so it is in a share of the clips."""
        return self.kind in ("no_audio", "no_video") and self._generator(key).random() < self.level

    def start(self, key: str, spare: float) -> float:
        """Where in a clip a shorter one begins, in seconds, given how many it is shorter."""
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
    """All (kind, level) of sweeps, in order."""
    return [(kind, level) for kind, levels in sweeps.items() for level in levels]
