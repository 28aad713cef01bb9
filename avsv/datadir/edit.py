"""Making data directories from others: mended, combined, selected, renamed, at another speed."""

import filecmp
import heapq
import shlex
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import chain, islice, pairwise
from pathlib import Path

from avsv.datadir.lists import (
    DERIVED,
    PARTIAL,
    SOURCES,
    group_by_speaker,
    increases,
    key_of,
    need_data_directory,
    read_keys,
    read_lines,
    read_pairs,
    read_raw_chunks,
    read_raw_lines,
    read_utt2spk,
    select_lines,
    speaker_lists,
    trial_lists,
    utterance_lists,
    write_lines,
    write_spk2utt,
)
from avsv.errors import DataError
from avsv.io.atomic import temporary_path

FACES_CONF = "faces.conf"
# Formats that every sox reads; ffmpeg decodes all others for it.
SOX_SUFFIXES = (".wav", ".flac", ".sph", ".au", ".aiff")


def note(message: str) -> None:
    """Tell the user what was left out."""
    print(message, file=sys.stderr)


def need_new_folder(target: Path, sources: Iterable[Path]) -> None:
    """Make the folder of a new data directory, without lists of an earlier one; DataError where it is a source."""
    for source in sources:
        if target.resolve() == source.resolve():
            raise DataError(f"{target}: source and destination are the same")
    target.mkdir(parents=True, exist_ok=True)
    stale = [target / name for name in (*utterance_lists(target), *speaker_lists(target), "spk2utt", FACES_CONF)]
    for path in [*stale, *trial_lists(target), *target.glob(".*.done")]:
        path.unlink(missing_ok=True)


def write_filled(path: Path, lines: Iterable[str]) -> None:
    """Write a list; one that would be empty is left out, as if nobody had known anything to put into it."""
    write_lines(path, lines)
    if path.stat().st_size == 0:
        path.unlink()


# ---------------------------------------------------------------------------------------------------------- mending


def fix_data(folder: Path, utterance_extra: Iterable[str] = (), speaker_extra: Iterable[str] = ()) -> tuple[int, int]:
    """Sort all lists, and keep the utterances that are complete; what changes is saved in ``FOLDER/.backup`` before.

    An utterance stays when it has a speaker, at least one of audio and video, a positive duration (where there is
    ``utt2dur``) and a line in every other list that cannot lack one. Trials of utterances that are not there go too.

    Args:
        folder: the data directory.
        utterance_extra, speaker_extra: names of further lists to filter by utterance, by speaker.

    Returns:
        How many utterances were kept, and how many there were.

    Raises:
        DataError: nothing would be left.
    """
    need_data_directory(folder)
    return _Fixer(folder, utterance_extra, speaker_extra).run()


