"""Compare the speed of filterbanks from files to arks with plain torchaudio on the same audio in memory.

Everything runs in one thread. The programs run in turns, and the fastest round of each counts, so that other load on
the machine affects all of them equally.

Usage: python benchmarks/fbank.py [--utterances 100] [--rounds 5]
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torchaudio.compliance import kaldi

from avsv.audio.config import FbankConfig
from avsv.audio.fbank import Fbank
from avsv.audio.wav import float_to_int16, int16_to_float, wav_bytes
from avsv.bin.make_fbank import make_fbank
from avsv.io.ark import ArkWriter

RATE = 16000


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=100, help="recordings of 4 to 12 s")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        compute(Path(folder), args.utterances, args.rounds)


def compute(folder: Path, utterances: int, rounds: int) -> None:
    """Print the speed of features, from memory and from files to arks."""
    rng = np.random.default_rng(0)
    sources, memory = {}, []
    for number in range(utterances):
        codes = float_to_int16(0.1 * rng.standard_normal(int(RATE * rng.uniform(4, 12))).astype(np.float32))
        path = folder / f"u{number}.wav"
        path.write_bytes(wav_bytes(codes, RATE))
        sources[path.stem] = str(path)
        memory.append(torch.from_numpy(int16_to_float(codes)))
    seconds = sum(map(len, memory)) / RATE
    config, fbank = FbankConfig(), Fbank()

    def bare() -> None:
        for waveform in memory:
            kaldi.fbank(waveform[None] * 32768, num_mel_bins=80, window_type="hamming", sample_frequency=RATE)

    def ours() -> None:
        for waveform in memory:
            fbank(waveform)

    def files_to_arks() -> None:
        with ArkWriter(folder / "fbank", "fbank") as features, ArkWriter(folder / "audio", "float") as audio:
            make_fbank(sources, config, features, audio, None)

    times = fastest([bare, ours, files_to_arks], rounds)
    print(f"{seconds:.0f} s of audio, one thread")
    for name, spent in zip(
        ("torchaudio, in memory", "Fbank, in memory", "make_fbank, wav to arks"), times, strict=True
    ):
        print(f"{name:24s} {seconds / spent:6.0f} x real time, {times[0] / spent:.2f} of plain torchaudio")


def fastest(functions: list[Callable[[], None]], rounds: int) -> list[float]:
    """The shortest time of each function over rounds in which all run in turns."""
    times = [[] for _ in functions]
    for _ in range(rounds):
        for function, taken in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            taken.append(time.perf_counter() - start)
    return [min(taken) for taken in times]


if __name__ == "__main__":
    main()
