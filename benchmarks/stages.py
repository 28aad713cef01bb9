"""Measure the cost of stages for an utterance of average VoxCeleb2 length, for all of VoxCeleb2, and a hundred times.

Prints the processor time of one process after its start, and the bytes written. The clip is generated (224 x 224
pixels, 25 frames per second, H.264; AAC at 16 kHz) unless --wav and --video are given. Networks are those of the preset
paper.

Usage: python benchmarks/stages.py [--utterances 10] [--wav FILE --video FILE]
"""

import argparse
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from avsv.audio.config import load_fbank_config
from avsv.bin.make_face_crops import make_face_crops
from avsv.bin.make_fbank import make_fbank
from avsv.config.sections import DataConfig
from avsv.data.clips import TrainingClips, WholeUtterances
from avsv.data.inputs import Inputs
from avsv.data.lists import UtteranceTable, read_utterances
from avsv.datadir.media import probe
from avsv.embed.extract import embed_batches
from avsv.io.ark import ArkWriter
from avsv.io.lists import write_list
from avsv.model.config import load_config
from avsv.model.embedder import Embedder
from avsv.model.inputs import inputs_of
from avsv.video.config import FacesConfig

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 7.9  # 2,400 hours of 1,092,009 utterances
VOXCELEB2 = 1_092_009


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=10)
    parser.add_argument("--wav", help="recording to use instead of the generated one")
    parser.add_argument("--video", help="its video")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name, torch.inference_mode():
        folder = Path(name)
        wav, video = (args.wav, args.video) if args.wav and args.video else make_clip(folder)
        print(f"{'':37s} {'an utterance':>21s} {'VoxCeleb2':>21s} {'a hundred times':>22s}")
        measure(folder, args.utterances, wav, video)


def make_clip(folder: Path) -> tuple[str, str]:
    """Generate a recording and a video in the form of VoxCeleb2."""
    wav, video = folder / "clip.m4a", folder / "clip.mp4"
    for source, options, path in (
        (f"anoisesrc=color=pink:sample_rate=16000:duration={SECONDS}", ["-c:a", "aac"], wav),
        (f"mandelbrot=size=224x224:rate=25,trim=duration={SECONDS}", ["-pix_fmt", "yuv420p"], video),
    ):
        command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, *options, str(path)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return str(wav), str(video)


def measure(folder: Path, count: int, wav: str, video: str) -> None:
    """Run the work of the stages, and print a line for each."""
    keys = [f"s{number % 2}-u{number}" for number in range(count)]
    wavs, videos = dict.fromkeys(keys, wav), dict.fromkeys(keys, video)
    fbank, faces = load_fbank_config(ROOT / "conf/fbank.yaml"), FacesConfig.read(ROOT / "conf/faces.yaml")

    def probe_all() -> None:
        for key in keys:
            probe("wav.scp", wavs[key])
            probe("video.scp", videos[key])

    def features() -> None:
        with ArkWriter(folder / "feats", "fbank") as arks, ArkWriter(folder / "audio", "float") as audio:
            frames, _ = make_fbank(wavs, fbank, arks, audio, None)
        write_list(folder / "utt2num_frames", frames)

    def crops(kind: str) -> Callable[[], None]:
        def make() -> None:
            with ArkWriter(folder / f"faces_{kind}", kind) as writer:
                counts, _ = make_face_crops(videos, faces, writer, None)
            write_list(folder / "utt2num_faces", counts)

        return make

    report("1 validation", count, probe_all)
    report("2 Fbank and samples", count, features, [folder / "feats.ark", folder / "audio.ark"])
    report("3 face crops, --faces arks", count, crops("pixels"), [folder / "faces_pixels.ark"])
    report("3 face crops, --faces online", count, crops("online"), [folder / "faces_online.online"])

    write_list(folder / "utt2spk", {key: key[:2] for key in keys})
    inputs = Inputs(fbank, faces)
    for kind, title in (("pixels", "--faces arks"), ("online", "--faces online")):
        table = use(folder, kind)
        clips = TrainingClips(table, table.labels(["s0", "s1"]), DataConfig(window=2.0, noise_reverb=False), inputs, 0)
        load(clips, 1)  # first import the modules
        report(f"5 a window to train on, {title}", count, lambda clips=clips: load(clips, count))

    table = use(folder, "pixels")
    for name, mode in (("ecapa", "A"), ("iresnet18", "V")):
        config = load_config(ROOT / f"conf/systems/{name}.yaml")
        whole = WholeUtterances(table, np.zeros(len(table)), config.embed, inputs_of(config, fbank, faces))
        system = Embedder(config)
        work = lambda whole=whole, system=system, mode=mode: list(embed_batches(system, whole, [mode], "cpu"))  # noqa: E731
        report(f"6 an embedding of {name}, on a core", count, work)


def use(folder: Path, kind: str) -> UtteranceTable:
    """Read the data directory with crops of one kind."""
    (folder / "faces.scp").write_bytes((folder / f"faces_{kind}.scp").read_bytes())
    return read_utterances(folder)


def load(clips: TrainingClips, count: int) -> None:
    """Load one window of every utterance."""
    batch = clips[[(0, index) for index in range(count)]]
    if isinstance(batch, Exception):
        raise batch


def report(title: str, count: int, work: Callable[[], object], files: list[Path] | None = None) -> None:
    """Print the cost of some work on ``count`` utterances."""
    start = time.process_time()
    work()
    seconds = (time.process_time() - start) / count
    size = sum(path.stat().st_size for path in files or []) / count
    hours, total = seconds * VOXCELEB2 / 3600, size * VOXCELEB2
    print(
        f"{title:37s} {seconds * 1000:8.1f} ms {size / 1e3:6.0f} kB {hours:8.1f} h {total / 1e9:8.0f} GB"
        f" {hours * 100:9.0f} h {total * 100 / 1e12:6.1f} TB",
        flush=True,
    )


if __name__ == "__main__":
    main()
