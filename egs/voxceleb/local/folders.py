"""Reading the folders of VoxCeleb by listing them; files are neither opened nor checked."""

import os
from collections.abc import Iterable
from pathlib import Path

from published import IDENTITY, Report, plain_name

from avsv.errors import DataError

# If a recording exists in several forms, the first one is used.
AUDIO_SUFFIXES = (".wav", ".flac", ".m4a")
VIDEO_SUFFIXES = (".mp4",)
FACE_SCALE = "1.6"  # the folder between name and video in unzippedFaces

Clip = tuple[str, str]  # video and name, as in x6uYqmx31kE and 00001


class Tree:
    """Folders ``ID/VIDEO/CLIP.SUFFIX``, which can be distributed over several roots.

    Args:
        roots: the root folders.
        suffixes: suffixes of the files; empty for folders of images. If a clip exists in several forms, the first
            suffix is used.
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

    A folder contains the faces of a whole video at one image per second, which are used for every clip of the video.

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
    """Names of the subfolders of a folder, except hidden ones and names with blanks."""
    return [
        entry.name
        for entry in os.scandir(place)
        if entry.is_dir() and entry.name.split() == [entry.name] and entry.name[0] != "."
    ]


def find_folders(root: Path, name: str) -> list[Path]:
    """The existing ones of ``root/name``, ``root/dev/name`` and ``root/test/name``."""
    return [path for path in (root / name, root / "dev" / name, root / "test" / name) if path.is_dir()]


def find_vox1_video(root: Path, choice: str, names: dict[str, str], report: Report) -> Tree | FaceFolders | None:
    """Find the faces of VoxCeleb1.

    Raises:
        DataError: the requested folder does not exist.
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
