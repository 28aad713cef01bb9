"""Small data directories with features and face crops, made without any step, and small systems to train on them."""

from pathlib import Path

import numpy as np
import soundfile
import torch
import yaml

from avsv.audio.config import FbankConfig
from avsv.audio.fbank import Fbank
from avsv.io.ark import ArkWriter
from avsv.io.lists import write_list
from avsv.model.config import SystemConfig, parse_config
from avsv.model.saved import TrainedSystem
from avsv.video.config import FaceFormat

FBANK = FbankConfig(num_mel_bins=20)
FACES = FaceFormat(channels=1, height=16, width=16, fps=25.0)

AUDIO = {
    "name": "ecapa_tdnn",
    "feature_dim": 20,
    "channels": 16,
    "aggregate_channels": 32,
    "embedding_dim": 16,
    "res2_scale": [4, 4, 4],
    "se_channels": 8,
    "attention_channels": 8,
}
VISUAL = {
    "name": "iresnet",
    "image_height": 16,
    "image_width": 16,
    "channels": 4,
    "frame_dim": 16,
    "embedding_dim": 16,
    "attention_channels": 8,
}


def trained_weights(folder: Path) -> dict[str, torch.Tensor]:
    """All weights of the trained system in a folder."""
    trained = TrainedSystem.load(folder / "final.pt")
    return trained.embedder | trained.objective


def make_data_dir(
    folder: Path,
    speakers: int = 6,
    utterances: int = 4,
    seconds: tuple[float, float] = (0.8, 1.4),
    seed: int = 0,
    without_audio: tuple[str, ...] = (),
    without_video: tuple[str, ...] = (),
) -> Path:
    """Write a data directory of speakers that differ in the tones of their bursts and in the pattern of their pictures.

    Utterances are named s0-u0, s0-u1, ... and are so long that audio and video end together.
    """
    folder.mkdir(parents=True)
    fbank = Fbank(**FBANK.to_dict())
    lists: dict[str, dict[str, object]] = {
        name: {} for name in ("utt2spk", "wav.scp", "audio.scp", "utt2num_frames", "utt2num_faces", "utt2dur")
    }
    with ArkWriter(folder / "feats", "fbank") as feats, ArkWriter(folder / "faces", "pixels") as faces:
        for speaker in range(speakers):
            identity = np.random.default_rng([7, speaker])
            tones = identity.uniform(300, 6000, size=3)
            pattern = identity.uniform(60, 190, size=(16, 16))
            for number in range(utterances):
                key = f"s{speaker}-u{number}"
                rng = np.random.default_rng([seed, speaker, number])
                duration = round(rng.uniform(*seconds) * 25) / 25
                lists["utt2spk"][key] = f"s{speaker}"
                lists["utt2dur"][key] = duration
                if key not in without_audio:
                    time = np.arange(round(duration * 16000)) / 16000
                    bursts = np.sin(2 * np.pi * 4 * time + rng.uniform(0, 6)) > 0
                    wave = sum(0.1 * np.sin(2 * np.pi * tone * time) for tone in tones) * bursts
                    wave = (wave + 0.01 * rng.standard_normal(len(time))).astype(np.float32)
                    path = folder / f"{key}.wav"
                    soundfile.write(path, wave, 16000, subtype="PCM_16")
                    wave, _ = soundfile.read(path, dtype="float32")
                    matrix = fbank(torch.from_numpy(wave)).numpy()
                    feats.write(key, matrix)
                    lists["wav.scp"][key] = lists["audio.scp"][key] = path
                    lists["utt2num_frames"][key] = len(matrix)
                if key not in without_video:
                    count = round(duration * 25)
                    frames = pattern + rng.normal(0, 25) + rng.normal(0, 20, size=(count, 16, 16))
                    faces.write(key, frames.clip(0, 255).astype(np.uint8).reshape(count, -1))
                    lists["utt2num_faces"][key] = count
    for name, content in lists.items():
        if content:
            write_list(folder / name, content)
    FACES.write(folder / "faces.conf")
    (folder / "fbank.yaml").write_text(yaml.safe_dump(FBANK.to_dict()))
    return folder


def make_trials(folder: Path, name: str = "dev") -> None:
    """Write trials/NAME of a data directory: all pairs of its utterances."""
    pairs = [line.split() for line in (folder / "utt2spk").read_text().splitlines()]
    (folder / "trials").mkdir(exist_ok=True)
    lines = [
        f"{a} {b} {'target' if speaker == other else 'nontarget'}\n"
        for row, (a, speaker) in enumerate(pairs)
        for b, other in pairs[row + 1 :]
    ]
    (folder / "trials" / name).write_text("".join(lines))


def make_noise(folder: Path) -> tuple[Path, Path]:
    """Write data directories of noises and room responses."""
    rng = np.random.default_rng(3)
    noise, rirs = folder / "musan", folder / "rirs"
    for directory in (noise, rirs):
        directory.mkdir(parents=True)
    sources, types = {}, {}
    for kind in ("noise", "music", "speech"):
        for number in range(2):
            sources[f"{kind}{number}"] = noise / f"{kind}{number}.wav"
            types[f"{kind}{number}"] = kind
            soundfile.write(noise / f"{kind}{number}.wav", 0.1 * rng.standard_normal(24000), 16000, subtype="PCM_16")
    write_list(noise / "wav.scp", sources)
    write_list(noise / "utt2type", types)
    response = np.exp(-np.arange(800) / 100) * rng.standard_normal(800)
    soundfile.write(rirs / "room.wav", 0.3 * response / np.abs(response).max(), 16000, subtype="PCM_16")
    write_list(rirs / "wav.scp", {"room": rirs / "room.wav"})
    return noise, rirs


def mapping(modalities: str = "A", **sections: dict | None) -> dict:
    """The configuration of a small system as a mapping: "A", "V" or "AV".

    ``sections`` are merged over it; a section with a name replaces it, and None removes it.
    """
    result: dict = {
        "loss": {"classifier": {"name": "aam_softmax", "margin": 0.2, "scale": 15}},
        "data": {"window": 0.6, "video_frames": 3, "noise_reverb": False, "spec_augment": None, "video_augment": False},
        "train": {
            "epochs": 2,
            "batch_size": 8,
            "optimizer": {"name": "adamw", "lr": 0.005},
            "schedule": {"name": "constant"},
            "num_threads": 1,
        },
        "embed": {"batch_size": 4, "video_frames": 3},
    }
    if "A" in modalities:
        result["audio"] = AUDIO
    if "V" in modalities:
        result["visual"] = VISUAL
    if modalities == "AV":
        result["fusion"] = {"name": "ssa", "dim": 16}
    for name, section in sections.items():
        if section is None:
            result.pop(name, None)
        else:
            result[name] = section if "name" in section else {**result.get(name, {}), **section}
    return result


def config(modalities: str = "A", **sections: dict) -> SystemConfig:
    """:func:`mapping`, checked."""
    return parse_config(mapping(modalities, **sections), "tests")


def write_config(path: Path, modalities: str = "A", **sections: dict) -> Path:
    """:func:`mapping` as a file."""
    path.write_text(yaml.safe_dump(mapping(modalities, **sections)))
    return path
