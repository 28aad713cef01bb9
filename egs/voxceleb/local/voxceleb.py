"""Reads the folders and the published lists of VoxCeleb, and writes the data directories train, dev and eval.

VoxCeleb2 has over a million recordings: folders are listed, never searched, no file is opened or asked for its size,
and the lists are written identity by identity.
"""

import argparse
import hashlib
import itertools
import os
import random
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from avsv.bin.command import run_command
from avsv.errors import DataError
from avsv.io.atomic import write_text

IDENTITY = re.compile(r"id\d{5}")
# Where a recording is there in several forms, the first is taken.
AUDIO_SUFFIXES = (".wav", ".flac", ".m4a")
VIDEO_SUFFIXES = (".mp4",)
# The published trial lists: what they are called in results, and their md5 where they are as published.
TRIAL_LISTS = {
    "veri_test.txt": ("O", "29fc7cc1c5d59f0816dc15d6e8be60f7"),
    "veri_test2.txt": ("O_cleaned", "b73110731c9223c1461fe49cb48dddfc"),
    "list_test_all.txt": ("E", "b9ecf7aa49d4b656aa927a8092844e4a"),
    "list_test_all2.txt": ("E_cleaned", "a53e059deb562ffcfc092bf5d90d9f3a"),
    "list_test_hard.txt": ("H", "21c341b6b2168eea2634df0fb4b8fff1"),
    "list_test_hard2.txt": ("H_cleaned", "857790e09d579a68eb2e339a090343c8"),
}
# VoxCeleb2 has 5,994 identities to train on and to hold out; some may be left out, or not be had any more.
WHOLE_IDENTITIES = 5900
META_FILES = ("vox1_meta.csv", "vox2_meta.csv", "spk2age", "utt2age")
FACE_SCALE = "1.6"  # the folder between name and video in unzippedFaces
# Of each development identity, and non-target trials for each of them.
DEV_TARGETS, DEV_NONTARGETS = 60, 3

Clip = tuple[str, str]  # video and name, as in x6uYqmx31kE and 00001


@dataclass
class Identity:
    """What a meta file says of an identity."""

    name: str = ""
    gender: str = ""
    subset: str = ""


@dataclass
class Report:
    """What was found, for the log and ``prepare.txt``."""

    lines: list[str] = field(default_factory=list)

    def add(self, line: str) -> None:
        """Note a line."""
        self.lines.append(line)


# The published lists.


def read_meta(path: Path) -> dict[str, Identity]:
    """Read ``vox1_meta.csv`` or ``vox2_meta.csv``.

    The two differ in the order and names of their columns, and one pads every field with a blank; copies have DOS line
    ends or lack columns. Columns are known by their headings; only the identity must be there.

    Raises:
        DataError: naming file and line: no heading, a wrong number of fields, an identity that is none or comes twice,
            another gender or set.
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
            raise DataError(f"{path}:{number}: '{row[identity]}' is no identity, as id10001 is")
        if row[identity] in found:
            raise DataError(f"{path}:{number}: {row[identity]} occurs twice")
        if gender not in ("m", "f", ""):
            raise DataError(f"{path}:{number}: gender '{gender}', expected m or f")
        if subset not in ("dev", "test", ""):
            raise DataError(f"{path}:{number}: set '{subset}', expected dev or test")
        found[row[identity]] = Identity(name, gender, subset)
    return found


def plain_name(name: str) -> str:
    """A person's name for comparisons: without accents, case and what joins its parts.

    Example:
        >>> plain_name("Demián_Bichir"), plain_name("A.J._Buckley")
        ('demianbichir', 'ajbuckley')
    """
    return re.sub("[^a-z0-9]", "", unicodedata.normalize("NFKD", name).casefold())


def read_ages(path: Path) -> dict[str, str]:
    """Read ``spk2age`` or ``utt2age``: a key and an age a line; an age that is no number is not known.

    Keys are identities, videos or clips, as in ``id00012``, ``id00012/21Uxsk56VDQ`` or ``id00012-21Uxsk56VDQ-00001``.

    Raises:
        DataError: a line that has not two fields.
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
    """The trials of a published list, ``1 id10270/x6uYqmx31kE/00001.wav id10270/8jEAjG6SegY/00008.wav`` a line.

    Yields:
        The two recordings as ``id10270/x6uYqmx31kE/00001``, and whether they are of the same identity.

    Raises:
        DataError: naming file and line: another form, or a label that disagrees with the identities.
    """
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
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
                raise DataError(f"{path}:{number}: labelled {parts[0]}, which the two identities contradict")
            yield sides[0], sides[1], target


