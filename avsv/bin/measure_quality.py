"""Measure the quality of the voices and face crops of utterances; a job of ``steps/measure_quality.sh``."""

import argparse
from collections.abc import Iterable
from pathlib import Path

from avsv.audio.config import load_fbank_config
from avsv.bin.command import run_command
from avsv.data.audio_source import Waveforms
from avsv.data.face_source import FaceCrops
from avsv.data.lists import read_utterances
from avsv.data.quality import LISTS, measure_faces, measure_voices
from avsv.io.atomic import write_text
from avsv.io.lists import read_list
from avsv.video.config import FaceFormat


def main() -> None:
    """Measure, and write a list for each modality."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fbank-config", required=True, help="conf/fbank.yaml: the sample rate, and what a frame is")
    parser.add_argument("data", type=Path, help="data directory")
    parser.add_argument("utterances", type=Path, help="list whose lines begin with the utterances to measure")
    parser.add_argument("out", type=Path, help="folder for " + " and ".join(LISTS.values()))
    args = parser.parse_args()

    form = load_fbank_config(args.fbank_config)
    audio = "audio.scp" if (args.data / "audio.scp").is_file() else None
    video = (args.data / "faces.scp").is_file()
    table = read_utterances(args.data, audio, video, only=read_list(args.utterances).keys())
    args.out.mkdir(parents=True, exist_ok=True)
    if audio:
        _write(args.out / LISTS["A"], measure_voices(table, Waveforms(table, form.sample_rate), form))
    if video:
        _write(args.out / LISTS["V"], measure_faces(table, FaceCrops(table, FaceFormat.read(args.data / "faces.conf"))))


def _write(path: Path, measured: Iterable[tuple[str, tuple[float, ...]]]) -> None:
    lines = [f"{key} {' '.join(f'{value:.6g}' for value in values)}\n" for key, values in measured]
    write_text(path, "".join(lines))
    print(f"{path}: {len(lines)} utterances")


if __name__ == "__main__":
    run_command(main)
