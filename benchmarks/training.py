"""Measure training: clips per second, the share of the time that waits for data, and the peak memory.

Trains ECAPA-TDNN with 256 and 512 channels and ResNet34 on windows of 2 s, IResNet18 on pictures of 112 x 112, and
soft attention over ECAPA-TDNN with 512 channels and IResNet18, on recordings and pictures that it generates. Each is
measured twice: the step alone, on batches in memory, and the whole loop with the toolkit's own input path from files,
with noise, reverberation and masks. With ``--wespeaker``, ``--speechbrain`` and ``--insightface``, checkouts of these
toolkits, the same networks are trained with their loops too, by the Python of ``--peer-python``, which must have their
dependencies (benchmarks/training_loops.py says what is run).

The trainings of a row work in turns, each in a process of its own that is stopped while it is not its turn, with the
same numbers of torch threads and of loader processes. Steps are compared with the allocator's settings of
steps/train.sh for all. Loops are started as the toolkits start them, avsv with these settings and others without;
``--same-allocator`` gives them to all. Rates are of the median round, by the clock and by processor time (clips per
second of a core); ratios are the median over rounds of avsv's rate over the other's in the same turn. On a machine that
does other work, threads that wait for each other are busy: one thread (``--num-threads 1``) then gives the better
figures of processor time.

Differences that remain: a clip of avsv is clean, reverberated or with noise, music or babble of 3 to 7 voices, each
with probability 0.2; WeSpeaker and SpeechBrain augment 0.8 of the clips with reverberation or one noise. WeSpeaker
reads whole recordings. avsv augments pictures in more ways than insightface, which mirrors them. SpeechBrain has
another ResNet.

Usage: python benchmarks/training.py [--rows ecapa256 ecapa512 resnet34 face audio-visual] [--parts step loop]
           [--rounds 7] [--steps 3] [--batch 64] [--num-threads 2] [--num-workers 2] [--same-allocator] [--dir FOLDER]
           [--wespeaker FOLDER] [--speechbrain FOLDER] [--insightface FOLDER] [--peer-python PYTHON]
"""

import argparse
import csv
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from rounds import Round, Training, exit_on_signals, in_turns
from windows import ALLOCATOR, RATE, write_noise, write_wav

from avsv.audio.config import FbankConfig
from avsv.io.ark import ArkWriter
from avsv.io.lists import read_list, write_list
from avsv.video.config import FaceFormat

LOOPS = Path(__file__).resolve().parent / "training_loops.py"
SECONDS = 7.9  # the mean of VoxCeleb2
RECORDINGS, SPEAKERS = 100, 50
COPIES = 100  # of each recording in the lists: an epoch is longer than the benchmark
SIDE, FPS, FACES = 112, 5.0, 20

ECAPA = {"name": "ecapa_tdnn", "embedding_dim": 192}
IRESNET = {"name": "iresnet", "image_channels": 3, "image_height": SIDE, "image_width": SIDE, "scaling": "half"}
IRESNET |= {"embedding_dim": None, "pooling": "tap"}


class Row(NamedTuple):
    """A network: its title, networks in avsv, size of a batch compared with that of voices, and peers with it."""

    title: str
    networks: dict[str, Any]
    kind: str
    peers: tuple[str, ...]
    settings: dict[str, Any]


