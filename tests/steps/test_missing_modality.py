"""A data directory can lack a modality completely: the step that would read it has nothing to do."""

import itertools
import subprocess

import pytest
from paths import ROOT

STEPS = {
    "make_fbank": ("wav.scp", "no wav.scp, faces only: no features to make"),
    "make_face_crops": ("video.scp", "no video.scp, voices only: no face crops to make"),
}
LISTS = ("wav.scp", "video.scp")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("step", "there"),
    [
        (step, there)
        for step in STEPS
        for count in range(2)
        for there in itertools.combinations(LISTS, count)
        if STEPS[step][0] not in there
    ],
)
def test_a_set_may_lack_a_modality(tmp_path, step, there):
    """With the other modality there is nothing to do, also repeatedly; with neither, the missing list is an error."""
    wanted, message = STEPS[step]
    data = tmp_path / "da ta"
    data.mkdir()
    (data / "utt2spk").write_text("s01-a s01\n")
    for name in there:
        (data / name).write_text(f"s01-a {tmp_path}/none\n")
    before = contents(data)
    for _ in range(2):
        command = [f"steps/{step}.sh", "--nj", "1", str(data)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        lines = done.stderr.splitlines()
        assert len(lines) == 1
        if there:
            assert done.returncode == 0 and lines[0].endswith(f"{data}: {message}")
        else:
            assert done.returncode == 1 and lines[0].endswith(f"error: no such file: {data}/{wanted}")
        assert contents(data) == before
