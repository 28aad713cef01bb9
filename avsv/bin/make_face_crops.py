"""Make the face crops of the clips of one video.scp."""

import argparse
import time
from pathlib import Path

from avsv.bin.command import run_command
from avsv.errors import DataError
from avsv.io.ark import ArkWriter
from avsv.io.atomic import write_text
from avsv.io.lists import read_list
from avsv.video.config import FacesConfig
from avsv.video.crop import FaceCropper, shows_nothing
from avsv.video.online import write_online


def make_face_crops(
    clips: dict[str, str], config: FacesConfig, faces: ArkWriter, progress: Path | None
) -> tuple[dict[str, int], dict[str, str]]:
    """Write the face crops of every clip.

    Args:
        clips: location of every clip, as in ``video.scp``.
        config: configuration of the crops.
        faces: writer of (T, channels * height * width) pixels, or of records of :mod:`avsv.video.online`.
        progress: file that is updated with "DONE TOTAL".

    Returns:
        The number of crops of every clip that has some, and the reason for every other clip.

    Raises:
        DataError: the detector cannot be loaded.
    """
    cropper = FaceCropper(config)
    num_faces: dict[str, int] = {}
    failed: dict[str, str] = {}
    shown = time.monotonic()
    for done, (key, location) in enumerate(clips.items()):
        if progress and time.monotonic() - shown > 1:
            write_text(progress, f"{done} {len(clips)}\n")
            shown = time.monotonic()
        try:
            if faces.kind == "online":
                count, matrices = cropper.locate(location)
            else:
                rows = cropper(location)
                if shows_nothing(rows, config):
                    raise DataError(f"{location}: all pixels have the same color: nothing was recorded")
        except (DataError, OSError) as error:
            failed[key] = " ".join(str(error).split())
            continue
        if faces.kind == "online":
            write_online(faces, key, location, config, matrices)
            num_faces[key] = count
        else:
            faces.write(key, rows)
            num_faces[key] = len(rows)
    if progress:
        write_text(progress, f"{len(clips)} {len(clips)}\n")
    return num_faces, failed


def read_config(args: argparse.Namespace) -> FacesConfig:
    """Read the configuration file, with the options of the command line replacing its values."""
    return FacesConfig.read(
        args.config,
        detector=args.detector,
        detector_weights=args.detector_weights,
        align={"true": True, "false": False}.get(args.align, args.align),
        select=args.select,
        min_face_share=args.min_face_share,
    )


def main() -> None:
    """Parse the arguments and make the crops."""
    parser = argparse.ArgumentParser(description=__doc__, epilog="Options override the configuration file.")
    parser.add_argument("--config", required=True, help="conf/faces.yaml")
    parser.add_argument("--detector", metavar="NAME")
    parser.add_argument("--detector-weights", metavar="FOLDER")
    parser.add_argument("--align", metavar="true|false")
    parser.add_argument("--select", metavar="largest|central")
    parser.add_argument("--min-face-share", metavar="SHARE")
    parser.add_argument(
        "--online", action="store_true", help="store positions instead of pixels; readers decode the video"
    )
    parser.add_argument("--show-format", action="store_true", help="check the options, print faces.conf and exit")
    parser.add_argument("--progress", type=Path, metavar="FILE", help='file to update with "DONE TOTAL"')
    parser.add_argument("video_scp", nargs="?", help="list of clips")
    parser.add_argument("prefix", nargs="?", help="writes PREFIX.ark (.online), .scp, .num_faces and .failed")
    args = parser.parse_args()
    config = read_config(args)
    if args.show_format:
        print(config.format_text(), end="")
        return
    if args.prefix is None:
        parser.error("a list of clips and a prefix are needed")

    if config.detector != "none":
        import cv2
        import torch

        # Several threads would only slow down other jobs.
        cv2.setNumThreads(1)
        torch.set_num_threads(1)
    clips = read_list(args.video_scp)
    with ArkWriter(args.prefix, "online" if args.online else "pixels") as faces:
        num_faces, failed = make_face_crops(clips, config, faces, args.progress)
    write_text(f"{args.prefix}.num_faces", "".join(f"{key} {count}\n" for key, count in num_faces.items()))
    write_text(f"{args.prefix}.failed", "".join(f"{key} {reason}\n" for key, reason in failed.items()))
    print(f"face crops for {len(num_faces)} of {len(clips)} clips")


if __name__ == "__main__":
    run_command(main)
