"""Compute the log-mel filterbanks of the recordings of one wav.scp."""

import argparse
import time
from pathlib import Path

import torch

from avsv.audio.config import FbankConfig, load_fbank_config, write_settings
from avsv.audio.fbank import Fbank
from avsv.audio.recording import read_codes
from avsv.audio.wav import int16_to_float, is_windowable, wav_bytes
from avsv.bin.command import run_command
from avsv.errors import DataError
from avsv.io.ark import ArkWriter
from avsv.io.atomic import write_text
from avsv.io.command import is_command
from avsv.io.lists import read_list


def make_fbank(
    sources: dict[str, str],
    config: FbankConfig,
    features: ArkWriter,
    audio: ArkWriter | None,
    progress: Path | None,
) -> tuple[dict[str, int], dict[str, str]]:
    """Write the features of every recording, and audio from which windows can be read.

    Args:
        sources: audio source of every utterance.
        config: configuration of reading and of features.
        features: writer of (T, F) matrices.
        audio: writer of 16-bit wav files, or of references to sources that are such files; None for neither.
        progress: file that is updated with "DONE TOTAL".

    Returns:
        The number of frames of every utterance that has features, and the reason for every other utterance.
    """
    fbank = Fbank(**config.to_dict())
    num_frames: dict[str, int] = {}
    failed: dict[str, str] = {}
    shown = time.monotonic()
    for done, (key, source) in enumerate(sources.items()):
        if progress and time.monotonic() - shown > 1:
            write_text(progress, f"{done} {len(sources)}\n")
            shown = time.monotonic()
        try:
            codes = read_codes(source, config)
        except (DataError, OSError) as error:
            failed[key] = " ".join(str(error).split())
            continue
        matrix = fbank(torch.from_numpy(int16_to_float(codes)))
        features.write(key, matrix.numpy())
        num_frames[key] = len(matrix)
        if audio is not None:
            if _is_its_own_window_source(source, config.sample_rate):
                audio.refer(key, source)
            else:
                audio.write_bytes(key, wav_bytes(codes, config.sample_rate))
    if progress:
        write_text(progress, f"{len(sources)} {len(sources)}\n")
    return num_frames, failed


def _is_its_own_window_source(source: str, sample_rate: int) -> bool:
    return not is_command(source) and Path(source).is_file() and is_windowable(source, sample_rate)


def main() -> None:
    """Parse the arguments and compute features."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, help="conf/fbank.yaml")
    parser.add_argument("--audio", metavar="PREFIX", help="also write PREFIX.scp, 16-bit wav for reading windows")
    parser.add_argument("--progress", type=Path, metavar="FILE", help='file to update with "DONE TOTAL"')
    parser.add_argument("wav_scp", help="list of recordings")
    parser.add_argument(
        "prefix", help="writes PREFIX.ark (with settings in PREFIX.conf), .scp, .num_frames and .failed"
    )
    args = parser.parse_args()

    # Several threads would only slow down other jobs.
    torch.set_num_threads(1)
    config = load_fbank_config(args.config)
    sources = read_list(args.wav_scp)
    with torch.inference_mode(), ArkWriter(args.prefix, "fbank") as features:
        if args.audio is None:
            num_frames, failed = make_fbank(sources, config, features, None, args.progress)
        else:
            with ArkWriter(args.audio, "float") as audio:
                num_frames, failed = make_fbank(sources, config, features, audio, args.progress)
    write_settings(config, f"{args.prefix}.ark")
    write_text(f"{args.prefix}.num_frames", "".join(f"{key} {count}\n" for key, count in num_frames.items()))
    write_text(f"{args.prefix}.failed", "".join(f"{key} {reason}\n" for key, reason in failed.items()))
    print(f"features for {len(num_frames)} of {len(sources)} recordings")


if __name__ == "__main__":
    run_command(main)
