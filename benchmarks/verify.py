"""Compare 'avsv verify' with the bare cost of decoding, detecting and running the networks.

Start-up is that of the program to a loaded model, in a process of its own, with the imports that it needs, but neither
a detector nor a clip. Then one process verifies pairs of clips, and does only what no verification can leave out:
decode audio and video, look for faces, compute the features, and run the networks and the fusion. Both run in turns
over the same clips. Processor time counts, so that other load on the machine counts little, and the least of the
rounds; for start-up the time on the clock is printed too.

Usage: python benchmarks/verify.py MODEL CLIP CLIP... [--detector yunet --detector-weights FOLDER] [--rounds 5]
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

import avsv
from avsv.verification.model import Model
from avsv.video.detect import open_detector

MOST_START, MOST_RATIO = 3.0, 1.2


def main() -> None:
    """Measure, print, and exit with status 1 if a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--detector")
    parser.add_argument("--detector-weights")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    start, clock = (min(times) for times in zip(*(start_up(args) for _ in range(args.rounds)), strict=True))
    print(f"start-up: {start:.2f} s of the processor (at most {MOST_START:g}), {clock:.2f} s on the clock")
    model = avsv.load(args.model, detector=args.detector, detector_weights=args.detector_weights)
    pairs = list(zip(args.clips, [*args.clips[1:], args.clips[0]], strict=True))

    def verify() -> None:
        for one, other in pairs:
            model.verify(one, other)

    one_clip = Bare(model, pairs[0])

    def bare() -> None:
        for pair in pairs:
            for clip in pair:
                one_clip(clip)

    verified, least = fastest([verify, bare], args.rounds)
    count = 2 * len(pairs)
    print(
        f"per clip: {1000 * verified / count:.0f} ms of the processor, bare {1000 * least / count:.0f} ms:"
        f" {verified / least:.2f} times (at most {MOST_RATIO:g})"
    )
    raise SystemExit(start > MOST_START or verified > MOST_RATIO * least)


def start_up(args: argparse.Namespace) -> tuple[float, float]:
    """Seconds from the start of the program to a loaded model, of the processor and on the clock."""
    options = {"detector": args.detector, "detector_weights": args.detector_weights}
    code = "import sys, avsv, avsv.cli.verify; avsv.load(sys.argv[1], **eval(sys.argv[2]))"
    begin, before = time.perf_counter(), os.times()
    subprocess.run([sys.executable, "-c", code, args.model, repr(options)], check=True)
    after = os.times()
    used = after.children_user - before.children_user + after.children_system - before.children_system
    return used, time.perf_counter() - begin


class Bare:
    """What no verification can leave out: decode, detect, compute features, run the networks; no check and no score.

    Args:
        model: whose networks run, on inputs of the sizes that the clips have.
        pair: one of the pairs of clips, whose face crops stand for those of all.
    """

    def __init__(self, model: Model, pair: tuple[Path, Path]) -> None:
        self.model, self.form = model, model.package.faces
        self.detect = open_detector(self.form) if self.form and self.form.detector != "none" else None
        self.readings = model.read_pair(*pair)

    def __call__(self, clip: Path) -> None:
        """The work for one clip."""
        model = self.model
        if "A" in model.embedder.letters:
            model.reader.hear(decode_audio(clip, model.package.inputs.audio.sample_rate))
        if "V" in model.embedder.letters:
            with av.open(str(clip)) as container:
                for frame in container.decode(video=0):
                    # Frames are shrunk for detection where their longer side exceeds this.
                    scale = min(1.0, self.form.detect_side / max(frame.width, frame.height))
                    size = round(frame.width * scale), round(frame.height * scale)
                    picture = frame.reformat(*size, format="rgb24").to_ndarray()
                    if self.detect is not None:
                        self.detect(picture, None)
        model.raw_embeddings(self.readings[0], model.embedder.modes)


def decode_audio(clip: Path, rate: int) -> NDArray[np.float32]:
    """The samples of a clip as one channel."""
    resampler = av.AudioResampler("flt", "mono", rate)
    with av.open(str(clip)) as container:
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    return np.concatenate([part.to_ndarray()[0] for part in frames]).clip(-1, 1)


def fastest(functions: list[Callable[[], None]], rounds: int) -> list[float]:
    """The least processor time of each function over rounds in which all run in turns."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(rounds):
        for function, taken in zip(functions, times, strict=True):
            start = time.process_time()
            function()
            taken.append(time.process_time() - start)
    return [min(taken) for taken in times]


if __name__ == "__main__":
    main()
