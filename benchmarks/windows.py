"""Measure what the windows of training clips cost one core: reading them, and making clips of them.

A window is 2 s of a clip: 200 Fbank frames, 50 faces of 128 x 128, or both, or 32,000 samples. Clips are slightly
longer, all with the same values. After writing, the arks are in the page cache if there is enough memory: 11 GB for
10,000 clips.

First, random windows are read, and the bytes that are read are counted. Then batches of 32 augmented clips are made
with the settings of presets, as a training on one core receives them: with speed, noise, reverberation, dither and
masks for the preset small, the same without speed for the preset mini, and pictures for the preset paper. All times are
of the processor; the fastest of five rounds counts. The allocator is set as in steps/train.sh.

Usage: python benchmarks/windows.py [--clips 10000] [--reads 20000] [--dir FOLDER]
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from avsv.audio.augment import NoiseReverb
from avsv.audio.config import FbankConfig
from avsv.audio.wav import float_to_int16, read_window, wav_bytes
from avsv.data.clips import TrainingClips
from avsv.data.inputs import Inputs
from avsv.data.lists import PackedStrings, UtteranceTable
from avsv.io.ark import ArkWriter, read_rows
from avsv.io.lists import read_list, write_list
from avsv.model.presets import Configurator
from avsv.video.config import FaceFormat

ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "4294967296"}

RATE = 16000
SHARD = 1000  # clips in an ark
FRAMES, BINS = 260, 80
FACES, SIDE = 60, 128
WINDOW = {"fbank": 200, "faces": 50, "audio": 2 * RATE}
WINDOW_BYTES = {"fbank": 200 * BINS * 2, "faces": 50 * SIDE * SIDE, "audio": 2 * RATE * 2}
LENGTH = {"fbank": FRAMES, "faces": FACES, "audio": round(2.6 * RATE)}
MIN_RATE, MAX_BYTES = 2000, 1.2
BATCH, BATCHES, ROUNDS = 32, 10, 5
# Milliseconds of a core that an augmented window may cost.
MAX_COST = {"A": 1.5, "V": 4.0}
NOISES = 30  # recordings of each type, of a minute; as many room responses, of half a second


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
        torch.set_num_threads(1)
        noise = write_noise(Path(name))
        for mode, preset, system in (("A", "small", "ecapa"), ("A", "mini", "ecapa"), ("V", "paper", "iresnet18")):
            good.append(measure_clips(mode, preset, system, places, noise))
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


def write_noise(folder: Path) -> NoiseReverb:
    """Write noise of three types and room responses."""
    rng = np.random.default_rng(0)
    lists: dict[str, dict[str, object]] = {"noise/wav.scp": {}, "noise/utt2type": {}, "rooms/wav.scp": {}}
    for number, kind in enumerate(("noise", "music", "speech") * NOISES):
        key = f"{kind}-{number}"
        lists["noise/wav.scp"][key], lists["noise/utt2type"][key] = folder / f"{key}.wav", kind
        write_wav(folder / f"{key}.wav", 0.1 * rng.standard_normal(60 * RATE))
    for number in range(NOISES):
        lists["rooms/wav.scp"][f"room{number}"] = folder / f"room{number}.wav"
        write_wav(
            folder / f"room{number}.wav", 0.3 * rng.standard_normal(RATE // 2) * np.exp(-np.arange(RATE // 2) / 1600)
        )
    for name, content in lists.items():
        (folder / name).parent.mkdir(exist_ok=True)
        write_list(folder / name, content)
    return NoiseReverb(folder / "noise", folder / "rooms")


def write_wav(path: Path, waveform: np.ndarray) -> None:
    """Write samples in [-1, 1] as a wav file."""
    path.write_bytes(wav_bytes(float_to_int16(waveform.astype(np.float32)), RATE))


def measure_clips(mode: str, preset: str, system: str, places: dict[str, list[str]], noise: NoiseReverb) -> bool:
    """Make batches of clips and print the cost of one; return whether it is within the limit."""
    config = Configurator(Path("conf"), preset, []).configs([system])[system].data
    keys = PackedStrings(f"id{number:05d}-{number:010d}" for number in range(len(places["audio"])))
    audio_frames = np.full(len(keys), FbankConfig().num_frames(LENGTH["audio"]), dtype=np.int32)
    video_frames = np.full(len(keys), FACES, dtype=np.int32)
    columns = PackedStrings(places["audio"]), audio_frames, PackedStrings(places["faces"]), video_frames
    table = UtteranceTable(Path(), keys, keys, *columns)
    inputs = Inputs(FbankConfig()) if mode == "A" else Inputs(video=FaceFormat(1, SIDE, SIDE, 25.0))
    clips = TrainingClips(table, np.arange(len(keys)), config, inputs, 0, noise if mode == "A" else None)
    rng = np.random.default_rng(0)
    batches = [[(0, int(index)) for index in rng.integers(len(keys), size=BATCH)] for _ in range(BATCHES)]
    costs = []
    for _ in range(ROUNDS):
        start = time.process_time()
        for batch in batches:
            clips[batch].prepare("cpu")
        costs.append(1000 * (time.process_time() - start) / (BATCHES * BATCH))
    cost = min(costs)
    good, what = cost <= MAX_COST[mode], "voice" if mode == "A" else f"{FACES - 10} faces"
    print(f"augmented {what}, preset {preset}: {cost:.2f} ms a clip{'' if good else '  MISSED'}", flush=True)
    return good


def bytes_read() -> int:
    """Bytes that this process has requested from the kernel."""
    return int(Path("/proc/self/io").read_text().split()[1])


if __name__ == "__main__":
    # The allocator reads its settings when a program starts.
    if not ALLOCATOR.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ALLOCATOR})
    main()
