"""Removing recordings that cannot be used from a data directory."""

from collections.abc import Iterator
from pathlib import Path

from avsv.datadir.create import DROPPED
from avsv.datadir.lists import SOURCES, read_keys, read_raw_lines, select_lines, write_lines
from avsv.errors import DataError


def drop_unusable(folder: Path, probed: Path, failed: Path, min_duration: float, max_lost: float) -> dict[str, int]:
    """Remove the lines of recordings that failed or are too short; write ``dropped.txt`` and ``utt2dur``.

    An utterance whose other modality is usable stays. ``dropped.txt`` also lists the removals of earlier calls.

    Args:
        folder: the data directory; only ``wav.scp`` and ``video.scp`` are changed, ``fix_data`` fixes the other lists.
        probed: ``UTTERANCE LIST SECONDS`` lines.
        failed: ``UTTERANCE LIST: REASON`` lines.
        min_duration: shortest usable recording in seconds.
        max_lost: largest share of a list that can be removed.

    Returns:
        The number of lines removed from each list in this and earlier calls.

    Raises:
        DataError: a larger share cannot be used; nothing is changed.
    """
    seconds: dict[str, dict[str, float]] = {name: {} for name in SOURCES}
    dropped: dict[tuple[str, str], str] = {}
    for line in read_raw_lines(probed):
        utterance, name, text = line.split()
        seconds[name][utterance] = float(text)
        if float(text) < min_duration:
            dropped[utterance, name] = f"{float(text):.2f} s: shorter than {min_duration:g} s"
    for line in read_raw_lines(failed):
        utterance, name, reason = line.rstrip("\n").split(" ", 2)
        dropped[utterance, name.rstrip(":")] = reason

    names = [name for name in SOURCES if (folder / name).is_file()]
    present = {name: set(read_keys(folder / name)) for name in names}
    for utterance, name, reason in _read_dropped(folder / DROPPED):
        if name in names and utterance not in present[name]:
            dropped[utterance, name] = reason

    lost = {name: {utterance for utterance, of in dropped if of == name} for name in names}
    for name in names:
        had = len(present[name] | lost[name])
        if len(lost[name]) > max_lost * had:
            examples = "; ".join(f"{key} {dropped[key, name]}" for key in sorted(lost[name])[:3])
            raise DataError(
                f"{folder}/{name}: {len(lost[name])} of {had} cannot be used, more than a share of {max_lost:g}:"
                f" {examples}{'; ...' if len(lost[name]) > 3 else ''}"
            )

    write_lines(folder / DROPPED, (f"{key} {name}: {dropped[key, name]}\n" for key, name in sorted(dropped)))
    durations = {
        key: value
        for name in reversed(SOURCES)  # the duration of the audio takes precedence
        for key, value in seconds[name].items()
        if (key, name) not in dropped
    }
    write_lines(folder / "utt2dur", (f"{key} {durations[key]:.6g}\n" for key in sorted(durations)))
    for name in names:
        if lost[name] & present[name]:
            write_lines(folder / name, select_lines(folder / name, lambda key, gone=lost[name]: key not in gone))
    return {name: len(lost[name]) for name in names}


def _read_dropped(path: Path) -> Iterator[tuple[str, str, str]]:
    """The utterance, list and reason on each line of ``dropped.txt``, if the file exists."""
    for line in read_raw_lines(path) if path.is_file() else ():
        utterance, name, reason = line.rstrip("\n").split(" ", 2)
        yield utterance, name.rstrip(":"), reason
