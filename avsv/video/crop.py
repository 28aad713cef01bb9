"""From a clip of ``video.scp`` to the rows of its face crops."""

import numpy as np

from avsv.errors import DataError
from avsv.video.config import FacesConfig
from avsv.video.decode import PictureConverter, VideoSource, centre_crop, upright_size, whole_picture
from avsv.video.detect import Face, open_detector
from avsv.video.track import align_transform, box_transform, follow_face, interpolate, warp


class FaceCropper:
    """Make the face crops of clips, one after the other.

    Without a detector a crop is the central part of the picture, resized; with one it is cut out around the face that
    is followed through the clip, or aligned by its landmarks.

    Args:
        config: see :class:`avsv.video.config.FacesConfig`.

    Raises:
        DataError: the detector cannot be loaded; or, by a call, the clip cannot be used.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for number in range(1, 4):
        ...         _ = Path(folder, f"{number}.ppm").write_bytes(b"P6 2 2 255\\n" + bytes([255, 0, 0]) * 4)
        ...     FaceCropper(FacesConfig(height=8, width=8))(folder)[:, 0].tolist()
        [76, 76, 76]
    """

    def __init__(self, config: FacesConfig) -> None:
        self.config = config
        self._detect = None
        if config.detector == "none":
            self._convert = PictureConverter(config.channels, centre_crop(config.width, config.height))
            return
        self._detect = open_detector(config)
        self._convert = PictureConverter(config.channels, whole_picture())
        self._convert_small = PictureConverter(3, whole_picture(config.detect_side))

    def __call__(self, location: str) -> np.ndarray:
        """The crops of one clip.

        Args:
            location: as in ``video.scp``, see :class:`avsv.video.decode.VideoSource`.

        Returns:
            (T, channels * height * width) uint8; with three channels all red comes first, then green, then blue.

        Raises:
            DataError: the clip cannot be decoded, or has too few faces.
        """
        source = VideoSource(location, self.config.source_fps)
        matrices = None if self._detect is None else self._find_face(source)
        rows: list[np.ndarray] = []
        for frame, count in source.frames(self.config.fps):
            picture = self._convert(frame.picture)
            if matrices is None:
                rows.extend([_row(picture)] * count)
                continue
            for matrix in matrices[len(rows) : len(rows) + count]:
                rows.append(_row(warp(picture, matrix, self.config.width, self.config.height)))
        return np.stack(rows)

    def _find_face(self, source: VideoSource) -> list[np.ndarray]:
        """The transform from source to crop for every frame.

        The clip is decoded once to find the face and once more to cut it out: a clip of large pictures would not fit
        into memory, and detection costs many times what decoding does.
        """
        looked: list[int] = []
        found: list[list[Face]] = []
        total = 0
        for frame, count in source.frames(self.config.fps):
            # The first frame of this run that is a multiple of detect_every, if there is one.
            number = -(-total // self.config.detect_every) * self.config.detect_every
            total += count
            if number >= total:
                continue
            small = self._convert_small(frame.picture)
            width, height = upright_size(frame.picture)
            scale = np.array([width / small.shape[1], height / small.shape[0]])
            faces = self._detect(small, frame.path)
            looked.append(number)
            found.append([_scaled(face, scale) for face in faces])
        chosen = follow_face(found, width, height, self.config.select)
        known = np.array([number for number, face in zip(looked, chosen, strict=True) if face is not None])
        if len(known) == 0 or len(known) < self.config.min_face_share * len(looked):
            raise DataError(
                f"{source.location}: faces in {len(known)} of {len(looked)} frames,"
                f" fewer than min_face_share {self.config.min_face_share:g}"
            )
        faces = [face for face in chosen if face is not None]
        if self.config.align:
            points = np.array([face.points.ravel() for face in faces])
            filled = interpolate(points, known, total)
            return [align_transform(row.reshape(-1, 2), self.config) for row in filled]
        filled = interpolate(np.array([face.box for face in faces]), known, total)
        return [box_transform(box, self.config) for box in filled]


def _scaled(face: Face, scale: np.ndarray) -> Face:
    return Face(face.box * np.tile(scale, 2), None if face.points is None else face.points * scale)


def _row(picture: np.ndarray) -> np.ndarray:
    """(height, width) or (height, width, 3) as one row, colours first."""
    return picture.reshape(-1) if picture.ndim == 2 else picture.transpose(2, 0, 1).reshape(-1)