class _Fixer:
    """Mends the lists of one data directory; see :func:`fix_data`."""

    def __init__(self, folder: Path, utterance_extra: Iterable[str], speaker_extra: Iterable[str]) -> None:
        self.folder = folder
        self.saved: set[str] = set()
        self.utterance_lists = self._present(utterance_lists(folder), utterance_extra)
        self.speaker_lists = self._present(speaker_lists(folder), speaker_extra)

    def _present(self, found: list[str], extra: Iterable[str]) -> list[str]:
        return [*found, *(name for name in extra if name not in found and (self.folder / name).is_file())]

    def run(self) -> tuple[int, int]:
        folder = self.folder
        for name in [*self.utterance_lists, *self.speaker_lists]:
            self._sort(name, 2 if name == "utt2spk" else None)
        speaker_of = dict(read_pairs(folder / "utt2spk"))
        keep = self._complete(set(speaker_of))
        if not keep:
            raise DataError(f"{folder}: none of {len(speaker_of)} utterances is in all lists that it has to be in")

        for name in self.utterance_lists:
            allowed = keep
            if name in DERIVED and (folder / DERIVED[name]).is_file():
                allowed = keep.intersection(read_keys(folder / DERIVED[name]))
            self._filter(name, allowed)
        kept = sorted(keep)
        groups = group_by_speaker(kept, [speaker_of[key] for key in kept])
        for name in self.speaker_lists:
            self._filter(name, groups)
        self._replace("spk2utt", (f"{speaker} {' '.join(groups[speaker])}\n" for speaker in groups))
        for path in trial_lists(folder):
            lines = [line for line in read_raw_lines(path) if line.strip()]
            left = [line for line in lines if keep.issuperset(line.split()[:2])]
            if len(left) < len(lines):
                note(f"{path}: {len(lines) - len(left)} of {len(lines)} trials removed: their utterances are not there")
                self._replace(f"trials/{path.name}", left)
        return len(keep), len(speaker_of)

    def _complete(self, keep: set[str]) -> set[str]:
        """Those of the utterances that are in every list they have to be in."""
        sources = [self.folder / name for name in SOURCES if name in self.utterance_lists]
        if sources:
            keep = keep.intersection(chain.from_iterable(map(read_keys, sources)))
        for name in self.utterance_lists:
            path = self.folder / name
            if name == "utt2dur":
                keep.intersection_update(key for key, value in read_pairs(path) if _is_positive(value))
            elif name.startswith("utt2") and name not in (*DERIVED, *PARTIAL, "utt2spk"):
                keep.intersection_update(read_keys(path))
        return keep

    def _sort(self, name: str, fields: int | None) -> None:
        """Sort a list by its key; leave out repeated, blank and incomplete lines, saying so."""
        path = self.folder / name
        if self._is_sorted(path, fields):
            return
        lines: dict[str, str] = {}
        dropped: list[str] = []
        for number, line in enumerate(read_raw_lines(path), 1):
            parts = line.split(None, 1)
            if not parts:
                continue
            if len(parts) == 1 or (fields and len(line.split()) != fields):
                dropped.append(f"line {number}, '{line.strip()}', has not the right number of fields")
                continue
            clean = f"{parts[0]} {parts[1].rstrip()}\n"
            if lines.setdefault(parts[0], clean) != clean:
                dropped.append(f"line {number}: '{parts[0]}' was there with another value")
        if dropped:
            more = "; ..." if len(dropped) > 3 else ""
            note(f"{path}: {len(dropped)} lines left out: {'; '.join(dropped[:3])}{more}")
        self._replace(name, (lines[key] for key in sorted(lines)))

    @staticmethod
    def _is_sorted(path: Path, fields: int | None) -> bool:
        """Whether a list is as it should be: sorted, a blank after the key, a newline at the end."""
        last = ""
        for lines in read_raw_chunks(path):
            rows = [line.split(None, fields or 1) for line in lines]
            if set(map(len, rows)) != {2}:
                return False
            keys = [row[0] for row in rows]
            if not increases(keys, last) or lines != [f"{key} {value.rstrip()}\n" for key, value in rows]:
                return False
            last = keys[-1]
        return _ends_in_newline(path)

    def _filter(self, name: str, allowed: Collection[str]) -> None:
        """Keep the lines with these keys; a list that already has no others is not touched."""
        path = self.folder / name
        if not all(map(allowed.__contains__, read_keys(path))):
            self._replace(name, select_lines(path, allowed.__contains__))

    def _replace(self, name: str, lines: Iterable[str]) -> None:
        """Write a list, saving the one that was there at first; a list that does not change keeps its time."""
        path = self.folder / name
        new = temporary_path(path)
        write_lines(new, lines)
        if path.is_file() and filecmp.cmp(path, new, shallow=False):
            new.unlink()
            return
        if path.is_file() and name not in self.saved:
            backup = self.folder / ".backup" / name
            backup.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, backup)
            self.saved.add(name)
        new.replace(path)
        if path.stat().st_size == 0:
            note(f"{path}: removed, none of its lines is left")
            path.unlink()


def _is_positive(text: str) -> bool:
    try:
        return 0 < float(text) < float("inf")
    except ValueError:
        return False


def _ends_in_newline(path: Path) -> bool:
    with path.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - 1))
        return stream.read() == b"\n"


