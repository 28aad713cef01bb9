"""Write the data directories train, dev and eval of CREMA-D (Cao et al. 2014), with trials for the last two."""

import argparse
import csv
import random
import re
from pathlib import Path

from avsv.bin.command import run_command
from avsv.errors import DataError
from avsv.io.atomic import write_text
from avsv.io.lists import write_list

CLIP = re.compile(r"(\d{4})_([A-Z]{3})_[A-Z]{3}_[A-Z]{2}")  # actor, sentence, emotion and level, as in 1001_DFA_ANG_XX
PLACES = {"wav.scp": ("AudioWAV", ".wav"), "video.scp": ("VideoFlash", ".flv")}
TARGETS, NONTARGETS = 2, 4  # trials per clip


def part_of(actor: str) -> str:
    """The set of an actor: of the 91, 61 are in train, 10 in dev and 20 in eval."""
    return ("eval" if int(actor) % 9 else "dev") if int(actor) % 3 == 0 else "train"


def draw_trials(clips: list[str], sex: dict[str, str], seed: int) -> list[str]:
    """Draw trials with different sentences, of the same actor and of other actors, half of whom have the same sex."""
    rng, drawn = random.Random(seed), set()
    for clip in clips:
        others = [other for other in clips if other[5:8] != clip[5:8]]
        strangers = [other for other in others if other[:4] != clip[:4]]
        alike = [other for other in strangers if sex.get(other[:4]) == sex.get(clip[:4])]
        for label, found, count in (
            ("target", [other for other in others if other[:4] == clip[:4]], TARGETS),
            ("nontarget", strangers, NONTARGETS // 2),
            ("nontarget", alike, NONTARGETS // 2),
        ):
            drawn.update((clip, other, label) for other in rng.sample(found, min(count, len(found))))
    return [f"{' '.join(trial)}\n" for trial in sorted(drawn)]


def read_people(table: Path) -> dict[str, dict[str, str]]:
    """The rows of ``VideoDemographics.csv`` by actor."""
    try:
        text = table.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{table}: not a text file (UTF-8): copy it again") from None
    people = {}
    for number, row in enumerate(csv.DictReader(text.splitlines()), 2):
        for column in ("ActorID", "Age", "Sex"):
            if not row.get(column):
                raise DataError(f"{table}:{number}: no {column}: expected the columns ActorID, Age and Sex")
        people[row["ActorID"]] = row
    return people


def prepare(root: Path, out: Path, seed: int) -> None:
    """Write all lists below ``out``."""
    table = root / "VideoDemographics.csv"
    if not table.is_file():
        raise DataError(f"{table}: no such file: is --cremad-root the folder of CREMA-D?")
    people = read_people(table)
    sex = {actor: row["Sex"][0].lower() for actor, row in people.items()}
    paths: dict[str, dict[str, str]] = {}
    for name, (folder, suffix) in PLACES.items():
        files = sorted((root / folder).glob(f"*{suffix}"))
        paths[name] = {path.stem: str(path.absolute()) for path in files if CLIP.fullmatch(path.stem)}
        if not paths[name]:
            raise DataError(f"{root / folder}: no clips with names such as 1001_DFA_ANG_XX{suffix}")
    clips = sorted(set().union(*paths.values()))
    if unknown := sorted({clip[:4] for clip in clips} - people.keys()):
        raise DataError(f"{table}: no line for actor {unknown[0]} ({len(unknown)} missing in total)")
    for part in ("train", "dev", "eval"):
        own = [clip for clip in clips if part_of(clip[:4]) == part]
        actors = sorted({clip[:4] for clip in own})
        if len(actors) < 2:
            raise DataError(f"{root}: {len(actors)} actors for {part}, which needs at least two: are clips missing?")
        (out / part).mkdir(parents=True)
        write_list(out / part / "utt2spk", {clip: clip[:4] for clip in own})
        write_list(out / part / "spk2utt", {a: " ".join(clip for clip in own if clip[:4] == a) for a in actors})
        write_list(out / part / "utt2emotion", {clip: clip[9:12] for clip in own})
        # Who is neither, or whose age is no number, has no line.
        write_list(out / part / "spk2gender", {actor: sex[actor] for actor in actors if sex[actor] in "mf"})
        ages = {actor: age for actor in actors if (age := people[actor]["Age"]).isascii() and age.isdigit()}
        write_list(out / part / "spk2age", ages)
        for name, found in paths.items():
            write_list(out / part / name, {clip: found[clip] for clip in own if clip in found})
        if part != "train":
            (out / part / "trials").mkdir()
            write_text(out / part / "trials" / part, "".join(draw_trials(own, sex, seed)))
    write_text(out / "corpus", "cremad\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="cremad", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("root", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    run_command(lambda: prepare(options.root, options.out, options.seed))
