"""Plain lists outside of data directories: utterances to speakers and back, and filtering lines by key."""

from collections.abc import Callable, Iterator
from pathlib import Path

from avsv.datadir.lists import group_by_speaker, key_of, read_raw_lines
from avsv.errors import DataError


def spk2utt_lines(utt2spk: Path) -> list[str]:
    """Make the lines of spk2utt from a file like utt2spk, sorted by speaker.

    Raises:
        DataError: no such file, or a line without exactly two fields.
    """
    rows = list(_fields(utt2spk, "UTTERANCE SPEAKER", lambda count: count == 2))
    groups = group_by_speaker((row[0] for row in rows), (row[1] for row in rows))
    return [f"{speaker} {' '.join(groups[speaker])}\n" for speaker in groups]


def utt2spk_lines(spk2utt: Path) -> Iterator[str]:
    """Stream the lines of utt2spk made from a file like spk2utt, in its order.

    Raises:
        DataError: no such file, or a line with a single field.
    """
    for speaker, *utterances in _fields(spk2utt, "SPEAKER UTTERANCE ...", lambda count: count >= 2):
        for utterance in utterances:
            yield f"{utterance} {speaker}\n"


def filter_lines(path: Path, ids: Path, field: int = 1, exclude: bool = False) -> Iterator[str]:
    """Stream the lines of a list whose key is the first field of some line in another list.

    Args:
        path: the list.
        ids: the other list.
        field: number of the field of ``path`` that is the key, counted from 1.
        exclude: stream the other lines instead.

    Raises:
        DataError: no such file, or a line without this field.
    """
    wanted = {key_of(line) for line in read_raw_lines(ids) if line.strip()}
    for number, line in enumerate(read_raw_lines(path), 1):
        fields = line.split(None, field)
        if len(fields) < field:
            raise DataError(f"{path}:{number}: '{line.strip()}' has no field {field}")
        if (fields[field - 1].rstrip() in wanted) != exclude:
            yield line


def _fields(path: Path, form: str, right: Callable[[int], bool]) -> Iterator[list[str]]:
    for number, line in enumerate(read_raw_lines(path), 1):
        fields = line.split()
        if not right(len(fields)):
            raise DataError(f"{path}:{number}: {len(fields)} fields, expected {form}")
        yield fields
