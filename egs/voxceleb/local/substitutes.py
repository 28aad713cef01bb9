"""Generate substitutes for MUSAN and RIRS_NOISES: synthetic noises and music, babble, simulated rooms.

Babble consists of training clips; development and evaluation data are not used.
"""

import argparse
import hashlib
import shutil
from pathlib import Path

import numpy as np

from avsv.audio.decode import read_audio
from avsv.bin.command import run_command
from avsv.datadir.lists import read_chunks
from avsv.errors import DataError
from avsv.io.atomic import atomic_path
from avsv.io.lists import write_list
from avsv.seeding import generator_for
from local.builtin_corpus import rooms, sounds
from local.builtin_corpus.media import write_wav

SAMPLE_RATE = 16000
SECONDS = 6.0
NOISES, MUSIC, SPEECH, ROOMS = 42, 20, 120, 60


def _write(path: Path, sound: np.ndarray, peak: float) -> str:
    with atomic_path(path) as temporary:
        write_wav(temporary, sound * (peak / max(float(np.abs(sound).max()), 1e-9)), SAMPLE_RATE)
    return str(path)


def speech_clips(data: Path, seed: int) -> list[tuple[str, str]]:
    """Choose some training clips with audio: those with the lowest md5, independently of other files."""

    def draw(line: str) -> bytes:
        return hashlib.md5(f"{seed} {line.split(None, 1)[0]}".encode()).digest()

    lowest: list[str] = []
    for _, lines in read_chunks(data / "wav.scp"):
        lowest = sorted([*lowest, *lines], key=draw)[: 2 * SPEECH]  # twice the number, since some may be damaged
    return [tuple(line.rstrip("\n").split(None, 1)) for line in lowest]


def make_noises(data: Path, folder: Path, seed: int) -> None:
    """Write ``musan/wav.scp`` and ``musan/utt2type``, and the files."""
    sources, types = {}, {}
    size = int(SECONDS * SAMPLE_RATE)
    for kind, count in (("noise", NOISES), ("music", MUSIC)):
        for number in range(count):
            key = f"{kind}-{number:03d}"
            rng = generator_for(seed, "substitutes", key)
            if kind == "noise":
                sound = sounds.noise(sounds.NOISES[number % len(sounds.NOISES)], size, SAMPLE_RATE, rng)
            else:
                sound = sounds.music(size, SAMPLE_RATE, rng)
            sources[key], types[key] = _write(folder / f"{key}.wav", sound, 0.5), kind
    if (data / "train" / "wav.scp").is_file():
        for clip, source in speech_clips(data / "train", seed):
            key = f"speech-{clip}"
            try:
                sound = read_audio(source, SAMPLE_RATE, resample=True, downmix=True)
            except DataError:
                continue  # stage 1 reports what is wrong with it
            sources[key], types[key] = _write(folder / f"{key}.wav", sound, 0.5), "speech"
            if len(sources) == NOISES + MUSIC + SPEECH:
                break
    (data / "musan").mkdir(exist_ok=True)
    write_list(data / "musan" / "wav.scp", sources)
    write_list(data / "musan" / "utt2type", types)


def make_rooms(data: Path, folder: Path, seed: int) -> None:
    """Write ``rirs/wav.scp`` and the files."""
    sources = {}
    for number in range(ROOMS):
        key = f"room-{number:03d}"
        kind = ("smallroom", "mediumroom")[number % 2]
        response = rooms.random_room(kind, SAMPLE_RATE, generator_for(seed, "substitutes", key))
        sources[key] = _write(folder / f"{key}.wav", response, 0.9)
    (data / "rirs").mkdir(exist_ok=True)
    write_list(data / "rirs" / "wav.scp", sources)


def main() -> None:
    """Parse the arguments and generate the substitutes."""
    parser = argparse.ArgumentParser(prog="substitutes", description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-noises", action="store_true")
    parser.add_argument("--no-rooms", action="store_true")
    parser.add_argument("data", type=Path, help="data folder with train/wav.scp")
    options = parser.parse_args()
    folder = options.data / "substitutes"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if not options.no_noises:
        make_noises(options.data, folder, options.seed)
    if not options.no_rooms:
        make_rooms(options.data, folder, options.seed)


if __name__ == "__main__":
    run_command(main)