ROWS = {
    "ecapa256": Row(
        "ECAPA-TDNN, 256 channels",
        {"audio": {**ECAPA, "channels": 256}},
        "voice",
        ("WeSpeaker", "SpeechBrain"),
        {"network": "ecapa", "channels": 256},
    ),
    "ecapa512": Row(
        "ECAPA-TDNN, 512 channels",
        {"audio": {**ECAPA, "channels": 512}},
        "voice",
        ("WeSpeaker", "SpeechBrain"),
        {"network": "ecapa", "channels": 512},
    ),
    "resnet34": Row(
        "ResNet34",
        {"audio": {"name": "audio_resnet", "depth": 34}},
        "voice",
        ("WeSpeaker",),
        {"network": "resnet34"},
    ),
    "face": Row("IResNet18", {"visual": IRESNET}, "face", ("insightface",), {}),
    "audio-visual": Row(
        "soft attention",
        {"audio": {**ECAPA, "channels": 512}, "visual": IRESNET, "fusion": {"name": "ssa", "dim": 512}},
        "voice",
        (),
        {},
    ),
}
PEER_FILES = {
    "WeSpeaker": "wespeaker/utils/executor.py",
    "SpeechBrain": "recipes/VoxCeleb/SpeakerRec/train_speaker_embeddings.py",
    "insightface": "recognition/arcface_torch/partial_fc_v2.py",
}


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--parts", nargs="+", choices=["step", "loop"], default=["step", "loop"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=3, help="optimizer steps of a round")
    parser.add_argument("--batch", type=int, default=64, help="clips in a step")
    parser.add_argument("--num-threads", type=int, default=2)
    parser.add_argument("--num-workers", type=int, default=2, help="loader processes")
    parser.add_argument("--same-allocator", action="store_true", help="avsv's allocator settings for all loops")
    parser.add_argument("--dir", help="folder for the corpus (default: a temporary one)")
    for name, file in PEER_FILES.items():
        parser.add_argument(f"--{name.lower()}", type=Path, help=f"checkout of {name}, with {file}")
    parser.add_argument("--peer-python", default=sys.executable, help="Python with their dependencies")
    args = parser.parse_args()
    for name, file in PEER_FILES.items():
        checkout = getattr(args, name.lower())
        if checkout and not (checkout / file).is_file():
            parser.error(f"{checkout}: there is no {file}: not a checkout of {name}")
    exit_on_signals()
    with tempfile.TemporaryDirectory(dir=args.dir) as name:
        corpus = Path(name)
        write_corpus(corpus)
        print(
            f"batches of {args.batch}, {args.num_threads} threads, {args.num_workers} loader processes,"
            f" {args.rounds} rounds of {args.steps} steps"
        )
        heads = ("clips/s", "of a core", "waiting", "memory", "avsv: clock", "processor")
        print(f"{'':26s} {'':5s} {'':12s}" + "".join(f"{head:>12s}" for head in heads), flush=True)
        for key in args.rows:
            for part in args.parts:
                measure(ROWS[key], part, corpus, args)


def measure(row: Row, part: str, corpus: Path, args: argparse.Namespace) -> None:
    """Train a network with all toolkits in turns, and print a line for each."""
    trainings = []
    try:
        for toolkit in ("avsv", *row.peers):
            if toolkit == "avsv" or getattr(args, toolkit.lower()):
                trainings.append(start(toolkit, row, part, corpus, args))
        found = in_turns(trainings, args.rounds)
        for training in trainings:
            rounds, ours = found[training.name], found["avsv"]
            show(f"{row.title:26s} {part:5s} {training.name:12s}", rounds, ours, training, args.batch * args.steps)
    finally:
        for training in trainings:
            training.end()


def show(head: str, rounds: list[Round], ours: list[Round], training: Training, clips: int) -> None:
    """Print the rates of a training, and how many times as fast avsv is."""
    wall, busy, waited = (statistics.median(column) for column in zip(*rounds, strict=True))
    figures = f"{clips / wall:12.1f}{clips / busy:12.1f}{waited / wall:12.1%}{training.mebibytes():8.0f} MiB"
    if rounds is not ours:
        pairs = list(zip(rounds, ours, strict=True))
        clock = statistics.median(theirs.wall / own.wall for theirs, own in pairs)
        processor = statistics.median(theirs.busy / own.busy for theirs, own in pairs)
        figures += f"{clock:10.2f} x{processor:10.2f} x"
    print(f"{head}{figures}", flush=True)


def start(toolkit: str, row: Row, part: str, corpus: Path, args: argparse.Namespace) -> Training:
    """Start a training up to its first round."""
    folder = Path(tempfile.mkdtemp(dir=corpus))
    (folder / "exp").mkdir()
    settings = {
        **row.settings,
        "kind": row.kind,
        "batch": args.batch,
        "steps": args.steps,
        "threads": args.num_threads,
        "workers": args.num_workers,
        "in_memory": part == "step",
        "classes": SPEAKERS,
        "side": SIDE,
        "exp": str(folder / "exp"),
    }
    if toolkit == "avsv":
        settings["system"] = str(folder / "system.yaml")
        write_system(folder / "system.yaml", row, args)
    else:
        settings["checkout"] = str(getattr(args, toolkit.lower()).resolve())
    (folder / "settings.json").write_text(json.dumps(settings))
    python = sys.executable if toolkit == "avsv" else args.peer_python
    environment = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": str(args.num_threads)}
    if toolkit == "avsv" or part == "step" or args.same_allocator:
        environment |= ALLOCATOR
    command = [python, str(LOOPS), toolkit, str(corpus), str(folder / "settings.json")]
    return Training(toolkit, command, environment, folder / "log")


