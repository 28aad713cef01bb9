"""Measure reads of random windows from arks, one after another on one core, and count the bytes that are read.

A window is 2 s of a clip: 200 Fbank frames, 50 faces of 128 x 128, or both, or 32,000 samples. Clips are slightly
longer, all with the same values. After writing, the arks are in the page cache if there is enough memory: 11 GB for
10,000 clips. The rate is per second of processor time.

Usage: python benchmarks/windows.py [--clips 10000] [--reads 20000] [--dir FOLDER]
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from avsv.audio.wav import read_window, wav_bytes
from avsv.io.ark import ArkWriter, read_rows
from avsv.io.lists import read_list

RATE = 16000
SHARD = 1000  # clips in an ark
FRAMES, BINS = 260, 80
FACES, SIDE = 60, 128
WINDOW = {"fbank": 200, "faces": 50, "audio": 2 * RATE}
WINDOW_BYTES = {"fbank": 200 * BINS * 2, "faces": 50 * SIDE * SIDE, "audio": 2 * RATE * 2}
LENGTH = {"fbank": FRAMES, "faces": FACES, "audio": round(2.6 * RATE)}
MIN_RATE, MAX_BYTES = 2000, 1.2


def main() -> None:
    """Run the benchmark and print its figures; exit with status 1 if a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--reads", type=int, default=20_000, help="windows per kind")
    parser.add_argument("--dir", help="folder for the arks (default: a temporary one)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.dir) as name:
        places = write(Path(name), args.clips)
        size = sum(path.stat().st_size for path in Path(name).iterdir())
        print(f"{args.clips} clips, {size / 1e9:.1f} GB")
        good = [
            measure("200 x 80 Fbank frames", ["fbank"], places, args.reads),
            measure("50 faces of 128 x 128", ["faces"], places, args.reads),
            measure("both", ["fbank", "faces"], places, args.reads),
            measure("32,000 samples", ["audio"], places, args.reads),
        ]
    raise SystemExit(not all(good))


def write(folder: Path, clips: int) -> dict[str, list[str]]:
    """Write the arks; return the locations of the clips in them."""
    rng = np.random.default_rng(0)
    fbank = rng.normal(10, 3, (FRAMES, BINS)).astype(np.float32)
    faces = rng.integers(0, 256, (FACES, SIDE * SIDE), dtype=np.uint8)
    audio = wav_bytes(rng.integers(-9999, 9999, LENGTH["audio"]).astype(np.int16), RATE)
    places: dict[str, list[str]] = {"fbank": [], "faces": [], "audio": []}
    for start in range(0, clips, SHARD):
        prefix = f"{folder}/{{}}.{start // SHARD}"
        with (
            ArkWriter(prefix.format("fbank"), "fbank") as fbanks,
            ArkWriter(prefix.format("faces"), "pixels") as crops,
            ArkWriter(prefix.format("audio"), "float") as sounds,
        ):
            for number in range(start, min(start + SHARD, clips)):
                fbanks.write(f"u{number}", fbank)
                crops.write(f"u{number}", faces)
                sounds.write_bytes(f"u{number}", audio)
        for name, found in places.items():
            found.extend(read_list(f"{prefix.format(name)}.scp").values())
    return places


def measure(title: str, kinds: list[str], places: dict[str, list[str]], reads: int) -> bool:
    """Read random windows and print the rates; return whether they are within the limits."""
    rng = np.random.default_rng(0)
    readers: dict[str, Callable[[str, int, int], np.ndarray]] = {
        "fbank": read_rows, "faces": read_rows, "audio": read_window,
    }  # fmt: skip
    windows = [
        [
            (readers[kind], places[kind][clip], int(rng.integers(LENGTH[kind] - WINDOW[kind] + 1)), kind)
            for kind in kinds
        ]
        for clip in rng.integers(len(places["fbank"]), size=reads)
    ]
    before, start = bytes_read(), time.process_time()
    for window in windows:
        for read, location, first, kind in window:
            read(location, first, first + WINDOW[kind])
    rate = reads / (time.process_time() - start)
    share = (bytes_read() - before) / reads / sum(WINDOW_BYTES[kind] for kind in kinds)
    good = rate >= MIN_RATE and share <= MAX_BYTES
    print(f"{title:24s} {rate:7.0f} windows/s, {share:.3f} of their bytes read{'' if good else '  MISSED'}", flush=True)
    return good


def bytes_read() -> int:
    """Bytes that this process has requested from the kernel."""
    return int(Path("/proc/self/io").read_text().split()[1])


if __name__ == "__main__":
    main()
