"""Run every step that processes lists at the size of VoxCeleb2, and measure its time and peak memory.

Makes folders in the layout of VoxCeleb, with generated identities and a few media files that are linked many times, and
processes them from stage 0 to the batches of an epoch and the embeddings. The output of each step is compared with the
expected one.

Usage: python benchmarks/lists.py [--utterances 1092009] [--speakers 5994] [--parts 64] [--dir FOLDER]
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from avsv.io.ark import ArkWriter

ROOT = Path(__file__).resolve().parent.parent
LINKS = 30_000  # of one file; file systems limit their number
SECONDS, MEBIBYTES, EPOCH_SECONDS = 60, 1024, 10  # limits for a step
CLIPS_PER_VIDEO = 7.5


class Bench:
    """Runs commands and prints their time and memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.missed: list[str] = []

    def run(self, what: str, *command: str | Path) -> None:
        """Run a command of the recipe in ``folder``; its peak memory is that of its largest process."""
        with (self.folder / "log").open("ab") as log:
            start = time.perf_counter()
            process = subprocess.Popen(
                [str(word) for word in command], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{what}: status {process.returncode}\n{(self.folder / 'log').read_text()[-2000:]}")
        self.report(what, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, SECONDS)

    def report(self, what: str, wall: float, busy: float, mebibytes: float | None, limit: float) -> None:
        """Print a line, and note a missed limit, which is in processor time (clock time on an idle machine)."""
        over = busy > limit or (mebibytes or 0) > MEBIBYTES
        memory = "" if mebibytes is None else f"{mebibytes:6.0f} MiB"
        print(f"{what:44s} {wall:7.1f} s {busy:7.1f} s {memory}{'  TOO MUCH' if over else ''}", flush=True)
        if over:
            self.missed.append(what)


def clips_of(speaker: int, utterances: int, speakers: int) -> Iterator[tuple[str, list[str]]]:
    """Generate names of the videos of a speaker, and of the clips of each."""
    rng = random.Random(speaker)
    left = utterances // speakers + (speaker < utterances % speakers)
    while left:
        count = min(left, rng.randint(1, int(2 * CLIPS_PER_VIDEO - 1)))
        video = "".join(rng.choices("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", k=11))
        yield video, [f"{number:05d}" for number in range(1, count + 1)]
        left -= count


class Linker:
    """Hard links to a file, and to a new copy of it whenever it has too many links."""

    def __init__(self, source: Path) -> None:
        self.source, self.count = str(source), 0

    def link(self, target: str) -> None:
        """Make ``target`` another name of the file."""
        if self.count and self.count % LINKS == 0:
            self.source = shutil.copy(self.source, f"{self.source}+")
        os.link(self.source, target)
        self.count += 1


def make_trees(folder: Path, utterances: int, speakers: int) -> None:
    """Make VoxCeleb2 with all recordings, the test set of VoxCeleb1, MUSAN and RIRS_NOISES in their layouts."""
    sound = "sine=frequency=300:duration=0.5:sample_rate=16000"
    commands = [
        ("a.wav", ["-f", "lavfi", "-i", sound]),
        ("a.m4a", ["-f", "lavfi", "-i", sound, "-c:a", "aac"]),
        ("a.mp4", ["-f", "lavfi", "-i", "testsrc=size=224x224:rate=25:duration=0.5", "-pix_fmt", "yuv420p"]),
    ]
    for name, options in commands:
        subprocess.run(["ffmpeg", "-v", "error", *options, str(folder / name)], check=True, stdin=subprocess.DEVNULL)
    wav, m4a, mp4 = (Linker(folder / name) for name, _ in commands)

    places = [("vox2/dev/aac", ".m4a", m4a), ("vox2/dev/mp4", ".mp4", mp4)]
    _make_tree(folder, places, speakers, lambda speaker: f"id{speaker + 1:05d}", utterances)
    evaluated = [("vox1/wav", ".wav", wav), ("vox1/mp4", ".mp4", mp4)]
    keys = _make_tree(folder, evaluated, 40, lambda speaker: f"id{speaker + 90000:05d}", 4708)
    rng = random.Random(0)
    with (folder / "vox1/veri_test.txt").open("w") as file:
        for number in range(37_720):
            speaker = rng.randrange(40)
            other = speaker if number % 2 == 0 else (speaker + rng.randrange(1, 40)) % 40
            sides = rng.choice(keys[speaker]), rng.choice(keys[other])
            file.write(f"{int(speaker == other)} {sides[0]}.wav {sides[1]}.wav\n")
    for place, count in (
        ("musan/music/all", 660),
        ("musan/noise/all", 930),
        ("musan/speech/all", 426),
        *(
            (f"rirs/simulated_rirs/{size}/Room{room:03d}", 100)
            for size in ("smallroom", "mediumroom")
            for room in range(200)
        ),
    ):
        (folder / place).mkdir(parents=True)
        for number in range(count):
            wav.link(f"{folder}/{place}/{place.split('/')[1]}-{number:04d}.wav")


def _make_tree(
    folder: Path, places: list[tuple[str, str, Linker]], speakers: int, name: Callable[[int], str], utterances: int
) -> list[list[str]]:
    keys: list[list[str]] = []
    for speaker in range(speakers):
        keys.append([])
        for video, clips in clips_of(speaker, utterances, speakers):
            keys[-1] += [f"{name(speaker)}/{video}/{clip}" for clip in clips]
            for place, suffix, linker in places:
                parent = f"{folder}/{place}/{name(speaker)}/{video}"
                Path(parent).mkdir(parents=True)
                for clip in clips:
                    linker.link(f"{parent}/{clip}{suffix}")
    return keys


def same(one: Path, other: Path) -> None:
    """Exit unless two data directories have the same lists."""
    for path in sorted(one.iterdir()):
        if path.is_file() and path.name[0] != "." and path.read_bytes() != (other / path.name).read_bytes():
            sys.exit(f"{path} and {other / path.name} differ")


def turn_round(source: Path, target: Path) -> None:
    """Copy a data directory with its lists in reverse order."""
    target.mkdir()
    for path in source.iterdir():
        if path.is_file() and path.name[0] != ".":
            lines = path.read_text().splitlines(keepends=True)
            (target / path.name).write_text("".join(reversed(lines)))


def add_features(data: Path, folder: Path) -> None:
    """Write lists as the feature steps do, which all refer to a few matrices."""
    arks = {}
    for name, kind, columns in (("feats", "fbank", 80), ("faces", "pixels", 128 * 128)):
        rows = 798 if kind == "fbank" else 200
        with ArkWriter(folder / name, kind) as writer:
            values = np.random.default_rng(0).integers(0, 256, (rows, columns), dtype=np.uint8)
            for number in range(10):
                writer.write(f"u{number}", values)
        arks[name] = [line.split()[1] for line in (folder / f"{name}.scp").read_text().splitlines()], rows
    keys = [line.split()[0] for line in (data / "utt2spk").read_text().splitlines()]
    for name, counts in (("feats", "utt2num_frames"), ("faces", "utt2num_faces")):
        places, rows = arks[name]
        # As long as the names of real arks.
        (data / f"{name}.scp").write_text("".join(f"{key} {places[n % 10]}\n" for n, key in enumerate(keys)))
        (data / counts).write_text("".join(f"{key} {rows}\n" for key in keys))
    (data / "spk2age").write_text("".join(f"{key} 40\n" for key in sorted({key[:7] for key in keys})))


def loading(bench: Bench, data: Path) -> None:
    """Read a data directory as training does; print the memory that a loader worker adds, and the time of an epoch."""
    code = "import sys; from avsv.data.lists import *; t = read_utterances(sys.argv[1]); read_ages(t); read_sessions(t)"
    bench.run("training lists, ages and sessions", sys.executable, "-c", code, data)

    # Not earlier: the memory of this process when it starts another one would count as memory of the other.
    from avsv.data.lists import read_utterances
    from avsv.data.sampler import BatchSampler, SpeakerBatchSampler

    table = read_utterances(data)
    labels = table.labels(sorted(set(table.speakers)))
    for name, sampler in (
        ("an epoch's index", BatchSampler(len(table), 512, 1, 0)),
        ("an epoch's index, 32 speakers x 10", SpeakerBatchSampler(labels, 320, 10, 1, 0)),
    ):
        start, busy = time.perf_counter(), time.process_time()
        sampler.batches(0)
        bench.report(name, time.perf_counter() - start, time.process_time() - busy, None, EPOCH_SECONDS)

    few = {table.keys[index] for index in range(1000)}
    for name, part in ((f"of {len(few)} utterances", read_utterances(data, only=few)), (f"of {len(table)}", table)):
        print(f"{f'a loader worker adds, lists {name}':64s} {worker_memory(part):6.0f} MiB", flush=True)


def worker_memory(table: "UtteranceTable") -> float:  # noqa: F821 -- imports torch
    """Private memory in MiB of a process forked from this one, after batches of random utterances."""
    from avsv.audio.config import FbankConfig
    from avsv.config.sections import DataConfig
    from avsv.data.clips import TrainingClips
    from avsv.data.inputs import Inputs
    from avsv.data.lists import read_ages, read_sessions
    from avsv.video.config import FaceFormat

    inputs = Inputs(FbankConfig(), FaceFormat())
    labels, ages, sessions = table.labels(sorted(set(table.speakers))), read_ages(table), read_sessions(table)
    config = DataConfig(window=2.0, av_mixup=True, noise_reverb=False)
    clips = TrainingClips(table, labels, config, inputs, 0, ages=ages, sessions=sessions)
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        rng = np.random.default_rng(0)
        for _ in range(50):
            batch = clips[[(0, int(index)) for index in rng.integers(len(table), size=8)]]
            if isinstance(batch, Exception):
                raise batch
        # Every page of the lists is read.
        for index in range(0, len(table), 7):
            table.keys[index], table.speakers[index], table.audio[index], table.video[index]
        os.write(sender, f"{own_memory()}".encode())
        os._exit(0)
    os.close(sender)
    os.waitpid(child, 0)
    return float(os.read(receiver, 100)) / 2**20


def own_memory() -> int:
    """Private memory of this process in bytes."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Private"))


def main() -> None:
    """Run the benchmark and print its figures; exit with status 1 if a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=1_092_009)
    parser.add_argument("--speakers", type=int, default=5_994)
    parser.add_argument("--parts", type=int, default=64)
    parser.add_argument("--dir", type=Path, help="working folder; generated data are kept for the next call")
    args = parser.parse_args()
    if args.dir:
        args.dir.mkdir(exist_ok=True)
        shutil.rmtree(args.dir / "work", ignore_errors=True)
        measure(args.dir, args)
        return
    with tempfile.TemporaryDirectory() as name:
        measure(Path(name), args)