def write_system(path: Path, row: Row, args: argparse.Namespace) -> None:
    """Write the configuration of a system, with the settings of training_loops.py."""
    margin, scale = {"voice": (0.2, 32), "face": (0.5, 64)}[row.kind]
    is_heard = "audio" in row.networks
    config = {
        **row.networks,
        "loss": {"classifier": {"name": "aam_softmax", "margin": margin, "scale": scale}},
        "data": {
            "window": 2.0,
            "video_frames": 1,
            "noise_reverb": is_heard,
            "spec_augment": {"time": 5, "frequency": 10} if is_heard else None,
        },
        "train": {
            "epochs": 1000,
            "batch_size": args.batch,
            "optimizer": {"name": "sgd", "lr": 0.001, "momentum": 0.9, "weight_decay": 5e-4},
            "schedule": {"name": "constant"},
            "clip_norm": 5.0 if row.kind == "face" else None,
            "num_threads": args.num_threads,
        },
    }
    path.write_text(yaml.safe_dump(config))


def write_corpus(folder: Path) -> None:
    """Write recordings, clips of faces, noise and room responses, with the lists of all toolkits."""
    rng = np.random.default_rng(0)
    data = folder / "data"
    data.mkdir()
    size = round(SECONDS * RATE)
    with ArkWriter(data / "faces", "pixels") as faces:
        for number in range(RECORDINGS):
            speaker = number % SPEAKERS
            loudness = np.repeat(rng.uniform(0.01, 0.1, size // 1600 + 1), 1600)[:size]
            write_wav(folder / f"{number}.wav", loudness * rng.standard_normal(size))
            frames = pictures(rng)
            faces.write(f"{number:04d}", frames.transpose(0, 3, 1, 2).reshape(FACES, -1))
            write_jpegs(folder / f"pictures/{speaker:03d}", number, frames)
    places = list(read_list(data / "faces.scp").values())
    form = FbankConfig()
    lists: dict[str, dict[str, object]] = {}
    for copy in range(COPIES):
        for number in range(RECORDINGS):
            key = f"id{number % SPEAKERS:03d}-{copy:03d}-{number:04d}"
            for name, value in (
                ("utt2spk", key[:5]),
                ("audio.scp", folder / f"{number}.wav"),
                ("utt2num_frames", form.num_frames(size)),
                ("faces.scp", places[number]),
                ("utt2num_faces", FACES),
            ):
                lists.setdefault(name, {})[key] = value
    for name, content in lists.items():
        write_list(data / name, dict(sorted(content.items())))
    FaceFormat(3, SIDE, SIDE, FPS).write(data / "faces.conf")
    (folder / "fbank.yaml").write_text(yaml.safe_dump(form.to_dict()))
    write_noise(folder)
    write_peer_lists(folder, lists)


def pictures(rng: np.random.Generator) -> np.ndarray:
    """(FACES, SIDE, SIDE, 3) uint8 smooth random pictures with a little noise, the same but for the noise."""
    import cv2

    picture = cv2.resize(rng.uniform(0, 255, (7, 7, 3)), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return (picture + rng.normal(0, 3, (FACES, SIDE, SIDE, 3))).clip(0, 255).astype(np.uint8)


def write_jpegs(folder: Path, number: int, frames: np.ndarray) -> None:
    """Write frames as insightface expects them: JPEG files in a folder of the identity."""
    import cv2

    folder.mkdir(parents=True, exist_ok=True)
    for index, frame in enumerate(frames):
        cv2.imwrite(str(folder / f"{number}-{index}.jpg"), np.ascontiguousarray(frame[:, :, ::-1]))


def write_peer_lists(folder: Path, lists: dict[str, dict[str, object]]) -> None:
    """Write the lists of recordings in the forms of WeSpeaker and SpeechBrain."""
    with (folder / "raw.list").open("w") as raw, (folder / "train.csv").open("w", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(["ID", "duration", "wav", "start", "stop", "spk_id"])
        for key, speaker in lists["utt2spk"].items():
            path = str(lists["audio.scp"][key])
            print(json.dumps({"key": key, "wav": path, "spk": speaker}), file=raw)
            writer.writerow([key, SECONDS, path, 0, round(SECONDS * RATE), speaker])
    for name in ("noise", "rooms"):
        with (folder / f"{name}.csv").open("w", newline="") as table:
            writer = csv.writer(table)
            writer.writerow(["ID", "duration", "wav", "wav_format", "wav_opts"])
            for key, path in read_list(folder / name / "wav.scp").items():
                seconds = (Path(path).stat().st_size - 44) / 2 / RATE
                writer.writerow([key, seconds, path, "wav", ""])


if __name__ == "__main__":
    main()
