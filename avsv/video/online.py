"""Face crops that are not stored but cut out of the video when they are read: where they are, and reading them.

A record says which clip they are of, how they are made and, where a detector was used, the place of each. It stands in
``PREFIX.online``, at the offset that ``faces.scp`` names, as pixels stand in an ark.
"""

import dataclasses
import functools
import json
import struct
from collections.abc import Sequence

import numpy as np

from avsv.errors import DataError
from avsv.io.ark import ArkWriter, split_location
from avsv.io.files import read_at
from avsv.video.config import FacesConfig
from avsv.video.crop import FaceCutter
from avsv.video.decode import VideoSource

_HEADER = struct.Struct("<8sii")  # a mark, the bytes of the description, the number of transforms
_MARK = b"AVSVFACE"
_GUESS = 1024  # bytes that hold a header and a description


def write_online(
    writer: ArkWriter, key: str, video: str, config: FacesConfig, matrices: Sequence[np.ndarray] | None
) -> None:
    """Write the record of a clip.

    Args:
        writer: of the kind "online".
        key: the utterance.
        video: its location in ``video.scp``.
        config: how the crops are made.
        matrices: as :meth:`avsv.video.crop.FaceCropper.locate` returns them.
    """
    described = json.dumps({"video": video, "config": dataclasses.asdict(config)}).encode()
    places = np.empty((0, 2, 3)) if matrices is None else np.asarray(matrices, dtype="<f8")
    writer.write_bytes(key, _HEADER.pack(_MARK, len(described), len(places)) + described + places.tobytes())


def read_faces(location: str, rows: np.ndarray) -> np.ndarray:
    """Cut some crops out of a clip: the bytes that an ark would hold.

    Args:
        location: ``PREFIX.online:offset``.
        rows: (T,) frames, in increasing order.

    Returns:
        (T, channels * height * width) uint8.

    Raises:
        DataError: no record there, a clip that cannot be read or has become shorter.
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
