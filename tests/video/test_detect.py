"""Detectors with real clips and real weights, and messages about missing or damaged weights."""

import sys
import urllib.error
from pathlib import Path

import numpy as np
import pytest
from commands import run
from paths import SHARED
from video_media import ffmpeg, soft_video

from avsv.errors import DataError
from avsv.video.config import FacesConfig
from avsv.video.crop import FaceCropper
from avsv.video.decode import VideoSource
from avsv.video.detect import open_detector
from avsv.video.picture import PictureConverter, whole_picture
from avsv.video.track import TEMPLATE

WEIGHTS = SHARED / "data" / "detectors"


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """As in the job: with several threads, small networks mostly wait if other programs run too."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def talkers() -> list[Path]:
    """Talking heads filmed from the front, one per clip, with the face in the middle third."""
    clips = sorted((SHARED / "data" / "clips").glob("*.mpg"))
    if not clips or not WEIGHTS.is_dir():
        pytest.skip(f"no clips and detector weights in {SHARED / 'data'}")
    return clips


def config(**options) -> FacesConfig:
    return FacesConfig(
        **{"detector": "yunet", "detector_weights": str(WEIGHTS), "height": 112, "width": 112, **options}
    )


@pytest.mark.parametrize("detector", ["yunet", "blazeface", "blazeface_back"])
def test_faces_are_found_in_nearly_all_frames(detector, talkers):
    detect = open_detector(config(detector=detector))
    convert = PictureConverter(3, whole_picture())
    found = total = 0
    for clip in talkers:
        for frame, _ in VideoSource(str(clip)).frames(3):
            picture = convert(frame)
            faces = detect(picture, None)
            total += 1
            if not faces:
                continue
            left, top, right, bottom = faces[0].box
            points = faces[0].points
            eyes, nose, mouth = points[:2], points[2], points[3:]
            upright = eyes[0, 0] < nose[0] < eyes[1, 0] and eyes[:, 1].max() < nose[1] < mouth[:, 1].min()
            inside = (points >= (left, top)).all() and (points <= (right, bottom)).all()
            central = picture.shape[1] / 4 < nose[0] < picture.shape[1] * 3 / 4
            found += bool(upright and inside and central)
    assert total >= 90
    assert found >= 0.95 * total


def test_aligned_faces_have_their_points_on_the_template(talkers):
    detect = open_detector(config())
    for clip in talkers[:4]:
        crops = FaceCropper(config(align=True, channels=3, fps=2))(str(clip)).reshape(-1, 3, 112, 112)
        for crop in crops:
            # A crop with a wide border, so that it contains a whole head.
            picture = np.pad(crop.transpose(1, 2, 0), ((56, 56), (56, 56), (0, 0)), mode="edge")
            faces = detect(picture, None)
            assert faces
            assert np.abs(faces[0].points - 56 - TEMPLATE).mean() < 4


def test_looking_at_every_fifth_frame_gives_nearly_the_same_crops(talkers):
    every, fifth = (FaceCropper(config(detect_every=n))(str(talkers[0])).astype(float) for n in (1, 5))
    assert every.shape == fifth.shape
    assert np.abs(every - fifth).mean() < 3


def test_the_detector_works_on_pictures_shrunk_for_it(talkers):
    full, shrunk = (FaceCropper(config(detect_side=side, fps=5))(str(talkers[0])).astype(float) for side in (640, 240))
    assert np.corrcoef(full.ravel(), shrunk.ravel())[0, 1] > 0.95


def test_a_crop_is_mostly_face(talkers):
    # Without a margin the box is filled by skin, which differs from the studio's wall above and beside the head.
    crop = FaceCropper(config(channels=3, margin=0.0, fps=1))(str(talkers[2]))[0].reshape(3, 112, 112).astype(int)
    red_over_blue = crop[0] - crop[2]
    assert np.median(red_over_blue[30:90, 30:82]) > 15
    wall = FaceCropper(FacesConfig(channels=3, height=112, width=112, fps=1))(str(talkers[2]))[0]
    assert np.median((wall.reshape(3, 112, 112).astype(int)[0] - wall.reshape(3, 112, 112)[2])[:10]) < 0


def test_a_clip_without_faces_is_refused(talkers, tmp_path):
    video = soft_video(tmp_path / "none.mp4")
    with pytest.raises(DataError, match=r"none.mp4: faces in 0 of 25 frames, fewer than min_face_share 0.5"):
        FaceCropper(config())(str(video))


def test_faces_in_part_of_the_clip(talkers, tmp_path):
    video = tmp_path / "half.mp4"
    shown = "color=gray:size=360x288:rate=25:duration=2"
    join = "[0:v]fps=25,trim=end_frame=25,setsar=1[a];[1:v]format=yuv420p,setsar=1[b];[a][b]concat=n=2[v]"
    ffmpeg("-i", talkers[0], "-f", "lavfi", "-i", shown, "-filter_complex", join, "-map", "[v]", video)
    with pytest.raises(DataError, match=r"half.mp4: faces in 25 of 75 frames"):
        FaceCropper(config())(str(video))
    crops = FaceCropper(config(min_face_share=0.3))(str(video))
    assert len(crops) == 75
    assert crops[:25].std() > 20
    assert crops[30:].std() < 2


def boxes_beside(folder: Path, boxes: dict[int, object], frames: int = 5) -> Path:
    """Images of a bright square that moves to the right by 10 pixels per frame, and boxes for some of them."""
    folder.mkdir()
    draw = (
        "color=black:size=160x80:rate=25,geq=lum='if(between(X,20+10*N,39+10*N)*between(Y,20,39),235,16)':cb=128:cr=128"
    )
    ffmpeg("-f", "lavfi", "-i", draw, "-frames:v", frames, folder / "%d.png")
    for number, box in boxes.items():
        np.save(folder / f"{number}.npy", box)
    return folder


def square(number: int) -> np.ndarray:
    """The position of the bright square in image ``number``."""
    return np.array([[10.0 + 10 * number, 20, 30 + 10 * number, 40]])


def follow(folder: Path, **options) -> np.ndarray:
    chosen = {"detector": "folder", "height": 16, "width": 16, "margin": 0.0, **options}
    crops = FaceCropper(FacesConfig(**chosen))(str(folder)).reshape(-1, 16, 16)
    return crops[:, 1:-1, 1:-1]  # at the edge, pixels are mixed with those outside


def test_boxes_beside_images_with_a_gap(tmp_path):
    folder = boxes_beside(tmp_path / "images", {1: square(1), 5: square(5)})
    # Linear motion: interpolated boxes hit the square in every frame.
    assert follow(folder, min_face_share=0.4).min() > 250
    with pytest.raises(DataError, match=r"faces in 2 of 5 frames, fewer than min_face_share 0.5"):
        follow(folder)


def test_boxes_of_several_faces(tmp_path):
    small = np.array([[0.0, 60, 10, 70]])
    folder = boxes_beside(tmp_path / "images", {n: np.vstack([small, square(n)]) for n in range(1, 6)})
    assert follow(folder).min() > 250
    assert follow(folder, select="central").min() > 250


def test_images_with_an_empty_array_have_no_face(tmp_path):
    boxes = {n: square(n) for n in (1, 2, 4)}
    folder = boxes_beside(tmp_path / "images", {**boxes, 3: np.zeros((0, 4)), 5: np.zeros((0, 4))})
    made = follow(folder)
    assert made[:4].min() > 250
    assert made[4].mean() < made[3].mean()


def test_bad_boxes(tmp_path):
    folder = boxes_beside(tmp_path / "images", {1: np.zeros((2, 3))}, frames=1)
    with pytest.raises(
        DataError, match=r"1.npy: shape \(2, 3\): expected one row of left, top, right, bottom per face"
    ):
        follow(folder)
    (folder / "1.npy").write_bytes(b"no array")
    with pytest.raises(DataError, match=r"1.npy: cannot be read as an array"):
        follow(folder)
    with pytest.raises(DataError, match="detector folder: boxes are read from files next to images"):
        follow(soft_video(tmp_path / "clip.mp4"))


def test_the_landmark_network_is_read_from_the_folder(tmp_path, monkeypatch):
    import face_alignment
    import torch
    from face_alignment.models import FAN

    def landmarks(self, picture, detected_faces):
        assert isinstance(self.face_alignment_net, FAN)
        # Point n of the 68 is at (n, 100 + n) from the corner of the box.
        return [np.stack([box[0] + np.arange(68), box[1] + 100 + np.arange(68)], axis=1) for box in detected_faces]

    # Running it once would take longer than all other tests of this file, because a helper is compiled.
    monkeypatch.setattr(face_alignment.FaceAlignment, "get_landmarks_from_image", landmarks)
    before = torch.hub.get_dir()
    torch.save(FAN(4).state_dict(), tmp_path / "2DFAN4-11f355bf06.pth.tar")
    folder = boxes_beside(tmp_path / "images", {1: square(1)}, frames=1)
    detect = open_detector(config(detector="folder", detector_weights=str(tmp_path), align=True))
    (face,) = detect(np.zeros((80, 160, 3), np.uint8), str(folder / "1.png"))
    # Eyes are points 36 to 41 and 42 to 47, the tip of the nose 30, mouth corners 48 and 54 (counted from 0).
    assert face.points.tolist() == [[20 + n, 120 + n] for n in (38.5, 44.5, 30, 48, 54)]
    assert torch.hub.get_dir() == before


MISSING = {
    "no folder": (
        {"detector": "yunet", "detector_weights": "/no/where"},
        "detector_weights: /no/where: no such folder",
    ),
    "no file": (
        {"detector": "sfd", "detector_weights": "."},
        "s3fd-619a316812.pth: no such file: detector sfd needs these weights in this folder",
    ),
    "no landmarks": (
        {"detector": "folder", "detector_weights": ".", "align": True},
        "2DFAN4-11f355bf06.pth.tar: no such file: landmarks .* yunet and blazeface find landmarks themselves",
    ),
}


@pytest.mark.parametrize("case", MISSING)
def test_missing_weights(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options, message = MISSING[case]
    with pytest.raises(DataError, match=message):
        open_detector(FacesConfig(**options))


@pytest.mark.parametrize(
    ("detector", "files"),
    [("yunet", ["face_detection_yunet_2023mar.onnx"]), ("blazeface", ["blazeface.pth", "anchors.npy"])],
)
def test_damaged_weights(detector, files, tmp_path):
    for file in files:
        (tmp_path / file).write_bytes(b"these are no weights")
    with pytest.raises(DataError, match=f"detector {detector}: cannot load {files[0]}"):
        open_detector(FacesConfig(detector=detector, detector_weights=str(tmp_path)))


@pytest.mark.parametrize("detector", ["sfd", "yunet"])
def test_weights_that_cannot_be_downloaded(detector, tmp_path, monkeypatch):
    import face_alignment.utils
    import torch

    def refuse(*_args, **_options):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setattr(face_alignment.utils, "download_url_to_file", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(DataError, match=f"detector {detector}: cannot download .* set detector_weights to it"):
        open_detector(FacesConfig(detector=detector))


@pytest.mark.parametrize(("detector", "package"), [("dlib", "dlib"), ("scrfd", "onnxruntime")])
def test_detectors_whose_package_is_missing(detector, package, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DataError, match=f"detector {detector}: .*{package}"):
        open_detector(FacesConfig(detector=detector))


def test_find_detector(tmp_path):
    """A preset that aligns faces finds the weights in the first folder that has all of them, or prints a warning."""
    faces = tmp_path / "faces.yaml"
    weights, corpus = tmp_path / "my weights", tmp_path / "corpora" / "one"
    folders = [weights, corpus / ".." / "detectors", corpus / "../.." / "detectors"]
    for folder in (corpus, weights, folders[2]):
        folder.mkdir(parents=True)
    for path in (weights / "blazeface.pth", folders[2] / "blazeface.pth", folders[2] / "anchors.npy"):
        path.touch()

    def find(text: str, *places: Path | str) -> tuple[list[str], str]:
        faces.write_text(text)
        done = run(sys.executable, "-m", "avsv.bin.find_detector", faces, *places)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines(), done.stderr

    found = (["--detector-weights", str(folders[2])], "")
    assert find("detector: blazeface\nalign: true\n", weights, "", corpus) == found
    (folders[2] / "anchors.npy").unlink()
    options, warning = find("detector: blazeface\nalign: true\n", weights, "", corpus)
    assert options == ["--detector", "none", "--align", "false"]
    assert warning.startswith(f"warning: no blazeface.pth and anchors.npy in {', '.join(map(str, folders))}: ")
    # A detector without landmarks uses those of another network.
    (weights / "s3fd-619a316812.pth").touch()
    assert find("detector: sfd\n", weights, corpus)[0] == ["--detector-weights", str(weights)]
    assert find("detector: sfd\nalign: true\n", weights, corpus)[0] == ["--detector", "none", "--align", "false"]
    assert find("detector: none\n", weights) == find("detector: dlib\n", weights) == ([], "")
