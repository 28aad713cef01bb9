"""Face crops of the clips of ``video.scp``."""

from collections.abc import Sequence

import numpy as np

from avsv.errors import DataError
from avsv.io.media import check_memory
from avsv.video.config import FacesConfig
from avsv.video.decode import VideoSource
from avsv.video.detect import Face, open_detector
from avsv.video.picture import PictureConverter, center_crop, whole_picture
from avsv.video.track import align_transform, box_transform, follow_face, interpolate, warp

_TRANSFORM_BYTES = 200  # of the transform of a frame, an array of its own


class FaceCutter:
    """Cut face crops at known positions out of clips.

    Args:
        config: see :class:`avsv.video.config.FacesConfig`.
    """

    def __init__(self, config: FacesConfig) -> None:
        self.config = config
        whole = config.detector != "none"
        self._convert = PictureConverter(
            config.channels, whole_picture() if whole else center_crop(config.width, config.height)
        )

    def __call__(
        self, source: VideoSource, matrices: Sequence[np.ndarray] | None, wanted: np.ndarray | None = None
    ) -> np.ndarray:
        """Cut some or all crops of a clip.

        Args:
            source: the clip.
            matrices: the transform from source to crop for every frame of the clip; None: the center of the picture.
            wanted: (T,) frames to cut, in increasing order; None means all. Decoding stops after the last of them.

        Returns:
            (T, channels * height * width) uint8, with fewer rows if the clip ends earlier. With three channels, all red
            values come first, then green, then blue.

        Raises:
            DataError: the clip cannot be decoded.
        """
        first, last = (0, None) if wanted is None else (int(wanted[0]), int(wanted[-1]) + 1)
        rows: list[np.ndarray] = []
        at = first
        for frame, count in source.frames(self.config.fps, first, last):
            if wanted is None:
                # A picture may be shown for years, by its time stamps.
                check_memory(source.location, (len(rows) + count) * self.config.row)
                numbers = np.arange(at, at + count)
            else:
                numbers = wanted[np.searchsorted(wanted, at) : np.searchsorted(wanted, at + count)]
            at += count
            if len(numbers) == 0:
                continue
            check_memory(source.location, (len(rows) + len(numbers)) * self.config.row)
            picture = self._convert(frame)
            if matrices is None:
                rows.extend([_row(picture)] * len(numbers))
            else:
                rows.extend(_row(warp(picture, matrices[n], self.config.width, self.config.height)) for n in numbers)
        return np.stack(rows) if rows else np.empty((0, self.config.row), dtype=np.uint8)


class FaceCropper:
    """Make the face crops of clips, one after the other.

    Without a detector, a crop is the central part of the picture, resized. With a detector, it is the region around the
    face that is tracked through the clip, or that face aligned by its landmarks.

    Args:
        config: see :class:`avsv.video.config.FacesConfig`.

    Raises:
        DataError: the detector cannot be loaded; or, on a call, the clip cannot be used.

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
        self._cut = FaceCutter(config)
        self._detect = None
        if config.detector != "none":
            self._detect = open_detector(config)
            self._convert_small = PictureConverter(3, whole_picture(config.detect_side))

    def __call__(self, location: str) -> np.ndarray:
        """Make the crops of one clip.

        Args:
            location: as in ``video.scp``, see :class:`avsv.video.decode.VideoSource`.

        Returns:
            See :meth:`FaceCutter.__call__`.

        Raises:
            DataError: the clip cannot be decoded, or has too few faces.
        """
        source = VideoSource(location, self.config.source_fps)
        return self._cut(source, None if self._detect is None else self._find_face(source))

    def locate(self, location: str) -> tuple[int, list[np.ndarray] | None]:
        """The number of crops of a clip, and the transforms that :class:`FaceCutter` needs.

        Raises:
            DataError: as for a call.
        """
        source = VideoSource(location, self.config.source_fps)
        if self._detect is None:
            return sum(count for _, count in source.frames(self.config.fps)), None
        matrices = self._find_face(source)
        return len(matrices), matrices

    def _find_face(self, source: VideoSource) -> list[np.ndarray]:
        """The transform from source to crop for every crop frame.

        The clip is decoded once to find the face and a second time to crop it: a clip of large pictures would not fit
        into memory, and detection takes many times as long as decoding.
        """
        looked: list[int] = []
        found: list[list[Face]] = []
        total = 0
        for frame, count in source.frames(self.config.fps):
            # The first frame of this run that is a multiple of detect_every, if any.
            number = -(-total // self.config.detect_every) * self.config.detect_every
            total += count
            check_memory(source.location, total * _TRANSFORM_BYTES)
            if number >= total:
                continue
            small = self._convert_small(frame)
            width, height = frame.size
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
    """Flatten (height, width) or (height, width, 3) into one row, plane by plane."""
    return picture.reshape(-1) if picture.ndim == 2 else picture.transpose(2, 0, 1).reshape(-1)


def shows_nothing(rows: np.ndarray, config: FacesConfig) -> bool:
    """Whether all pixels of all crops (T, channels * height * width) have the same color."""
    pixels = rows.reshape(len(rows), config.channels, -1)
    return bool((pixels.min(axis=(0, 2)) == pixels.max(axis=(0, 2))).all())
