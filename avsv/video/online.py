"""Face crops that are not stored but cut out of the video when they are read.

A record contains the clip, the configuration of the crops and, if a detector was used, the position of each crop. It is
stored in ``PREFIX.online`` at the offset that ``faces.scp`` names, as pixels are stored in an ark.
"""

import dataclasses
import functools
import json
import struct
from collections.abc import Sequence

import numpy as np

from avsv.errors import DataError
from avsv.io.ark import ArkWriter
from avsv.io.files import read_at
from avsv.io.place import split_location
from avsv.video.config import FacesConfig
from avsv.video.crop import FaceCutter
from avsv.video.decode import VideoSource

_HEADER = struct.Struct("<8sii")  # magic bytes, length of the description in bytes, number of transforms
_MARK = b"AVSVFACE"
_GUESS = 1024  # bytes; enough for a header and a description


def write_online(
    writer: ArkWriter, key: str, video: str, config: FacesConfig, matrices: Sequence[np.ndarray] | None
) -> None:
    """Write the record of a clip.

    Args:
        writer: a writer of the kind "online".
        key: id of the utterance.
        video: location of the clip in ``video.scp``.
        config: configuration of the crops.
        matrices: transforms as returned by :meth:`avsv.video.crop.FaceCropper.locate`.
    """
    described = json.dumps({"video": video, "config": dataclasses.asdict(config)}).encode()
    places = np.empty((0, 2, 3)) if matrices is None else np.asarray(matrices, dtype="<f8")
    writer.write_bytes(key, _HEADER.pack(_MARK, len(described), len(places)) + described + places.tobytes())


def read_faces(location: str, rows: np.ndarray) -> np.ndarray:
    """Cut some crops out of a clip; the result equals the bytes that an ark would contain.

    Args:
        location: ``PREFIX.online:offset``.
        rows: (T,) frames, in increasing order.

    Returns:
        (T, channels * height * width) uint8.

    Raises:
        DataError: no record at this location, or a clip that cannot be read or has become shorter.
    """
    path, offset = split_location(location)
    head = read_at(path, offset, _GUESS)
    if len(head) < _HEADER.size or head[: len(_MARK)] != _MARK:
        raise DataError(f"{location}: no record of online face crops: run steps/make_face_crops.sh again")
    _, size, places = _HEADER.unpack_from(head)
    start = _HEADER.size + size
    described = json.loads(head[_HEADER.size : start] if start <= len(head) else read_at(path, offset, start)[16:])
    matrices = None
    if places:
        matrices = np.frombuffer(read_at(path, offset + start, 48 * places), dtype="<f8").reshape(-1, 2, 3)
    config = described["config"]
    cut = _cutter(tuple(config.items()))
    faces = cut(VideoSource(described["video"], config["source_fps"]), matrices, rows)
    if len(faces) < len(rows):
        raise DataError(
            f"{described['video']}: shorter than when its frames were counted: run steps/make_face_crops.sh again"
        )
    return faces


@functools.lru_cache(maxsize=8)
def _cutter(config: tuple[tuple[str, object], ...]) -> FaceCutter:
    return FaceCutter(FacesConfig(**dict(config)))
