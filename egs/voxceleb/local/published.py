"""Reading the files that VoxCeleb publishes with its recordings: meta files, ages and trial lists."""

import hashlib
import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from avsv.errors import DataError

IDENTITY = re.compile(r"id\d{5}")
# The published trial lists: their names in results, and the md5 of the published files.
TRIAL_LISTS = {
    "veri_test.txt": ("O", "29fc7cc1c5d59f0816dc15d6e8be60f7"),
    "veri_test2.txt": ("O_cleaned", "b73110731c9223c1461fe49cb48dddfc"),
    "list_test_all.txt": ("E", "b9ecf7aa49d4b656aa927a8092844e4a"),
    "list_test_all2.txt": ("E_cleaned", "a53e059deb562ffcfc092bf5d90d9f3a"),
    "list_test_hard.txt": ("H", "21c341b6b2168eea2634df0fb4b8fff1"),
    "list_test_hard2.txt": ("H_cleaned", "857790e09d579a68eb2e339a090343c8"),
}


@dataclass
class Identity:
    """The entry of an identity in a meta file."""

    name: str = ""
    gender: str = ""
    subset: str = ""


@dataclass
class Report:
    """Messages about the corpus, for the log and ``prepare.txt``."""

    lines: list[str] = field(default_factory=list)

    def add(self, line: str) -> None:
        """Add a line."""
        self.lines.append(line)


def read_meta(path: Path) -> dict[str, Identity]:
    """Read ``vox1_meta.csv`` or ``vox2_meta.csv``.

    The two files differ in the order and names of columns, and in one of them every field is padded with a blank; some
    copies have DOS line endings or lack columns. Columns are identified by their headings; only the identity is
    required.

    Raises:
        DataError: with file and line: no heading, a wrong number of fields, a malformed or repeated identity, an
            unknown gender or set.
    """
    rows = [[part.strip() for part in line.split("\t")] for line in _text(path).split("\n")]
    columns = {name.casefold(): number for number, name in enumerate(rows[0])}
    place = {"name": columns.get("name", columns.get("vggface1 id"))}
    place |= {name: columns.get(name) for name in ("gender", "set")}
    identity = columns.get("voxceleb1 id", columns.get("voxceleb2 id"))
    if identity is None:
        raise DataError(
            f"{path}:1: no column 'VoxCeleb1 ID' or 'VoxCeleb2 ID': expected the published table, with tabs"
        )
    found: dict[str, Identity] = {}
    for number, row in enumerate(rows[1:], 2):
        if row == [""]:
            continue
        if len(row) != len(rows[0]):
            raise DataError(f"{path}:{number}: {len(row)} fields, the heading has {len(rows[0])}")
        name, gender, subset = ("" if column is None else row[column] for column in place.values())
        if not IDENTITY.fullmatch(row[identity]):
            raise DataError(f"{path}:{number}: '{row[identity]}' is not an identity such as id10001")
        if row[identity] in found:
            raise DataError(f"{path}:{number}: {row[identity]} occurs twice")
        if gender not in ("m", "f", ""):
            raise DataError(f"{path}:{number}: gender '{gender}', expected m or f")
        if subset not in ("dev", "test", ""):
            raise DataError(f"{path}:{number}: set '{subset}', expected dev or test")
        found[row[identity]] = Identity(name, gender, subset)
    return found


def plain_name(name: str) -> str:
    """The name of a person for comparisons: without accents, case and separators.

    Example:
        >>> plain_name("Demián_Bichir"), plain_name("A.J._Buckley")
        ('demianbichir', 'ajbuckley')
    """
    return re.sub("[^a-z0-9]", "", unicodedata.normalize("NFKD", name).casefold())


def read_ages(path: Path) -> dict[str, str]:
    """Read ``spk2age`` or ``utt2age``, one key and age per line; an age that is not a number is unknown.

    Keys are identities, videos or clips, as in ``id00012``, ``id00012/21Uxsk56VDQ`` or ``id00012-21Uxsk56VDQ-00001``.

    Raises:
        DataError: a line without exactly two fields.
    """
    ages = {}
    for number, line in enumerate(_text(path).split("\n"), 1):
        parts = line.split()
        if not parts:
            continue
        if len(parts) != 2:
            raise DataError(f"{path}:{number}: {len(parts)} fields, expected 2: KEY AGE")
        if re.fullmatch(r"\d+(\.\d+)?", parts[1]):
            ages[_stem(parts[0]).replace("/", "-")] = parts[1]
    return ages


def read_trials(path: Path) -> Iterator[tuple[str, str, bool]]:
    """Read a published trial list with lines ``1 id10270/x6uYqmx31kE/00001.wav id10270/8jEAjG6SegY/00008.wav``.

    Yields:
        The two recordings as ``id10270/x6uYqmx31kE/00001``, and whether they have the same identity.

    Raises:
        DataError: with file and line: another form, or a label that contradicts the identities.
    """
    for number, line in enumerate(_text(path).split("\n"), 1):
        parts = line.split()
        if not parts:
            continue
        if len(parts) != 3 or parts[0] not in ("0", "1"):
            raise DataError(f"{path}:{number}: expected '1 ID/VIDEO/CLIP.wav ID/VIDEO/CLIP.wav', or 0 for 1")
        sides = []
        for part in parts[1:]:
            names = _stem(part).split("/")[-3:]
            if len(names) != 3 or not IDENTITY.fullmatch(names[0]):
                raise DataError(f"{path}:{number}: '{part}' is not of the form ID/VIDEO/CLIP.wav")
            sides.append("/".join(names))
        target = parts[0] == "1"
        if (sides[0][:7] == sides[1][:7]) != target:
            raise DataError(f"{path}:{number}: labeled {parts[0]}, which the two identities contradict")
        yield sides[0], sides[1], target


def find_trial_lists(folders: Iterable[Path], report: Report) -> dict[str, Path]:
    """Find the published trial lists by their names in results; a list that was changed keeps the name of its file.

    Raises:
        DataError: there are none.
    """
    found = {}
    for folder, (file, (name, md5)) in itertools.product(folders, TRIAL_LISTS.items()):
        path = folder / file
        if not path.is_file() or name in found or path.stem in found:
            continue
        if hashlib.md5(path.read_bytes()).hexdigest() == md5:
            found[name] = path
            report.add(f"{path}: the published list of VoxCeleb1-{name.replace('_', ' ')}")
        else:
            found[path.stem] = path
            report.add(f"{path}: not the published file of this name (md5 differs), called {path.stem} in results")
    if not found:
        places = ", ".join(map(str, folders))
        raise DataError(f"no trial list in {places}: copy veri_test.txt, or another of {', '.join(TRIAL_LISTS)}, there")
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path}: not a text file (UTF-8)") from None


def _stem(path: str) -> str:
    """A path without the suffix of a media file."""
    return re.sub(r"\.(wav|flac|m4a|mp4)$", "", path)
