"""People enrolled from several recordings, and the search for one of them: a gallery is one file.

A person is represented, per mode of the embedder, by the mean of the embeddings of their recordings, each scaled to
length 1, like a cohort speaker in the recipe. The file holds the sums, so that recordings can be added later, and the
model's identity.
"""

import contextlib
import fcntl
import hashlib
import json
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avsv.errors import DataError
from avsv.io.safetensors import read_tensors, write_tensors
from avsv.scoring.modes import assignments
from avsv.verification.decision import check_far
from avsv.verification.model import Model
from avsv.verification.pairs import Embedded, possible_assignments

_FORMAT = "2"


@dataclass(frozen=True)
class Person:
    """An enrolled person.

    Args:
        name: of the person.
        sums: per mode (D,) the sum of the embeddings of length 1 of their recordings.
        counts: per mode the number of these recordings.
        seconds: mean duration of the recordings; None if unknown.
        faces: mean number of face crops; None if no recording has any.
        lengths: per mode the mean length of the embeddings before they were scaled.
        known: the number of recordings of which ``seconds`` is known, and of which ``faces`` is.
        files: of each recording, see :func:`file_digest`.
    """

    name: str
    sums: dict[str, NDArray[np.float64]]
    counts: dict[str, int]
    seconds: float | None
    faces: float | None
    lengths: dict[str, float]
    known: dict[str, int] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)

    def side(self) -> Embedded:
        """The person as a side of trials."""
        vectors = {mode: (total / np.linalg.norm(total)).astype(np.float32) for mode, total in self.sums.items()}
        return Embedded(self.name, vectors, self.lengths, self.seconds, self.faces)

    def more(self, recordings: Sequence[Embedded], files: Sequence[str] = ()) -> "Person":
        """The person with additional recordings, of these files."""
        sums = {mode: total.copy() for mode, total in self.sums.items()}
        counts = dict(self.counts)
        lengths = {mode: self.lengths[mode] * count for mode, count in counts.items()}
        for recording in recordings:
            for mode, vector in recording.vectors.items():
                sums[mode] = sums.get(mode, 0) + vector.astype(np.float64)
                counts[mode] = counts.get(mode, 0) + 1
                lengths[mode] = lengths.get(mode, 0.0) + recording.lengths[mode]
        means: dict[str, float | None] = {}
        known = {}
        for name in ("seconds", "faces"):
            new = [value for recording in recordings if (value := getattr(recording, name)) is not None]
            before = self.known.get(name, 0)
            known[name] = before + len(new)
            total = before * (getattr(self, name) or 0.0) + sum(new)
            means[name] = total / known[name] if known[name] else None
        lengths = {mode: total / counts[mode] for mode, total in lengths.items()}
        return Person(self.name, sums, counts, means["seconds"], means["faces"], lengths, known, [*self.files, *files])


def common_mode(modes: Sequence[str], person: Person, recording: Embedded) -> str | None:
    """The mode in which a person and a recording are compared, of those that are possible; None if none is.

    The one that uses most modalities, then the one with most of them on both sides, then the one for which the person
    has most recordings: somebody whose voice and face are from different recordings is compared by one of the two.

    Example:
        >>> one = np.ones(1)
        >>> person = Person("ann", {"A": one, "V": one}, {"A": 2, "V": 1}, None, None, {"A": 1.0, "V": 1.0})
        >>> recording = Embedded("x.mp4", {"A": one, "V": one, "AV": one}, {})
        >>> common_mode(["AVxAV", "AxA", "VxV", "AVxA", "AVxV", "AxV"], person, recording)
        'AVxA'
    """
    found = [
        ((len(a) + len(b), len(set(a) & set(b)), person.counts[a]), mode)
        for mode in modes
        for a, b in assignments(mode)
        if a in person.sums and b in recording.vectors
    ]
    return max(found, key=lambda one: one[0])[1] if found else None


def combine(name: str, recordings: Sequence[Embedded]) -> Embedded:
    """Several recordings as one side of trials: an enrollment model of the recipe."""
    return Person(name, {}, {}, None, None, {}).more(recordings).side()


