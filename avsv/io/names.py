"""Rules for keys of lists, file names and names of systems: none leaves its folder or looks like an option.

Everything that reads names from lists, settings or the command line checks them here.
"""

import re
import unicodedata
from collections.abc import Container, Sequence

from avsv.errors import DataError

LONGEST_KEY = 500
"""Characters of an utterance's or a speaker's name."""
LONGEST_NAME = 128
"""Bytes of a name that becomes part of file names, which have at most 255."""

_SYSTEM = re.compile(r"\w[\w.+-]*")
_OUTSIDE = (" /", "/./", "/../", "/. ", "/.. ")


def first_odd_key(keys: Sequence[str]) -> int | None:
    """The index of the first key that :func:`wrong_key` rejects; fast for many thousands of valid keys.

    Example:
        >>> first_odd_key(["id1-a", "id1/b", "../c"]), first_odd_key(["id1-a"])
        (2, None)
    """
    # Keys have no blanks. A list may have millions, and is read several times.
    text = f" {' '.join(keys)} "
    odd = " -" in text or " ." in text or ("/" in text and any(part in text for part in _OUTSIDE))
    if not odd and text.isprintable() and max(map(len, keys), default=0) <= LONGEST_KEY:
        return None
    return next((place for place, key in enumerate(keys) if wrong_key(key)), None)


def wrong_key(key: str) -> str | None:
    """What is wrong with the name of an utterance or a speaker, and what to do; None if nothing is wrong.

    A key may have slashes, as in ``id10270/x6uYqmx31kE/00001``, but cannot name a place outside its folder.

    Example:
        >>> wrong_key("id10270/x6uYqmx31kE/00001"), wrong_key("a/../b")
        (None, "'a/../b' has . or .. between slashes: rename it")
    """
    wrong = None
    if not key.isprintable():
        wrong = "has a control character or an invisible one"
    elif key.startswith("-"):
        wrong = "begins with a dash, like an option"
    elif key.startswith("/"):
        wrong = "begins with a slash"
    elif {".", ".."} & set(key.split("/")):
        wrong = "has . or .. between slashes" if "/" in key else "is the name of a folder"
    elif len(key) > LONGEST_KEY:
        wrong = f"is longer than {LONGEST_KEY} characters"
    return f"{_shown(key)} {wrong}: rename it" if wrong else None


def missing_key(key: str, known: Container[str], where: str) -> str:
    """What to say of a key that is not among those of another list.

    Args:
        key: the key.
        known: the keys of the other list.
        where: name of the other list.

    Example:
        >>> missing_key("ré-1", {"re\u0301-1"}, "utt2spk").partition(":")[0]
        "'ré-1' is written with other Unicode characters (NFC and NFD) in utt2spk"
        >>> missing_key("ré-1", {"re-1"}, "utt2spk")
        "'ré-1' is not in utt2spk"
    """
    if written_otherwise(key, known):
        shown = f"{_shown(key)} is written with other Unicode characters (NFC and NFD) in {where}"
        return f"{shown}: write it alike in all lists, for example all in NFC: uconv -x nfc OLD >NEW"
    return f"{_shown(key)} is not in {where}"


def written_otherwise(key: str, known: Container[str]) -> bool:
    """Whether ``known`` lacks a key but has one that looks the same: macOS names files in NFD, keyboards in NFC."""
    if key.isascii() or key in known:
        return False
    return any(unicodedata.normalize(form, key) in known for form in ("NFC", "NFD"))


def check_key(key: str, where: str) -> str:
    """Return a valid key; ``where`` is the file and line that messages begin with.

    Raises:
        DataError: :func:`wrong_key` rejects it.
    """
    if wrong := wrong_key(key):
        raise DataError(f"{where}: {wrong}")
    return key


def check_name(name: str, where: str) -> str:
    """Return a valid name that becomes part of file names, such as that of a data directory or a trial list.

    Args:
        name: the name.
        where: what messages begin with.

    Raises:
        DataError: it is empty or too long, has a slash or an invisible character, or begins with a dot or a dash.

    Example:
        >>> check_name("Vox1-O (cleaned)", "data/eval/trials")
        'Vox1-O (cleaned)'
        >>> check_name("-rf", "data/eval/trials")
        Traceback (most recent call last):
        avsv.errors.DataError: data/eval/trials: '-rf' cannot be a name: it begins with a dash: rename it
    """
    wrong = None
    if not name:
        raise DataError(f"{where}: an empty name: give it one")
    if not name.isprintable():
        wrong = "has a control character or an invisible one"
    elif "/" in name:
        wrong = "has a slash"
    elif name[0] in ".-":
        wrong = f"begins with a {'dot' if name[0] == '.' else 'dash'}"
    elif len(name.encode()) > LONGEST_NAME:
        wrong = f"is longer than {LONGEST_NAME} bytes"
    if wrong:
        raise DataError(f"{where}: {_shown(name)} cannot be a name: it {wrong}: rename it")
    return name


def check_system(name: str, where: str) -> str:
    """Return a valid name of a system or an ensemble: letters, digits and ``_ . + -``, the first a letter or digit.

    Raises:
        DataError: it is something else.

    Example:
        >>> check_system("ecapa_ft.2", "conf/ensembles.yaml")
        'ecapa_ft.2'
        >>> check_system("../x", "conf/ensembles.yaml")
        Traceback (most recent call last):
        avsv.errors.DataError: conf/ensembles.yaml: '../x' cannot be a name: it has a slash: rename it
    """
    check_name(name, where)
    if not _SYSTEM.fullmatch(name):
        raise DataError(
            f"{where}: {_shown(name)} cannot be a system's name: use letters, digits and _ . + -: rename it"
        )
    return name


def system_name(word: str) -> str:
    """A valid system name of the command line, see :func:`check_system`."""
    return check_system(word, "systems")


def system_names(words: str) -> list[str]:
    """The valid system names of an option ``--systems 'NAME NAME ...'``, see :func:`check_system`."""
    return [check_system(word, "--systems") for word in words.split()]


def _shown(name: str) -> str:
    return f"'{name}'" if len(name) <= 80 else f"'{name[:60]}...'"
