"""Writing the lists of a data directory, identity by identity."""

from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from folders import Clip
from published import Identity, Report

from avsv.errors import DataError


class DataDirectory:
    """Writes the lists of a data directory, one identity after another in order.

    Args:
        folder: the data directory, which is created; its lists appear at the end of the block.
        people: properties of the identities.
        ages: ages by identity, video or clip.
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
        """Write the lines of an identity.

        Returns:
            The key and video of each clip that has both audio and video.
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
        """Finish the lists and remove empty ones.

        Raises:
            DataError: there are no clips, or more than a share ``max_missing`` of them lack audio or video.
        """
        self._stack.close()
        for path in self._files:
            if not (self.folder / path).stat().st_size:
                (self.folder / path).unlink()
        clips = self.count["clips"]
        if clips == 0:
            raise DataError(
                f"{self.folder.name}: no recordings: check that the layout is the published one, see --help"
            )
        lacking = []
        for name, what in (("wav.scp", "audio"), ("video.scp", "video")):
            lost = clips - self.count[name]
            if lost == clips:
                (self.folder / "missing.txt").unlink(missing_ok=True)  # it would contain every clip
                lacking.append(f"no {what}")
            elif lost:
                lacking.append(f"{lost} without {what}")
                if lost > max_missing * clips:
                    raise DataError(
                        f"{self.folder.name}: {lost} of {clips} recordings have no {what}, more than a share of"
                        f" {max_missing:g}: copy the missing files, or set --max-missing"
                    )
        text = f" ({', '.join(lacking)})" if lacking else ""
        report.add(f"{self.folder.name}: {clips} recordings of {self.count['identities']} identities{text}")