def person_name(name: str) -> str:
    """A name as a gallery keeps it: without blanks at its ends, and with one form for what looks alike.

    Raises:
        DataError: an empty name, one on several lines, or ``nobody``, which stands for strangers.

    Example:
        >>> person_name(" Ann  Lee ")
        'Ann Lee'
    """
    shown = unicodedata.normalize("NFC", name.strip())
    if shown.casefold() == "nobody":
        raise DataError(f"name '{name}': is what 'avsv identify' answers for strangers: choose another")
    if not shown or not shown.isprintable():
        raise DataError(f"name '{name}': use printable characters")
    return " ".join(shown.split())


def file_digest(path: str | Path) -> str:
    """What tells a recording from others: a digest of the bytes of a file, or of all files of a folder."""
    path, digest = Path(path), hashlib.sha256()
    for part in sorted(x for x in path.iterdir() if x.is_file()) if path.is_dir() else [path]:
        with part.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def lock_gallery(path: Path) -> Iterator[None]:
    """Be the only one who reads, changes and writes a gallery; others wait."""
    # Not the gallery itself, which is replaced when it is written.
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class Candidate:
    """How well a recording fits an enrolled person.

    Args:
        name: of the person.
        mode: in which they were compared.
        cosine, score, llr: as in :class:`avsv.verification.model.Verification`.
        threshold: on ``llr``, for the rate of the comparisons; None without ``llr``.
        measured: whether there were enough development trials to measure the threshold; if not, it is extrapolated.
        accepted: whether ``llr`` is above the threshold; None without ``llr``.
    """

    name: str
    mode: str
    cosine: float
    score: float
    llr: float | None
    threshold: float | None
    measured: bool
    accepted: bool | None


@dataclass(frozen=True)
class Identification:
    """Which person of a gallery a recording shows.

    Args:
        name: of the person: the accepted one with the largest log-likelihood ratio; None for nobody.
        decided: whether the modes that were compared are calibrated; if not, nobody is named.
        far: wanted rate at which a stranger is mistaken for somebody who is enrolled.
        rate: the false-accept rate of each comparison: ``far`` divided by the number of candidates.
        candidates: all persons that could be compared: those who are accepted first, and the best of them first.
    """

    name: str | None
    decided: bool
    far: float
    rate: float
    candidates: tuple[Candidate, ...]


