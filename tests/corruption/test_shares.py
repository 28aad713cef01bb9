"""Which sweeps are measured, and the files of measurements."""

import json

import pytest

from avsv.corruption.shares import Plan, Share, Shares
from avsv.errors import DataError

SWEEPS = "noise: [10]\nblur: [20, 5]\ncodec: [gsm 13, g711]\nclipping: [0.5]\n"
NO_NOISE, NO_GSM = "noise 10 is left out: no recordings of type noise", "codec gsm 13 is left out: PyAV has no"


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "sweeps.yaml"
    path.write_text(SWEEPS)
    return path


def test_what_cannot_be_made_is_left_out_with_its_reason(config):
    plan = Plan.read(config, [], None)
    assert plan.sweeps == plan.chosen == {"blur": (20, 5), "codec": ("g711",), "clipping": (0.5,)}
    reasons = plan.left_out(plan.chosen)
    assert reasons[0] == NO_NOISE
    assert reasons[1].startswith(NO_GSM)
    assert len(reasons) == 2


def test_kinds_that_are_asked_for(config):
    plan = Plan.read(config, ["codec", "noise", "blur"], None)
    assert list(plan.chosen) == ["codec", "blur"]
    assert list(plan.sweeps) == ["blur", "codec", "clipping"]
    # Reasons are given for the sweeps that are shown and for those that were requested.
    assert Plan.read(config, ["blur"], None).left_out({"blur": (20, 5)}) == []
    assert Plan.read(config, ["noise", "blur"], None).left_out({"blur": (20, 5)}) == [NO_NOISE]
    (reason,) = Plan.read(config, ["blur"], None).left_out({"codec": ("g711",)})
    assert reason.startswith(NO_GSM)
    with pytest.raises(DataError, match=r"sweeps.yaml has no sweep 'blurr': did you mean 'blur'"):
        Plan.read(config, ["codec", "blurr"], None)
    with pytest.raises(DataError, match=f"no sweep is left: {NO_NOISE}"):
        Plan.read(config, ["noise"], None)


def test_a_share_is_found_by_system_condition_and_stamp(tmp_path):
    shares = [
        Share(tmp_path, system, stamp, condition)
        for system in "ab"
        for stamp in "xy"
        for condition in (None, ("blur", 20), ("blur", 5.0), ("codec", "opus 6"))
    ]
    assert len({share.path for share in shares}) == len(shares)
    assert [share.name for share in shares[:4]] == ["clean", "blur 20", "blur 5", "codec opus 6"]
    assert shares[3].path.parent.name == "a" and shares[3].path.name.startswith("codec_opus_6.")
    # The level is the one in its name.
    assert Share(tmp_path, "a", "x", ("blur", 20.0)).path == shares[1].path
    shares[0].path.parent.mkdir()
    shares[0].path.write_text(json.dumps([{"eer": 1.5}]))
    assert shares[0].read() == [{"eer": 1.5}]
    with pytest.raises(DataError, match=r"blur_20\..*\.json: no such file: run the sweep again"):
        shares[1].read()


def test_shares_that_hold_are_known_and_others_are_removed(tmp_path):
    sweeps = {"blur": (20, 5), "noise": (10,)}
    shares = Shares(tmp_path, {"a": "x", "b": "y"})
    every = shares.of(sweeps)
    assert [(share.system, share.name) for share in every[:4]] == [
        ("a", "clean"), ("b", "clean"), ("a", "blur 20"), ("b", "blur 20"),
    ]  # fmt: skip
    assert len(every) == 2 * 4
    for share in every:
        share.path.parent.mkdir(exist_ok=True)
        share.path.write_text("[]")
    assert shares.measured(sweeps) == sweeps
    every[-1].path.unlink()
    assert shares.measured(sweeps) == {"blur": (20, 5)}
    every[0].path.unlink()
    assert shares.measured(sweeps) == {}

    other_stamp, other_system = Share(tmp_path, "a", "z", None), Share(tmp_path, "a.2", "z", None)
    for share in (other_stamp, other_system):
        share.path.parent.mkdir(exist_ok=True)
        share.path.write_text("[]")
    shares.remove_others({"noise": (10,)})
    # Of the systems at hand only what the sweeps need is left; nothing is said about other systems.
    left = set(tmp_path.rglob("*.json"))
    assert left == {every[1].path, every[6].path, other_system.path}