def find_trial_lists(folders: Iterable[Path], report: Report) -> dict[str, Path]:
    """The published trial lists, by what they are called in results; one that has been changed keeps its file's name.

    Raises:
        DataError: there is none.
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
            report.add(f"{path}: not the published file of this name (md5 differs), so called {path.stem} in results")
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


# The folders.


class Tree:
    """Folders ``ID/VIDEO/CLIP.SUFFIX``, which may be spread over several places.

    Args:
        roots: the places.
        suffixes: of the files; none for folders of images. Where a clip is there in several forms, the first is taken.
    """

    def __init__(self, roots: Iterable[Path], suffixes: tuple[str, ...]) -> None:
        self.roots = [root.absolute() for root in roots]
        self.suffixes = suffixes
        self.ignored = 0
        self._places: dict[str, list[str]] = {}
        for root in self.roots:
            for entry in os.scandir(root):
                if IDENTITY.fullmatch(entry.name):
                    self._places.setdefault(entry.name, []).append(entry.path)
                else:
                    self.ignored += 1

    def identities(self) -> set[str]:
        """All identities that have a folder."""
        return set(self._places)

    def clips(self, identity: str) -> dict[Clip, str]:
        """The path of each clip of an identity."""
        found: dict[Clip, str] = {}
        ranks: dict[Clip, int] = {}
        for place in self._places.get(identity, ()):
            for video in _folders(place):
                folder = f"{place}/{video}"
                for entry in os.scandir(folder):
                    file = entry.name
                    name, dot, kind = file.rpartition(".")
                    if self.suffixes:
                        suffix = dot + kind.lower()
                        if suffix not in self.suffixes or not name or name.split() != [name] or name[0] == ".":
                            self.ignored += 1
                            continue
                        rank = self.suffixes.index(suffix)
                    else:
                        name, rank = file, 0
                    if rank < ranks.get((video, name), len(self.suffixes) or 1):
                        ranks[video, name] = rank
                        found[video, name] = f"{folder}/{file}"
        return found


class FaceFolders:
    """``unzippedFaces/NAME/1.6/VIDEO/NNNNNNN.jpg``, where NAME is a person's name or an identity.

    A folder has the faces of a whole video at one image a second: every clip of the video is shown them all.

    Args:
        root: the folder unzippedFaces.
        names: identities by :func:`plain_name`.
    """

    def __init__(self, root: Path, names: dict[str, str]) -> None:
        self.root = str(root.absolute())
        self.unknown: list[str] = []
        self._places: dict[str, str] = {}
        for name in _folders(self.root):
            identity = name if IDENTITY.fullmatch(name) else names.get(plain_name(name))
            if identity is None:
                self.unknown.append(name)
            else:
                self._places[identity] = f"{self.root}/{name}"

    def identities(self) -> set[str]:
        """All identities that have a folder."""
        return set(self._places)

    def videos(self, identity: str) -> dict[str, str]:
        """The folder of each video of an identity."""
        place = self._places.get(identity)
        if place is None:
            return {}
        if FACE_SCALE in _folders(place):
            place = f"{place}/{FACE_SCALE}"
        return {video: f"{place}/{video}" for video in _folders(place)}


def _folders(place: str) -> list[str]:
    """Names of the folders below one, without those that are hidden or have blanks in their names."""
    return [
        entry.name
        for entry in os.scandir(place)
        if entry.is_dir() and entry.name.split() == [entry.name] and entry.name[0] != "."
    ]


def find_folders(root: Path, name: str) -> list[Path]:
    """``root/name``, ``root/dev/name`` and ``root/test/name``, those that are there."""
    return [path for path in (root / name, root / "dev" / name, root / "test" / name) if path.is_dir()]


# The data directories.


class DataDirectory:
    """Writes the lists of a data directory, one identity after the other in order.

    Args:
        folder: made; its lists appear when the block ends.
        people: what is known of the identities.
        ages: by identity, video or clip.
    """

    FILES = (
        "utt2spk", "spk2utt", "wav.scp", "video.scp", "utt2session", "spk2gender", "spk2age", "utt2age", "missing.txt",
    )  # fmt: skip

    def __init__(self, folder: Path, people: dict[str, Identity], ages: dict[str, str]) -> None:
        self.folder, self.people, self.ages = folder, people, ages
        self.count: Counter[str] = Counter()
        folder.mkdir(parents=True)
        with ExitStack() as stack:
            self._files = {
                name: stack.enter_context((folder / name).open("w", encoding="utf-8")) for name in self.FILES
            }
            self._stack = stack.pop_all()

    def add(self, identity: str, audio: dict[Clip, str], video: dict[Clip, str]) -> list[tuple[str, str]]:
        """Write an identity's lines.

        Returns:
            Key and video of the clips that have both sound and picture.
        """
        keys = sorted((f"{identity}-{clip[0]}-{clip[1]}", clip) for clip in audio.keys() | video.keys())
        if not keys:
            return []
        write = {name: file.write for name, file in self._files.items()}
        complete = []
        for key, clip in keys:
            write["utt2spk"](f"{key} {identity}\n")
            write["utt2session"](f"{key} {identity}-{clip[0]}\n")
            for name, paths in (("wav.scp", audio), ("video.scp", video)):
                if clip in paths:
                    write[name](f"{key} {paths[clip]}\n")
                    self.count[name] += 1
                else:
                    write["missing.txt"](f"{key} {name}: no such recording\n")
            if clip in audio and clip in video:
                complete.append((key, clip[0]))
            if self.ages:
                age = self.ages.get(key) or self.ages.get(f"{identity}-{clip[0]}")
                if age:
                    write["utt2age"](f"{key} {age}\n")
        write["spk2utt"](f"{identity} {' '.join(key for key, _ in keys)}\n")
        if gender := self.people.get(identity, Identity()).gender:
            write["spk2gender"](f"{identity} {gender}\n")
        if identity in self.ages:
            write["spk2age"](f"{identity} {self.ages[identity]}\n")
        self.count["clips"] += len(keys)
        self.count["complete"] += len(complete)
        self.count["identities"] += 1
        return complete

    def close(self, max_missing: float, report: Report) -> None:
        """Finish the lists; those that would be empty go.

        Raises:
            DataError: no clips at all, or more than the share ``max_missing`` of them lacks sound or picture.
        """
        self._stack.close()
        for path in self._files:
            if not (self.folder / path).stat().st_size:
                (self.folder / path).unlink()
        clips = self.count["clips"]
        if clips == 0:
            raise DataError(f"{self.folder.name}: no recordings: is the layout the published one? see --help")
        lacking = []
        for name, what in (("wav.scp", "audio"), ("video.scp", "video")):
            lost = clips - self.count[name]
            if lost == clips:
                (self.folder / "missing.txt").unlink(missing_ok=True)  # it would name every clip
                lacking.append(f"no {what}")
            elif lost:
                lacking.append(f"{lost} without {what}")
                if lost > max_missing * clips:
                    raise DataError(
                        f"{self.folder.name}: {lost} of {clips} recordings have no {what}, more than a share of"
                        f" {max_missing:g}: copy what is missing, or set --max-missing"
                    )
        text = f" ({', '.join(lacking)})" if lacking else ""
        report.add(f"{self.folder.name}: {clips} recordings of {self.count['identities']} identities{text}")


def choose_dev(identities: list[str], people: dict[str, Identity], wanted: str, seed: int) -> set[str]:
    """The development identities, women and men in the proportions of all.

    They are held out as a whole. Held-out clips of training identities would cost no identity, but the networks have
    learnt to tell those apart: error rates would be far too low, scores of another distribution than those of
    strangers, and calibration would be wrong. An identity is in or out by a draw of its own, whoever else is there.

    Raises:
        DataError: not a number, or too few are left to train on.
    """
    if wanted != "auto" and not wanted.isdecimal():
        raise DataError(f"--dev-speakers: '{wanted}' is neither a whole number nor auto")
    count = min(max(round(0.02 * len(identities)), 8), 120) if wanted == "auto" else int(wanted)
    if count < 2 or count > len(identities) - 2:
        raise DataError(f"--dev-speakers: {count} of {len(identities)} identities: two at least on each side")
    groups: dict[str, list[str]] = {}
    for identity in identities:
        groups.setdefault(people.get(identity, Identity()).gender, []).append(identity)
    # Interleaved by rank within the gender, so that any first few have all genders in proportion.
    order = []
    for gender, members in groups.items():
        ranked = sorted(members, key=lambda identity: hashlib.md5(f"{seed} {identity}".encode()).digest())
        order += [((rank + 0.5) / len(ranked), gender, identity) for rank, identity in enumerate(ranked)]
    return {identity for _, _, identity in sorted(order)[:count]}


def draw_trials(clips: dict[str, list[tuple[str, str]]], people: dict[str, Identity], seed: int) -> list[str]:
    """Development trials: targets across videos, non-targets half of the same gender; lines as in ``trials/NAME``.

    Args:
        clips: key and video of the clips of each identity.
        people: for the genders.
        seed: of the draws.
    """
    rng = random.Random(f"trials {seed}")
    lines: list[str] = []
    for own in clips.values():
        pairs = [(a, b) for (a, one), (b, other) in itertools.combinations(own, 2) if one != other]
        lines += [f"{a} {b} target" for a, b in rng.sample(pairs, min(len(pairs), DEV_TARGETS))]
    identities = [identity for identity in clips if clips[identity]]
    groups: dict[str, list[str]] = {}
    for identity in identities:
        groups.setdefault(people.get(identity, Identity()).gender, []).append(identity)
    same = [pair for members in groups.values() for pair in itertools.combinations(members, 2)]
    cross = [pair for a, b in itertools.combinations(groups.values(), 2) for pair in itertools.product(a, b)]
    wanted, seen = DEV_NONTARGETS * len(lines), set()
    for _ in range(20 * wanted):  # more draws than can be needed, unless there are hardly any clips
        if len(seen) == wanted:
            break
        pairs = (same or cross) if rng.random() < 0.5 or not cross else cross
        one, other = rng.choice(pairs)
        seen.add((rng.choice(clips[one])[0], rng.choice(clips[other])[0]))
    return lines + [f"{a} {b} nontarget" for a, b in sorted(seen)]


def write_eval(
    folder: Path,
    trials: dict[str, Path],
    audio: Tree,
    video: Tree | FaceFolders | None,
    people: dict[str, Identity],
    ages: dict[str, str],
    max_missing: float,
    report: Report,
) -> None:
    """The recordings of the trial lists, and those trials whose recordings are there.

    Raises:
        DataError: see :meth:`DataDirectory.close`; no list is left, or one lacks more than a share ``max_missing``.
    """
    wanted: dict[str, set[Clip]] = {}
    for path in trials.values():
        for one, other, _ in read_trials(path):
            for side in (one, other):
                identity, name, clip = side.split("/")
                wanted.setdefault(identity, set()).add((name, clip))
    directory = DataDirectory(folder, people, ages)
    there = set()
    for identity in sorted(wanted):
        sounds = {clip: path for clip, path in audio.clips(identity).items() if clip in wanted[identity]}
        faces: dict[Clip, str] = {}
        if isinstance(video, FaceFolders):
            videos = video.videos(identity)
            faces = {clip: videos[clip[0]] for clip in wanted[identity] if clip[0] in videos}
        elif video is not None:
            faces = {clip: path for clip, path in video.clips(identity).items() if clip in wanted[identity]}
        directory.add(identity, sounds, faces)
        there.update((identity, *clip) for clip in sounds.keys() | faces.keys())
    directory.close(max_missing, report)
    (folder / "trials").mkdir()
    made = 0
    for name, path in trials.items():
        lines, lost = [], []
        for one, other, target in read_trials(path):
            line = f"{one.replace('/', '-')} {other.replace('/', '-')} {'target' if target else 'nontarget'}\n"
            sides = (tuple(side.split("/")) for side in (one, other))
            (lines if all(side in there for side in sides) else lost).append(line)
        total = len(lines) + len(lost)
        if len(lines) < total / 2:
            report.add(f"trials {name}: left out, its part of VoxCeleb1 is not here ({len(lost)} of {total} trials)")
            continue
        if len(lost) > max_missing * total:
            raise DataError(
                f"{path}: {len(lost)} of {total} trials lack a recording, more than a share of {max_missing:g}:"
                f" the first is {lost[0].strip()}"
            )
        write_text(folder / "trials" / name, "".join(lines))
        if lost:
            with (folder / "missing.txt").open("a", encoding="utf-8") as stream:
                stream.writelines(f"trials/{name}: {line}" for line in lost)
        report.add(f"trials {name}: {len(lines)}" + (f" ({len(lost)} lack a recording)" if lost else ""))
        made += 1
    if made == 0:
        raise DataError("no trial list can be used: is --vox1-root the folder that has wav/?")


def find_vox1_video(root: Path, choice: str, names: dict[str, str], report: Report) -> Tree | FaceFolders | None:
    """Where VoxCeleb1's faces are.

    Raises:
        DataError: what was asked for is not there.
    """
    choices = ("mp4", "faces", "unzippedFaces")
    if choice not in (*choices, "auto", "none"):
        raise DataError(f"--vox1-video: '{choice}': choose {', '.join(choices)}, none or auto")
    for name in choices if choice == "auto" else (choice,) if choice != "none" else ():
        if folders := find_folders(root, name):
            report.add(f"VoxCeleb1 video: {', '.join(map(str, folders))}")
            if name != "unzippedFaces":
                return Tree(folders, VIDEO_SUFFIXES if name == "mp4" else ())
            faces = FaceFolders(folders[0], names)
            if faces.unknown:
                report.add(
                    f"{folders[0]}: {len(faces.unknown)} folders are neither identities nor names in vox1_meta.csv,"
                    f" such as {faces.unknown[0]}"
                )
            return faces
    if choice not in ("auto", "none"):
        raise DataError(f"--vox1-video {choice}: no {root}/{choice}")
    report.add("VoxCeleb1 video: none")
    return None


def prepare(options: argparse.Namespace) -> None:
    """Write ``train``, ``dev``, ``eval``, ``corpus`` and ``prepare.txt`` below ``options.out``."""
    report = Report()
    vox1, vox2, out = options.vox1_root, options.vox2_root, options.out
    places = [*([Path(options.meta_dir)] if options.meta_dir else []), vox1, vox2]
    found = {name: next((place / name for place in places if (place / name).is_file()), None) for name in META_FILES}
    meta1, meta2 = (read_meta(found[name]) if found[name] else {} for name in META_FILES[:2])
    ages: dict[str, str] = {}
    for name in META_FILES[2:]:
        if found[name]:
            ages |= read_ages(found[name])
    for name in META_FILES[:2]:
        report.add(f"{name}: {found[name] or 'not found: genders stay unknown, and nobody is known by name'}")
    people = meta1 | meta2

    trials = find_trial_lists(places, report)
    names1 = {plain_name(person.name): identity for identity, person in meta1.items() if person.name}
    audio1 = Tree(find_folders(vox1, "wav") or find_folders(vox1, "aac"), AUDIO_SUFFIXES)
    video1 = find_vox1_video(vox1, options.vox1_video, names1, report)
    write_eval(out / "eval", trials, audio1, video1, people, ages, options.max_missing, report)
    evaluated = {line.split()[0] for line in (out / "eval" / "spk2utt").read_text(encoding="utf-8").splitlines()}

    base = vox2 / "dev" if (vox2 / "dev").is_dir() else vox2
    sounds = [base / name for name in ("wav", "aac", "flac") if (base / name).is_dir()]
    pictures = [base / "mp4"] if (base / "mp4").is_dir() else []
    if not sounds and not pictures:
        raise DataError(f"{base}: neither aac/, wav/ nor mp4/: is --vox2-root the folder that has dev/?")
    report.add(f"VoxCeleb2: {', '.join(map(str, [*sounds, *pictures]))}")
    audio2, video2 = Tree(sounds, AUDIO_SUFFIXES), Tree(pictures, VIDEO_SUFFIXES)
    left_out, usable = left_out_of_training(audio2.identities() | video2.identities(), meta1, meta2, evaluated)
    for reason, identities in left_out.items():
        shown = " ".join(identities[:5]) + (" ..." if len(identities) > 5 else "")
        report.add(f"left out of training, {reason}: {len(identities)} ({shown})")

    if not usable:
        raise DataError(f"{base}: nobody to train on: is --vox2-root the folder that has dev/?")
    dev = choose_dev(usable, people, options.dev_speakers, options.seed)
    directories = {name: DataDirectory(out / name, people, ages) for name in ("train", "dev")}
    complete = {}
    for identity in usable:
        name = "dev" if identity in dev else "train"
        clips = directories[name].add(identity, audio2.clips(identity), video2.clips(identity))
        if name == "dev":
            complete[identity] = clips
    if not pictures or not sounds:
        complete = {identity: _all_clips(tree, identity) for tree in (audio2, video2) if tree.roots for identity in dev}
    for directory in directories.values():
        directory.close(options.max_missing, report)
    lines = draw_trials({identity: complete[identity] for identity in sorted(complete)}, people, options.seed)
    (out / "dev" / "trials").mkdir()
    write_text(out / "dev" / "trials" / "dev", "".join(f"{line}\n" for line in lines))
    report.add(f"trials dev: {len(lines)}")
    ignored = audio1.ignored + audio2.ignored + video2.ignored
    if ignored:
        report.add(f"{ignored} files or folders are none of VoxCeleb's and were not looked at")
    write_text(out / "corpus", f"{corpus_name(trials, len(usable))}\n")
    write_text(out / "prepare.txt", "".join(f"{line}\n" for line in report.lines))


def corpus_name(trials: Iterable[str], identities: int) -> str:
    """What results are said to be of: results on other lists, or after training on less, compare with no published one.

    Args:
        trials: names of the trial lists, as :func:`find_trial_lists` gives them.
        identities: of training, the held-out ones included.

    Example:
        >>> corpus_name(["O", "E_cleaned"], 5994), corpus_name(["O"], 100), corpus_name(["veri_test2"], 5994)
        ('voxceleb', 'voxceleb (part)', 'voxceleb (part)')
    """
    published = {name for name, _ in TRIAL_LISTS.values()}
    return "voxceleb" if set(trials) <= published and identities >= WHOLE_IDENTITIES else "voxceleb (part)"


def left_out_of_training(
    identities: Iterable[str], meta1: dict[str, Identity], meta2: dict[str, Identity], evaluated: set[str]
) -> tuple[dict[str, list[str]], list[str]]:
    """The rules that keep evaluation and training apart.

    The corpora have no identity number in common, and VoxCeleb2's test set is not trained on. Ten people have a number
    in both, all but one (Demian Bichir, id10232 and id02123) in VoxCeleb2's test set; they are known by their names.

    Returns:
        Identities left out by reason, and those to train on, both in order.
    """
    names = {plain_name(meta1[identity].name) for identity in evaluated if identity in meta1}
    left_out: dict[str, list[str]] = {}
    usable = []
    for identity in sorted(identities):
        person = meta2.get(identity, Identity())
        if identity in evaluated:
            reason = "evaluated"
        elif person.subset == "test":
            reason = "of the test set of VoxCeleb2"
        elif person.name and plain_name(person.name) in names:
            reason = "evaluated under another number"
        else:
            usable.append(identity)
            continue
        left_out.setdefault(reason, []).append(identity)
    return left_out, usable


def _all_clips(tree: Tree, identity: str) -> list[tuple[str, str]]:
    return sorted((f"{identity}-{video}-{clip}", video) for video, clip in tree.clips(identity))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="voxceleb", description=__doc__.split("\n")[0])
    parser.add_argument("--vox1-root", type=Path, required=True)
    parser.add_argument("--vox2-root", type=Path, required=True)
    parser.add_argument("--meta-dir", default="")
    parser.add_argument("--vox1-video", default="auto")
    parser.add_argument("--dev-speakers", default="auto")
    parser.add_argument("--max-missing", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("out", type=Path, help="made; must not be there")
    prepare(parser.parse_args())


if __name__ == "__main__":
    run_command(main)
