"""Face detectors and landmarks from the package face-alignment, with weights from a local folder."""

import contextlib
import tempfile
import urllib.error
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np

from avsv.errors import DataError
from avsv.video.config import FacesConfig

# The weight files of each detector under the names of the package, and the argument of its class for each file.
_WEIGHTS = {
    "yunet": {"path_to_detector": "face_detection_yunet_2023mar.onnx"},
    "blazeface": {"path_to_detector": "blazeface.pth", "path_to_anchor": "anchors.npy"},
    "blazeface_back": {"path_to_detector": "blazefaceback.pth", "path_to_anchor": "anchorsback.npy"},
    "sfd": {"path_to_detector": "s3fd-619a316812.pth"},
    "retinaface": {"path_to_detector": "retinaface_mobilenet0.25.pth"},
    "scrfd": {"path_to_detector": "scrfd_2.5g_bnkps.onnx"},
    "dlib": {},
    "folder": {},
}
_LANDMARK_WEIGHTS = "2DFAN4-11f355bf06.pth.tar"
# In the 68 points: the eyes (six points each, the one on the left of the picture first), nose tip, mouth corners.
_FIVE_OF_68 = (range(36, 42), range(42, 48), (30,), (48,), (54,))


class Face(NamedTuple):
    """A face in a picture, in pixels; x to the right, y down, the upper left corner of the picture at 0.

    ``box`` is (4,): left, top, right, bottom. ``points``, if known, is (5, 2): the eye on the left of the picture, the
    one on the right, nose tip, left and right mouth corner; or (4, 2) with the center of the mouth instead of its
    corners.
    """

    box: np.ndarray
    points: np.ndarray | None = None


# Maps a picture (height, width, 3), red-green-blue, and its file (None if it has no file of its own) to its faces.
Detect = Callable[[np.ndarray, str | None], list[Face]]


def open_detector(config: FacesConfig) -> Detect:
    """Load the detector that the configuration names and, with ``align``, the network that finds landmarks.

    YuNet and BlazeFace find landmarks themselves; the other detectors need the 68-point network of Bulat and
    Tzimiropoulos 2017, arXiv:1703.07332.

    Raises:
        DataError: a package or weights are missing.
    """
    name = config.detector
    weights = _find_weights(config)
    detector = _build(name, weights)
    if name in _LANDMARKS:
        return _LANDMARKS[name](detector)
    detect = _boxes_only(name, detector)
    return _with_landmarks(config, weights, detect) if config.align else detect


def weight_files(config: FacesConfig) -> list[str]:
    """Names of the weight files of the configuration's detector and, with ``align``, of the landmark network.

    Example:
        >>> weight_files(FacesConfig(detector="sfd", align=True))
        ['s3fd-619a316812.pth', '2DFAN4-11f355bf06.pth.tar']
    """
    if config.detector == "none":
        return []
    files = list(_WEIGHTS[config.detector].values())
    return [*files, _LANDMARK_WEIGHTS] if config.align and config.detector not in _LANDMARKS else files


def _find_weights(config: FacesConfig) -> dict[str, str]:
    if not config.detector_weights:
        return {}
    folder = Path(config.detector_weights)
    if not folder.is_dir():
        raise DataError(f"detector_weights: {folder}: no such folder")
    paths = {argument: folder / file for argument, file in _WEIGHTS[config.detector].items()}
    for path in paths.values():
        if not path.is_file():
            raise DataError(f"{path}: no such file: detector {config.detector} needs these weights in this folder")
    return {argument: str(path) for argument, path in paths.items()}


@contextlib.contextmanager
def _explain(what: str, files: str) -> Iterator[None]:
    """Turn errors of loading a network into a DataError."""
    try:
        yield
    except ImportError as error:
        raise DataError(f"{what}: {error}: install the missing package") from None
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise DataError(
            f"{what}: cannot download the weights ({error}): put {files} into a folder and set detector_weights to it"
        ) from None
    except Exception as error:
        # Unpicklers and network parsers raise errors of any class on a damaged file.
        reason = " ".join(str(error).split())
        raise DataError(f"{what}: cannot load {files}: {type(error).__name__}: {reason}") from error


def _build(name: str, weights: dict[str, str]) -> object:
    with _explain(f"detector {name}", " and ".join(_WEIGHTS[name].values())):
        package = name.removesuffix("_back")
        module = import_module(f"face_alignment.detection.{package}")
        if not hasattr(module, "FaceDetector"):
            # Two subpackages do not export their class, which FaceAlignment looks up there.
            implementation = import_module(f"face_alignment.detection.{package}.{package}_detector")
            module.FaceDetector = getattr(implementation, f"{package.capitalize()}Detector")
        options = {"back_model": True} if name == "blazeface_back" else {}
        if name == "yunet":
            import cv2

            # OpenCV 5 prints a warning about its own work whenever it loads a network.
            cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        return module.FaceDetector("cpu", **weights, **options)


