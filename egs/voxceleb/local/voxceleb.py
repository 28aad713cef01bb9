"""Read the folders and the published lists of VoxCeleb, and write the data directories train, dev and eval.

VoxCeleb2 has over a million recordings: folders are only listed, files are neither opened nor checked, and the lists
are written identity by identity.
"""

import argparse
from pathlib import Path

from data_directory import DataDirectory
from folders import AUDIO_SUFFIXES, VIDEO_SUFFIXES, Clip, FaceFolders, Tree, find_folders, find_vox1_video
from published import Identity, Report, find_trial_lists, plain_name, read_ages, read_meta, read_trials
from selection import choose_dev, corpus_name, draw_trials, left_out_of_training

from avsv.bin.command import run_command
from avsv.errors import DataError
from avsv.io.atomic import write_text

META_FILES = ("vox1_meta.csv", "vox2_meta.csv", "spk2age", "utt2age")


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
    """Write the recordings of the trial lists, and the trials whose recordings exist.

    Raises:
        DataError: see :meth:`DataDirectory.close`; no list can be used, or a larger share than ``max_missing`` of the
            trials of a list lack a recording.
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
            report.add(f"trials {name}: left out, its part of VoxCeleb1 is missing ({len(lost)} of {total} trials)")
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
        raise DataError("no trial list can be used: is --vox1-root the folder with wav/?")


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
        report.add(
            f"{name}: {found[name] or 'not found: genders are unknown, and identities cannot be recognized by name'}"
        )
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
        raise DataError(f"{base}: neither aac/, wav/ nor mp4/: is --vox2-root the folder with dev/?")
    report.add(f"VoxCeleb2: {', '.join(map(str, [*sounds, *pictures]))}")
    audio2, video2 = Tree(sounds, AUDIO_SUFFIXES), Tree(pictures, VIDEO_SUFFIXES)
    left_out, usable = left_out_of_training(audio2.identities() | video2.identities(), meta1, meta2, evaluated)
    for reason, identities in left_out.items():
        shown = " ".join(identities[:5]) + (" ..." if len(identities) > 5 else "")
        report.add(f"left out of training, {reason}: {len(identities)} ({shown})")

    if not usable:
        raise DataError(f"{base}: no training identities: is --vox2-root the folder with dev/?")
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
        report.add(f"{ignored} files or folders do not belong to VoxCeleb and were ignored")
    write_text(out / "corpus", f"{corpus_name(trials, len(usable))}\n")
    write_text(out / "prepare.txt", "".join(f"{line}\n" for line in report.lines))


def _all_clips(tree: Tree, identity: str) -> list[tuple[str, str]]:
    return sorted((f"{identity}-{video}-{clip}", video) for video, clip in tree.clips(identity))


def main() -> None:
    """Parse the arguments and write the data directories."""
    parser = argparse.ArgumentParser(prog="voxceleb", description=__doc__.split("\n")[0])
    parser.add_argument("--vox1-root", type=Path, required=True)
    parser.add_argument("--vox2-root", type=Path, required=True)
    parser.add_argument("--meta-dir", default="")
    parser.add_argument("--vox1-video", default="auto")
    parser.add_argument("--dev-speakers", default="auto")
    parser.add_argument("--max-missing", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("out", type=Path, help="output folder, which must not exist")
    prepare(parser.parse_args())


if __name__ == "__main__":
    run_command(main)
