"""Write the lists of MUSAN or RIRS_NOISES that augmentation reads."""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

from avsv.bin.command import run_command
from avsv.errors import DataError
from avsv.io.lists import write_list

MUSAN_TYPES = ("music", "noise", "speech")
ROOMS = ("smallroom", "mediumroom")  # as in Kaldi's recipe; the responses of large rooms are long


def wav_files(folder: Path) -> Iterator[str]:
    """Paths of the wav files below a folder."""
    for place, _, files in os.walk(folder.absolute(), followlinks=True):
        yield from (f"{place}/{file}" for file in files if file.endswith(".wav"))


def list_musan(root: Path, out: Path) -> None:
    """Write ``wav.scp`` and ``utt2type``."""
    root = root / "musan" if (root / "musan").is_dir() else root
    sources, types = {}, {}
    for kind in MUSAN_TYPES:
        for path in wav_files(root / kind):
            key = Path(path).stem
            sources[key], types[key] = path, kind
        if kind not in types.values():
            raise DataError(f"{root}/{kind}: no wav files: is --musan-root the folder of MUSAN?")
    write_list(out / "wav.scp", sources)
    write_list(out / "utt2type", types)


def list_rooms(root: Path, out: Path) -> None:
    """Write ``wav.scp`` of the simulated small and medium rooms."""
    root = next((root / name for name in ("RIRS_NOISES", "rirs_noises") if (root / name).is_dir()), root)
    sources = {}
    for kind in ROOMS:
        for path in wav_files(root / "simulated_rirs" / kind):
            sources[f"{kind}-{Path(path).parent.name}-{Path(path).stem}"] = path
    if not sources:
        raise DataError(f"{root}: no wav files in simulated_rirs/: is --rirs-root the folder of RIRS_NOISES?")
    write_list(out / "wav.scp", sources)


def main() -> None:
    """Parse the arguments and write the lists."""
    parser = argparse.ArgumentParser(prog="noises", description=__doc__)
    parser.add_argument("corpus", choices=["musan", "rirs"])
    parser.add_argument("root", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True)
    (list_musan if options.corpus == "musan" else list_rooms)(options.root, options.out)


if __name__ == "__main__":
    run_command(main)
