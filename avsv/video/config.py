"""The settings of ``conf/faces.yaml`` and of ``faces.conf`` in data directories. This module does not import torch."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from avsv.config.strict import read_dataclass, read_yaml
from avsv.errors import DataError
from avsv.io.atomic import write_text

Detector = Literal["none", "yunet", "blazeface", "blazeface_back", "sfd", "retinaface", "scrfd", "dlib", "folder"]
Selection = Literal["largest", "central"]


@dataclass(frozen=True)
class FaceFormat:
    """The form of all face crops of a data directory.

    Args:
        channels: 1 for gray, 3 for red, green and blue.
        height: height in pixels.
        width: width in pixels.
        fps: frames per second.

    Raises:
        ValueError: a value outside its range.

    Example:
        >>> FaceFormat(channels=3, height=112, width=112, fps=2.0).row
        37632
    """

    channels: int = 1
    height: int = 128
    width: int = 128
    fps: float = 25.0

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise ValueError(f"channels: {self.channels}: choose 1 for gray or 3 for color")
        for name in ("height", "width"):
            if not 8 <= getattr(self, name) <= 1024:
                raise ValueError(f"{name}: {getattr(self, name)}: must be 8 to 1024 pixels")
        _check_rate("fps", self.fps)

    @property
    def row(self) -> int:
        """Bytes of one frame, which is one row in the ark: channels, then lines, then columns."""
        return self.channels * self.height * self.width

    @classmethod
    def read(cls, path: str | Path) -> "FaceFormat":
        """Read ``faces.conf``: a :class:`FacesConfig` where it says how the crops were made.

        Raises:
            DataError: no such file, or something else in it.
        """
        return cls.from_settings(read_yaml(path), str(path))

    @staticmethod
    def from_settings(values: Mapping[str, object], where: str) -> "FaceFormat":
        """The inverse of :meth:`settings`, or its keys as a file has them; ``where`` begins error messages."""
        if not isinstance(values, Mapping):
            raise DataError(f"{where}: expected 'key: value' lines")
        form = {field.name for field in dataclasses.fields(FaceFormat)}
        known = FaceFormat if set(values) <= form else FacesConfig
        return read_dataclass(known, dict(values), where)

    def settings(self) -> dict[str, Any]:
        """All settings as plain values."""
        return dataclasses.asdict(self)

    def difference(self, other: "FaceFormat") -> str | None:
        """In which setting of the crops two differ, as in 'height 32, not 16'; None where all that both know agree.

        Example:
            >>> FaceFormat(height=32).difference(FacesConfig(height=16))
            'height 32, not 16'
            >>> FacesConfig(align=False, detector="yunet").difference(FacesConfig(align=True, detector="yunet"))
            'align False, not True'
        """
        first, second = self._crop_settings(), other._crop_settings()
        names = [name for name in first if name in second and first[name] != second[name]]
        return "; ".join(f"{name} {_shown(first[name])}, not {_shown(second[name])}" for name in names) or None

    def _crop_settings(self) -> dict[str, Any]:
        return self.settings()

    def format_text(self) -> str:
        """The content of ``faces.conf``."""
        return yaml.safe_dump(self.settings(), sort_keys=False)

    def write(self, path: str | Path) -> None:
        """Write ``faces.conf`` atomically."""
        write_text(path, self.format_text())


@dataclass(frozen=True)
class FacesConfig(FaceFormat):
    """How face crops are made: the keys of ``conf/faces.yaml``.

    Args:
        channels, height, width, fps: the form of the crops, see :class:`FaceFormat`.
        source_fps: frame rate of a folder of images that has no file ``fps``.
        detector: "none" if the video already is a face track, otherwise a detector of the package face-alignment.
        detector_weights: folder with the weights of the networks; empty to let the package download them.
        detect_every: detect faces in every n-th crop frame and interpolate in between.
        detect_side: frames whose longer side exceeds this are shrunk to it for detection.
        align: rotate and scale the face by its landmarks to the five-point template instead of cropping along the box.
        select: which of several faces to take: the "largest" or the most "central" one.
        margin: space added on each side of a detected box, as a share of its longer side.
        min_face_share: a clip is dropped if faces are found in less than this share of the examined frames.

    Raises:
        ValueError: a value outside its range, or options that contradict each other.
    """

    source_fps: float = 25.0
    detector: Detector = "none"
    detector_weights: str = ""
    detect_every: int = 1
    detect_side: int = 640
    align: bool = False
    select: Selection = "largest"
    margin: float = 0.2
    min_face_share: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_rate("source_fps", self.source_fps)
        if self.detect_every < 1:
            raise ValueError(f"detect_every: {self.detect_every}: must be at least 1")
        if self.detect_side < 64:
            raise ValueError(f"detect_side: {self.detect_side}: must be at least 64 pixels")
        if self.detector == "none" and self.align:
            raise ValueError("align: landmarks need a detector, and detector is 'none'")
        if not self.margin >= 0:
            raise ValueError(f"margin: {self.margin}: must not be negative")
        if not 0 <= self.min_face_share <= 1:
            raise ValueError(f"min_face_share: {self.min_face_share}: must be 0 to 1")

    def _crop_settings(self) -> dict[str, Any]:
        # Where nothing is detected, the settings of detection change nothing.
        of_detection = {"detect_every", "detect_side", "align", "select", "margin"}
        others = {"source_fps", "detector_weights", "min_face_share"}
        left_out = others | (of_detection if self.detector == "none" else set())
        return {name: value for name, value in self.settings().items() if name not in left_out}

    @classmethod
    def read(cls, path: str | Path, **changes: object) -> "FacesConfig":
        """Read ``conf/faces.yaml``; ``changes`` that are not None replace its values.

        Raises:
            DataError: no such file, an unknown key (the message names the nearest known one), a value of the wrong type
                or range.
        """
        values = {**read_yaml(path), **{name: value for name, value in changes.items() if value is not None}}
        return read_dataclass(FacesConfig, values, str(path))


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _check_rate(name: str, value: float) -> None:
    if not 0 < value <= 1000:
        raise ValueError(f"{name}: {value}: must be above 0 and at most 1000 frames per second")