def measure(trees: Path, args: argparse.Namespace) -> None:
    """Make the trees, and process them with all steps in the folder ``work`` next to them."""
    start = time.perf_counter()
    if not (trees / "rirs").exists():
        make_trees(trees, args.utterances, args.speakers)
    print(f"{args.utterances} recordings generated in {time.perf_counter() - start:.0f} s", flush=True)
    print(f"{'':44s} {'clock':>9s} {'busy':>9s} {'memory':>10s}")
    folder = trees / "work"
    folder.mkdir()
    for name in ("run.sh", "path.sh", "steps", "utils", "local"):
        (folder / name).symlink_to(ROOT / "egs/voxceleb" / name)
    bench = Bench(folder)

    roots = [f"--{name}-root={trees / name}" for name in ("vox1", "vox2", "musan", "rirs")]
    bench.run("local/prepare_data.sh", "local/prepare_data.sh", *roots, folder / "data")
    bench.run("the same again", "local/prepare_data.sh", *roots, folder / "data")
    data = folder / "data/all"
    bench.run(
        "utils/combine_data.sh, train and dev",
        "utils/combine_data.sh",
        data,
        folder / "data/train",
        folder / "data/dev",
    )
    lines = sum(1 for _ in (data / "utt2spk").open()), sum(1 for _ in (data / "spk2utt").open())
    if lines != (args.utterances, args.speakers):
        sys.exit(f"{data}: {lines} utterances and speakers")
    add_features(data, folder)
    bench.run("utils/validate_data_dir.sh", "utils/validate_data_dir.sh", data)
    bench.run("utils/fix_data_dir.sh, nothing to do", "utils/fix_data_dir.sh", data)
    turn_round(data, folder / "data/reversed")
    bench.run("utils/fix_data_dir.sh, lists in reverse order", "utils/fix_data_dir.sh", folder / "data/reversed")
    same(data, folder / "data/reversed")
    bench.run(f"utils/split_data.sh, {args.parts} parts", "utils/split_data.sh", data, args.parts)
    parts = [data / f"split{args.parts}" / str(part) for part in range(1, args.parts + 1)]
    bench.run(f"utils/combine_data.sh, {args.parts} parts", "utils/combine_data.sh", folder / "data/combined", *parts)
    same(data, folder / "data/combined")
    bench.run(
        "utils/subset_data_dir.sh --per-spk", "utils/subset_data_dir.sh", "--per-spk", data, 100, folder / "data/subset"
    )
    bench.run(
        "utils/copy_data_dir.sh",
        "utils/copy_data_dir.sh",
        "--utt-prefix=x-",
        "--spk-prefix=x-",
        data,
        folder / "data/copy",
    )
    bench.run("utils/perturb_data_dir_speed.sh", "utils/perturb_data_dir_speed.sh", "0.9", data, folder / "data/speed")
    loading(bench, data)
    if bench.missed:
        sys.exit(f"too much: {', '.join(bench.missed)}")


if __name__ == "__main__":
    main()