class Gallery:
    """Enrolled people.

    Args:
        identity: of the model that embedded them.
        model: where the model was.
        people: by name.
    """

    def __init__(self, identity: str, model: str = "", people: dict[str, Person] | None = None) -> None:
        self.identity, self.model = identity, model
        self.people = people or {}

    @classmethod
    def read(cls, path: Path) -> "Gallery":
        """Read a file. Raises DataError: no such file, or not a gallery."""
        if not path.is_file():
            what = "is a folder, not a gallery" if path.is_dir() else "no such gallery"
            raise DataError(f"{path}: {what}: 'avsv enroll' creates one")
        try:
            arrays, metadata = read_tensors(path)
        except DataError:
            raise DataError(f"{path}: not a gallery of 'avsv enroll', or only a part of one") from None
        if metadata.get("gallery") != _FORMAT:
            raise DataError(f"{path}: not a gallery of format {_FORMAT}, which this version of avsv reads")
        people = {}
        try:
            for number, about in enumerate(json.loads(metadata["people"])):
                sums = {mode: arrays[f"{number}.{mode}"] for mode in about["counts"]}
                people[about["name"]] = Person(sums=sums, **about)
            return cls(metadata["identity"], metadata["model"], people)
        except (KeyError, TypeError, ValueError, RecursionError):
            raise DataError(f"{path}: a damaged gallery: copy it again, or enroll its people again") from None

    def write(self, path: Path) -> None:
        """Write the file; it appears complete or not at all."""
        arrays, people = {}, []
        for number, person in enumerate(self.people.values()):
            arrays.update({f"{number}.{mode}": total for mode, total in person.sums.items()})
            people.append({part.name: getattr(person, part.name) for part in fields(person) if part.name != "sums"})
        metadata = {
            "gallery": _FORMAT,
            "identity": self.identity,
            "model": self.model,
            "people": json.dumps(people, ensure_ascii=False),
        }
        write_tensors(path, arrays, metadata)

    def check_model(self, model: Model, path: Path) -> None:
        """Raise DataError if another model embedded the people."""
        identity = model.package.settings.identity
        if identity != self.identity:
            raise DataError(
                f"{path}: its people were enrolled with the model {self.identity} ({self.model}), not with {identity}"
                f" ({model.package.where}): their embeddings cannot be compared: enroll them again"
            )

    def find_new(self, name: str, files: Sequence[str]) -> list[int]:
        """The places of those files, see :func:`file_digest`, from which a person has no recording yet."""
        known = set(self.people[name].files) if name in self.people else set()
        return [n for n, file in enumerate(files) if file not in known and file not in files[:n]]

    def enroll(self, name: str, recordings: Sequence[Embedded], files: Sequence[str] = ()) -> Person:
        """Enroll a person, or add recordings to one who is enrolled.

        Args:
            name: of the person.
            recordings: embedded.
            files: of each recording, see :func:`file_digest`.

        Raises:
            DataError: as :func:`person_name`.
        """
        name = person_name(name)
        person = self.people.get(name, Person(name, {}, {}, None, None, {})).more(recordings, files)
        self.people[name] = person
        return person

    def remove(self, name: str, path: Path) -> None:
        """Remove a person. Raises DataError, which names the file: nobody of this name is enrolled."""
        if name not in self.people:
            enrolled = ", ".join(sorted(self.people)) or "nobody"
            raise DataError(f"{path}: '{name}' is not enrolled: the gallery has {enrolled}")
        del self.people[name]

    def identify(self, model: Model, recording: Embedded, far: float = 0.01, mode: str | None = None) -> Identification:
        """Look for the person of a recording among the enrolled people.

        With N people there are N comparisons, any of which can accept a stranger: each is made at the rate ``far`` / N.

        Args:
            model: that enrolled them.
            recording: embedded by it.
            far: rate at which a stranger is mistaken for somebody who is enrolled.
            mode: in which to compare; by default the widest that a person and the recording have.

        Raises:
            DataError: nobody is enrolled, nobody can be compared with the recording, or not a rate.
        """
        check_far(far)
        sides, modes = [], []
        for person in self.people.values():
            chosen = common_mode(model.modes if mode is None else [mode], person, recording)
            if chosen is not None:
                sides.append(person.side())
                modes.append((chosen, tuple(possible_assignments(chosen, sides[-1], recording))))
        if not sides:
            what = f"can be compared with it in mode {mode}" if mode else "has anything in common with the recording"
            raise DataError(f"nobody {what if self.people else 'is enrolled in the gallery'}")
        rate, candidates = far / len(sides), []
        for chosen, orders in dict.fromkeys(modes):
            rows = np.array([n for n, one in enumerate(modes) if one == (chosen, orders)])
            found = model.score([*sides, recording], rows, np.full(len(rows), len(sides)), chosen, orders)
            point = None if found.llr is None else model.operating_point(chosen, rate, len(orders))
            for place, row in enumerate(rows):
                scores = float(found.cosine[place]), float(found.score[place])
                decision = None, None, False, None
                if point is not None:
                    llr = float(found.llr[place])
                    decision = llr, point.threshold, point.measured, llr > point.threshold
                candidates.append(Candidate(sides[row].name, chosen, *scores, *decision))
        decided = all(one.llr is not None for one in candidates)
        # Modes differ in their thresholds: the largest ratio of all may be below that of its mode.
        candidates.sort(key=lambda one: (one.accepted, one.llr) if decided else (False, one.score), reverse=True)
        best = candidates[0]
        return Identification(best.name if decided and best.accepted else None, decided, far, rate, tuple(candidates))
