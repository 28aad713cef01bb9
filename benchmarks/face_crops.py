"""Compare the speed of the face-crop job with ffmpeg decoding and scaling the same clips, each with one thread.

There are two sets: the short clips of a folder, and long clips, for which start-up time hardly matters; ffmpeg is
started for each clip, the job once. The programs run in turns. Each ratio is the median over the rounds of the frames
per second of the job divided by those of ffmpeg, by the clock and by processor time (ffmpeg scales in a separate
thread).

Usage: python benchmarks/face_crops.py [--clips FOLDER] [--rounds 3]
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from avsv.io.atomic import write_text
from avsv.io.lists import read_list

ROOT = Path(__file__).resolve().parent.parent
LONG = 4  # number of long clips
VIDEO = {".avi", ".mkv", ".mov", ".mp4", ".mpg", ".webm"}


class Cost(NamedTuple):
    """Seconds by the clock and of processor time."""

    wall: float
    cpu: float


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, help="folder of video files; by default only a generated clip is used")
    parser.add_argument("--config", type=Path, default=ROOT / "conf/faces.yaml", help="configuration of the crops")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=60, help="length of a long clip")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = sorted(path for path in args.clips.rglob("*") if path.suffix in VIDEO) if args.clips else []
        if clips:
            compare(f"{len(clips)} clips of {args.clips}", clips, args.config, folder, args.rounds)
        else:
            print("no clips given: only a generated clip is used")
        long = generate(folder / "long.mp4", args.seconds)
        compare(f"{LONG} clips of {args.seconds} s, 224x224, H.264", [long] * LONG, args.config, folder, args.rounds)


def generate(path: Path, seconds: int) -> Path:
    """Generate a video with the size of face tracks."""
    source = f"mandelbrot=size=224x224:rate=25,trim=duration={seconds}"
    command = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path


def compare(title: str, clips: list[Path], config: Path, folder: Path, rounds: int) -> None:
    """Print the figures of one set."""
    scp, prefix = folder / "video.scp", folder / "faces"
    write_text(scp, "".join(f"u{index:06d} {path}\n" for index, path in enumerate(clips)))
    job = [sys.executable, "-m", "avsv.bin.make_face_crops", "--config", str(config), str(scp), str(prefix)]
    options = ["-vf", "scale=128:128,format=gray", "-f", "rawvideo", "-"]
    decoders = [["ffmpeg", "-v", "error", "-threads", "1", "-i", str(path), *options] for path in clips]

    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(spend([job]))
        theirs.append(spend(decoders))
    frames = sum(map(int, read_list(f"{prefix}.num_faces").values()))

    print(f"{title}, {frames} frames, frames per second by the clock (by processor time):")
    for label, costs in (("make_face_crops", ours), ("ffmpeg -threads 1", theirs)):
        wall = statistics.median(frames / cost.wall for cost in costs)
        cpu = statistics.median(frames / cost.cpu for cost in costs)
        print(f"  {label:18s} {wall:7.0f} ({cpu:.0f})")
    pairs = list(zip(ours, theirs, strict=True))
    wall = statistics.median(their.wall / our.wall for our, their in pairs)
    cpu = statistics.median(their.cpu / our.cpu for our, their in pairs)
    print(f"  {'ratio':18s} {wall:7.2f} ({cpu:.2f})", flush=True)


def spend(commands: list[list[str]]) -> Cost:
    """Run commands one after another and measure their cost."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    for command in commands:
        subprocess.run(
            command,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        )
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


if __name__ == "__main__":
    main()