# ------------------------------------------------------------------------------------------------------- combining


def combine_data(target: Path, sources: list[Path]) -> int:
    """Combine data directories; returns the number of utterances.

    Lists that may lack lines are combined from those that have them; others must be in all sources, and are left out
    otherwise. Trials are not combined.

    Raises:
        DataError: an utterance, or a speaker's gender or age, that differs between sources; face crops of different
            sizes.
    """
    for source in sources:
        need_data_directory(source)
    need_new_folder(target, sources)
    _combine_faces_conf(target, sources)
    per_utterance = {name for source in sources for name in utterance_lists(source)}
    per_speaker = {name for source in sources for name in speaker_lists(source)}
    for name in sorted(per_utterance | per_speaker):
        having = [source for source in sources if (source / name).is_file()]
        if len(having) < len(sources) and name not in (*SOURCES, *DERIVED, *PARTIAL):
            note(f"{target}: no {name}: not all sources have it")
            continue
        if name == "utt2uniq":
            # Where a source has none, its utterances stand for themselves.
            write_lines(target / name, _merge(name, [_uniq_lines(source) for source in sources]))
        else:
            write_lines(target / name, _merge(name, [read_lines(source / name) for source in having]))
    utterances, speakers = read_utt2spk(target)
    write_spk2utt(target, group_by_speaker(utterances, speakers))
    return len(utterances)


def _uniq_lines(source: Path) -> Iterator[str]:
    if (source / "utt2uniq").is_file():
        return read_lines(source / "utt2uniq")
    return (f"{key} {key}\n" for key in read_keys(source / "utt2spk"))


def _merge(name: str, lists: list[Iterator[str]]) -> Iterator[str]:
    """Merge sorted lists; a line that several have is written once."""
    # A blank sorts before all that a key may hold, so that whole lines sort like their keys.
    merged = heapq.merge(*lists)
    last = ""
    while chunk := list(islice(merged, 10_000)):
        keys = list(map(key_of, chunk))
        if not increases(keys, last and key_of(last)):
            chunk = [line for line, before in zip(chunk, [last, *chunk], strict=False) if line != before]
            for before, line in pairwise([last, *chunk] if last else chunk):
                if key_of(before) == key_of(line) and before != line:
                    key, one, other = key_of(line), before.strip(), line.strip()
                    raise DataError(f"{name}: '{key}' is '{one}' in one source and '{other}' in another")
        if chunk:
            last = chunk[-1]
            yield from chunk


def _combine_faces_conf(target: Path, sources: list[Path]) -> None:
    having = [source / FACES_CONF for source in sources if (source / FACES_CONF).is_file()]
    for path in having[1:]:
        if not filecmp.cmp(having[0], path, shallow=False):
            raise DataError(f"{having[0]} and {path} differ: face crops of one kind only can be combined")
    if having:
        shutil.copy(having[0], target / FACES_CONF)


# -------------------------------------------------------------------------------------------- selecting and renaming


def subset_data(source: Path, target: Path, keep: set[str]) -> int:
    """Copy the lines of some utterances, their speakers, and the trials between them; returns how many utterances.

    Raises:
        DataError: none of the utterances is in ``utt2spk``.
    """
    utterances, speakers = read_utt2spk(source)
    pairs = [(u, s) for u, s in zip(utterances, speakers, strict=True) if u in keep]
    if not pairs:
        raise DataError(f"{source}: none of the utterances asked for is in utt2spk")
    need_new_folder(target, [source])
    groups = group_by_speaker(*zip(*pairs, strict=True))
    for name in utterance_lists(source):
        write_filled(target / name, select_lines(source / name, keep.__contains__))
    for name in speaker_lists(source):
        write_filled(target / name, select_lines(source / name, groups.__contains__))
    write_spk2utt(target, groups)
    _copy_faces_conf(source, target)
    _copy_trials(source, target, lambda key: key if key in keep else None)
    return len(pairs)


def _copy_faces_conf(source: Path, target: Path) -> None:
    if (source / FACES_CONF).is_file() and (target / "faces.scp").is_file():
        shutil.copy(source / FACES_CONF, target / FACES_CONF)


