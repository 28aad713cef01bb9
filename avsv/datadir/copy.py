"""Copying a data directory with new names."""

from collections.abc import Callable, Iterable
from pathlib import Path

from avsv.datadir.create import copy_faces_conf, copy_trials, new_lists, write_filled
from avsv.datadir.lists import (
    group_by_speaker,
    read_pairs,
    read_utt2spk,
    speaker_lists,
    utterance_lists,
    write_lines,
    write_spk2utt,
)
from avsv.errors import DataError
from avsv.io.names import wrong_key


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
    """Copy a data directory with new names for utterances and speakers; returns the number of utterances.

    Args:
        source, target: data directories.
        utterance_name, speaker_name: functions from an old name to the new one.
        leave_out: names of lists that are not copied.
        change: for some lists, a function from an old value to the new one.
        keep: utterances to copy; None for all.
        trials: also copy the trials.

    Raises:
        DataError: there is no utterance to copy, two names become equal, or the new name of an utterance does not begin
            with that of its speaker.
    """
    old = [(u, s) for u, s in zip(*read_utt2spk(source), strict=True) if keep is None or u in keep]
    if not old:
        raise DataError(f"{source}: no utterance is left to copy: do its lists have the utterances of utt2spk?")
    pairs = sorted((utterance_name(u), speaker_name(s)) for u, s in old)
    for (one, speaker), (other, _) in zip(pairs, [*pairs[1:], ("", "")], strict=True):
        if one == other:
            raise DataError(f"{target}: two utterances would be called '{one}'")
        for name in (one, speaker):
            wrong = wrong_key(name) if len(name.split()) == 1 else f"'{name}' has a blank: rename it"
            if wrong:
                raise DataError(f"{target}: {wrong}")
        if not one.startswith(speaker):
            raise DataError(f"{target}: utterance '{one}' would not begin with its speaker '{speaker}'")
    groups = group_by_speaker(*zip(*pairs, strict=True))
    if len(groups) != len({s for _, s in old}):
        raise DataError(f"{target}: two speakers would have the same name")

    with new_lists(target, [source]) as folder:
        write_lines(folder / "utt2spk", (f"{u} {s}\n" for u, s in pairs))
        write_spk2utt(folder, groups)
        for name in utterance_lists(source):
            if name in ("utt2spk", "utt2uniq") or name in leave_out:
                continue
            convert = (change or {}).get(name, str)
            rows = ((k, v) for k, v in read_pairs(source / name) if keep is None or k in keep)
            write_filled(folder / name, sorted(f"{utterance_name(k)} {convert(v)}\n" for k, v in rows))
        if (source / "utt2uniq").is_file() or utterance_name(old[0][0]) != old[0][0]:
            uniq = dict(read_pairs(source / "utt2uniq")) if (source / "utt2uniq").is_file() else {}
            write_filled(folder / "utt2uniq", sorted(f"{utterance_name(u)} {uniq.get(u, u)}\n" for u, _ in old))
        for name in speaker_lists(source):
            rows = ((speaker_name(k), v) for k, v in read_pairs(source / name))
            write_filled(folder / name, sorted(f"{k} {v}\n" for k, v in rows if k in groups))
        copied = {u for u, _ in old}
        copy_faces_conf(source, folder)
        if trials:
            copy_trials(source, folder, target, lambda key: utterance_name(key) if key in copied else None)
    return len(pairs)