def _yunet(detector: object) -> Detect:
    import cv2

    network = detector.face_detector

    def detect(picture: np.ndarray, _path: str | None) -> list[Face]:
        network.setInputSize((picture.shape[1], picture.shape[0]))
        _, found = network.detect(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        # Columns: left, top, width, height, five points, score.
        if found is None:
            return []
        rows = found.astype(np.float64)
        rows[:, 2:4] += rows[:, :2]
        return [Face(row[:4], row[4:14].reshape(5, 2)) for row in rows]

    return detect


def _blazeface(detector: object) -> Detect:
    from face_alignment.detection.blazeface.utils import resize_and_crop_image

    network = detector.face_detector
    side = 256 if detector.back_model else 128

    def detect(picture: np.ndarray, _path: str | None) -> list[Face]:
        # The network receives the central square of the picture.
        square, shift = resize_and_crop_image(picture, side)
        found = network.predict_on_image(np.ascontiguousarray(square)).numpy().astype(np.float64)
        scale = min(picture.shape[:2])
        # Columns: top, left, bottom, right, six points, score; the points end with the ears.
        boxes = found[:, [1, 0, 3, 2]] * scale + np.tile(shift, 2)
        points = found[:, 4:12].reshape(-1, 4, 2) * scale + np.array(shift)
        return [Face(box, point) for box, point in zip(boxes, points, strict=True)]

    return detect


# Detectors that also find landmarks.
_LANDMARKS = {"yunet": _yunet, "blazeface": _blazeface, "blazeface_back": _blazeface}


def _boxes_only(name: str, detector: object) -> Detect:
    def detect(picture: np.ndarray, path: str | None) -> list[Face]:
        found = _boxes_beside(detector, path) if name == "folder" else detector.detect_from_image(picture)
        return [Face(np.asarray(row[:4], dtype=np.float64)) for row in found]

    return detect


def _boxes_beside(detector: object, path: str | None) -> list | np.ndarray:
    """Boxes found earlier: (faces, 4 or more) in a file with the name of the image and .npy, .t7 or .pth."""
    if path is None:
        raise DataError(
            "detector folder: boxes are read from files next to images: all clips must be folders of images"
        )
    boxes = Path(path).with_suffix(".npy")
    if boxes.is_file():
        # Read here, since the package does not accept arrays.
        try:
            found = np.load(boxes)
        except (ValueError, EOFError) as error:
            raise DataError(f"{boxes}: cannot be read as an array: {error}") from None
        if found.size and (found.ndim != 2 or found.shape[1] < 4):
            raise DataError(f"{boxes}: shape {found.shape}: expected one row of left, top, right, bottom per face")
        return found
    try:
        return detector.detect_from_image(path)
    except FileNotFoundError:
        return []


def _with_landmarks(config: FacesConfig, weights: dict[str, str], detect: Detect) -> Detect:
    import face_alignment
    import torch

    what = "landmarks (align: true)"
    with contextlib.ExitStack() as stack:
        stack.enter_context(_explain(what, _LANDMARK_WEIGHTS))
        if config.detector_weights:
            folder = Path(config.detector_weights).resolve()
            if not (folder / _LANDMARK_WEIGHTS).is_file():
                raise DataError(
                    f"{folder / _LANDMARK_WEIGHTS}: no such file: {what} with detector {config.detector} need it;"
                    " yunet and blazeface find landmarks themselves"
                )
            # The package loads these weights only from the folder of torch.hub.
            hub = stack.enter_context(tempfile.TemporaryDirectory())
            Path(hub, "checkpoints").symlink_to(folder)
            stack.callback(torch.hub.set_dir, torch.hub.get_dir())
            torch.hub.set_dir(hub)
        network = face_alignment.FaceAlignment(
            face_alignment.LandmarksType.TWO_D,
            device="cpu",
            compile=False,
            face_detector=config.detector,
            face_detector_kwargs=weights,
        )

    def detect_with_points(picture: np.ndarray, path: str | None) -> list[Face]:
        faces = detect(picture, path)
        if not faces:
            return []
        found = network.get_landmarks_from_image(picture, detected_faces=[face.box for face in faces])
        points = [np.array([all_points[list(part)].mean(axis=0) for part in _FIVE_OF_68]) for all_points in found]
        return [Face(face.box, five) for face, five in zip(faces, points, strict=True)]

    return detect_with_points