def _copy_trials(source: Path, target: Path, rename: Callable[[str], str | None]) -> None:
    """Copy the trials between utterances that ``rename`` gives a name."""
    for path in trial_lists(source):
        rows = []
        for number, line in enumerate(read_raw_lines(path), 1):
            fields = line.split()
            if len(fields) != 3:
                raise DataError(f"{path}:{number}: {len(fields)} fields, expected 3: ENROLL TEST target|nontarget")
            enroll, test = rename(fields[0]), rename(fields[1])
            if enroll is not None and test is not None:
                rows.append(f"{enroll} {test} {fields[2]}\n")
        if rows:
            (target / "trials").mkdir(exist_ok=True)
            write_lines(target / "trials" / path.name, rows)
        else:
            note(f"{target}: no trials/{path.name}: none of its trials is between utterances that are there")


def spread(items: list[str], count: int) -> list[str]:
    """``count`` of the items, evenly spaced.

    >>> spread(list("abcdefgh"), 3)
    ['a', 'c', 'f']
    """
    return [items[i * len(items) // count] for i in range(min(count, len(items)))]


def choose(source: Path, mode: str, count: int) -> set[str]:
    """Choose utterances of a data directory, always the same ones.

    Args:
        source: the data directory.
        mode: ``spread`` evenly over the list, ``first``, ``last``, ``shortest`` (by utt2dur), ``speakers`` (evenly
            spaced whole speakers until there are at least ``count`` utterances), ``per-spk`` (``count`` of each).
        count: how many.

    Raises:
        DataError: fewer utterances than that.
    """
    utterances, speakers = read_utt2spk(source)
    if mode == "per-spk":
        groups = group_by_speaker(utterances, speakers)
        return set(chain.from_iterable(spread(group, count) for group in groups.values()))
    if count > len(utterances):
        raise DataError(f"{source}: {count} utterances wanted, there are {len(utterances)}")
    if mode == "first":
        return set(utterances[:count])
    if mode == "last":
        return set(utterances[-count:])
    if mode == "shortest":
        durations = sorted((float(value), key) for key, value in read_pairs(source / "utt2dur"))
        return {key for _, key in durations[:count]}
    if mode == "speakers":
        groups = group_by_speaker(utterances, speakers)
        for number in range(max(1, count * len(groups) // len(utterances)), len(groups) + 1):
            chosen = spread(list(groups), number)
            if sum(len(groups[speaker]) for speaker in chosen) >= count:
                return {key for speaker in chosen for key in groups[speaker]}
    return set(spread(utterances, count))


def copy_data(
    source: Path,
    target: Path,
    utterance_name: Callable[[str], str] = str,
    speaker_name: Callable[[str], str] = str,
    leave_out: Iterable[str] = (),
    change: dict[str, Callable[[str], str]] | None = None,
    keep: set[str] | None = None,
    trials: bool = True,
) -> int:
    """Copy a data directory under other names of utterances and speakers; returns the number of utterances.

    Args:
        source, target: data directories.
        utterance_name, speaker_name: the new name of an old one.
        leave_out: names of lists that are not copied.
        change: for some lists, the new value of an old one.
        keep: utterances to copy; None for all.
        trials: copy the trials, too.

    Raises:
        DataError: two old names become one, or an utterance's new name does not begin with its speaker's.
    """
    need_new_folder(target, [source])
    old = [(u, s) for u, s in zip(*read_utt2spk(source), strict=True) if keep is None or u in keep]
    pairs = sorted((utterance_name(u), speaker_name(s)) for u, s in old)
    for (one, speaker), (other, _) in zip(pairs, [*pairs[1:], ("", "")], strict=True):
        if one == other:
            raise DataError(f"{target}: two utterances would be called '{one}'")
        if not one.startswith(speaker):
            raise DataError(f"{target}: utterance '{one}' would not begin with its speaker '{speaker}'")
    groups = group_by_speaker(*zip(*pairs, strict=True))
    if len(groups) != len({s for _, s in old}):
        raise DataError(f"{target}: two speakers would have the same name")

    write_lines(target / "utt2spk", (f"{u} {s}\n" for u, s in pairs))
    write_spk2utt(target, groups)
    for name in utterance_lists(source):
        if name in ("utt2spk", "utt2uniq") or name in leave_out:
            continue
        convert = (change or {}).get(name, str)
        rows = ((k, v) for k, v in read_pairs(source / name) if keep is None or k in keep)
        write_filled(target / name, sorted(f"{utterance_name(k)} {convert(v)}\n" for k, v in rows))
    if (source / "utt2uniq").is_file() or utterance_name(old[0][0]) != old[0][0]:
        uniq = dict(read_pairs(source / "utt2uniq")) if (source / "utt2uniq").is_file() else {}
        write_filled(target / "utt2uniq", sorted(f"{utterance_name(u)} {uniq.get(u, u)}\n" for u, _ in old))
    for name in speaker_lists(source):
        rows = ((speaker_name(k), v) for k, v in read_pairs(source / name))
        write_filled(target / name, sorted(f"{k} {v}\n" for k, v in rows if k in groups))
    copied = {u for u, _ in old}
    _copy_faces_conf(source, target)
    if trials:
        _copy_trials(source, target, lambda key: utterance_name(key) if key in copied else None)
    return len(pairs)


# ----------------------------------------------------------------------------------------------------------- speed


def at_speed(location: str, factor: str) -> str:
    """The ``wav.scp`` value that gives a recording at another speed (pitch changes with it) through sox.

    >>> at_speed("a b.wav", "0.9")
    "sox 'a b.wav' -t wav - speed 0.9 |"
    >>> at_speed("sph2pipe a.sph |", "1.1")
    'sph2pipe a.sph | sox -t wav - -t wav - speed 1.1 |'
    >>> at_speed("a.mp4", "0.9")
    'ffmpeg -nostdin -v error -i a.mp4 -f wav - | sox -t wav - -t wav - speed 0.9 |'
    """
    through_sox = f"sox -t wav - -t wav - speed {factor} |"
    if location.endswith("|"):
        return f"{location} {through_sox}"
    if location.lower().endswith(SOX_SUFFIXES):
        return f"sox {shlex.quote(location)} -t wav - speed {factor} |"
    return f"ffmpeg -nostdin -v error -i {shlex.quote(location)} -f wav - | {through_sox}"


def perturb_speed(source: Path, target: Path, factor: str, keep_video: bool) -> int:
    """A copy of a data directory at another speed, as new speakers ``spFACTOR-...``; returns its utterances.

    Utterances without audio are left out, and so is what was computed from the audio.

    Args:
        source, target: data directories.
        factor: 0.9 is slower and lower.
        keep_video: keep the video lists, whose speed does not change; otherwise they are left out.

    Raises:
        DataError: no ``wav.scp``, or a factor that is no positive number.
    """
    if not _is_positive(factor):
        raise DataError(f"speed factor '{factor}': a positive number is expected, 0.9 for example")
    need_data_directory(source)
    if not (source / "wav.scp").is_file():
        raise DataError(f"{source}: no wav.scp: only audio changes its speed")
    video = ("video.scp", "faces.scp", "utt2num_faces")
    audio_results = ("feats.scp", "audio.scp", "utt2num_frames", "vad.scp")
    leave_out = audio_results if keep_video else (*audio_results, *video)
    gone = [name for name in leave_out if (source / name).is_file()]
    if gone:
        note(f"{target}: left out because they do not belong to the new speed: {' '.join(gone)}")
    keep = set(read_keys(source / "wav.scp"))
    prefix = f"sp{factor}-"
    return copy_data(
        source,
        target,
        prefix.__add__,
        prefix.__add__,
        leave_out,
        {
            "wav.scp": lambda location: at_speed(location, factor),
            "utt2dur": lambda seconds: f"{float(seconds) / float(factor):.6g}",
        },
        keep,
        trials=False,
    )
