"""Names that refer to other folders or look like options are rejected with one line wherever names are read."""

import random

import pytest
from commands import run
from paths import ROOT
from synthetic import make_data_dir, make_trials

from avsv.bin import configure
from avsv.datadir.lists import read_keys, read_utt2spk
from avsv.datadir.validate import Validator
from avsv.errors import DataError
from avsv.io.lists import read_list, trial_lists
from avsv.io.names import LONGEST_KEY, LONGEST_NAME, check_name, check_system, first_odd_key, wrong_key
from avsv.model.pretrained import read_weights_list
from avsv.scoring.ensemble import read_ensembles
from avsv.scoring.trials import read_trial_set

HOSTILE_KEYS = [
    "../x", "..", ".", "/etc/passwd", "a/../../x", "a/..", "a/./b", "./a", "-rf", "--", "a\x00b", "a\x1b[2Jb",
    "a\x7f", "a\u202eb", "\u200b", "x" * (LONGEST_KEY + 1), "../" * 300,
]  # fmt: skip
GOOD_KEYS = [
    "id1-a", "id10270/x6uYqmx31kE/00001", "a..b", "..a", "a.", ".a", "x" * LONGEST_KEY, "<script>", "$(touch", "'",
    "\u05d0\u05d1", "Jörg", "a-", "~", "a//b", "*",
]  # fmt: skip
HOSTILE_NAMES = [
    "../x",
    "..",
    ".x",
    "-x",
    "a/b",
    "/x",
    "a\nb",
    "a\x1bb",
    "x" * (LONGEST_NAME + 1),
    "é" * 65,
    "a\u202eb",
]


def test_keys():
    for key in HOSTILE_KEYS:
        assert "rename it" in wrong_key(key)
        assert first_odd_key(["a", key, "b"]) == 1
        assert first_odd_key([key]) == 0
    assert not any(map(wrong_key, GOOD_KEYS))
    assert first_odd_key(GOOD_KEYS) is None
    assert first_odd_key([]) is None


def test_many_keys_at_once_are_judged_as_one_by_one():
    rng = random.Random(0)
    parts = ["a", "-", "/", ".", "..", "x" * 251, "\x01", "é"]
    odd = 0
    for _ in range(2000):
        keys = ["".join(rng.choices(parts, k=rng.randint(1, 4))) for _ in range(rng.randint(1, 4))]
        expected = next((n for n, key in enumerate(keys) if wrong_key(key)), None)
        assert first_odd_key(keys) == expected, keys
        odd += expected is not None
    assert 400 < odd < 1900


@pytest.mark.parametrize("name", [*HOSTILE_NAMES, ""])
def test_names(name):
    for check in (check_name, check_system):
        with pytest.raises(DataError, match=r"^here: .*(rename it|give it one)$"):
            check(name, "here")
    # The longest name is still a valid part of a file name, whatever its letters are.
    assert len(check_name("é" * (LONGEST_NAME // 2), "here").encode()) == LONGEST_NAME


@pytest.mark.parametrize("name", ["a b", "a,b", "$(touch x)", "a;b", "a'b", "a*", "a|b"])
def test_systems(name):
    with pytest.raises(DataError, match="letters, digits"):
        check_system(name, "here")
    assert check_name(name, "here") == name
    assert check_system("ecapa1024_lm.v2-é", "here")


@pytest.mark.parametrize("key", [key for key in HOSTILE_KEYS if len(key.split()) == 1 and "\0" not in key])
def test_lists(tmp_path, key):
    path = tmp_path / "wav.scp"
    path.write_text(f"{key} a.wav\n")
    for read in (read_list, lambda path: list(read_keys(path))):
        with pytest.raises(DataError, match=r"wav\.scp:1: "):
            read(path)
    (tmp_path / "utt2spk").write_text(f"x-1 {key}\n")
    with pytest.raises(DataError, match="the speaker of 'x-1'"):
        read_utt2spk(tmp_path)
    for number, lines in enumerate((f"{key} {key}\n", f"x-1 {key}\n")):
        (tmp_path / "utt2spk").write_text(lines)
        found = Validator(tmp_path, True, True, False, False, 0).run().lines()
        assert [line for line in found if "utt2spk:1: " in line and "rename it" in line], (number, found)


@pytest.mark.parametrize("name", ["-eval", "a\x1b[2J", "x" * 200])
def test_trial_lists(tmp_path, name):
    data = make_data_dir(tmp_path / "data", speakers=2, utterances=2)
    make_trials(data, name)
    for read in (trial_lists, read_trial_set):
        with pytest.raises(DataError, match=r"data/trials: .* cannot be a name"):
            read(data)


@pytest.mark.parametrize("name", ["../x", "..", "/tmp/x", "-x", "a b", "$(touch x)", "x" * 200])
def test_settings_and_command_lines(tmp_path, name):
    path = tmp_path / "settings.yaml"
    for entry in (f"{name!r}: [a, b]", f"e: [{name!r}, b]", f"e: {{members: [b, {name + '/AxA'!r}], weights: fitted}}"):
        path.write_text(entry)
        with pytest.raises(DataError, match=r"settings\.yaml: .*(cannot be a|an empty name)"):
            read_ensembles(path)
    if " " not in name:
        path.write_text(f"{name!r}: {{network: ecapa_tdnn, note: x, url: null, sha256: null}}")
        with pytest.raises(DataError, match="cannot be a name"):
            read_weights_list(path)
    if name.startswith("-"):
        return  # an option to argparse, which refuses it
    missing = tmp_path / "data"
    for command, arguments in (
        ("score_ensemble", [tmp_path, name]),
        ("calibrate", [tmp_path, missing, "ecapa", name]),
        ("analyse", [tmp_path, missing, name]),
    ):
        done = run("python", "-m", f"avsv.bin.{command}", *arguments)
        assert done.returncode == 1
        assert f"{command}: error: systems: " in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_systems_of_the_configuration(tmp_path):
    for folder in ("systems", "presets"):
        (tmp_path / "conf" / folder).mkdir(parents=True)
    for name in ("fbank.yaml", "faces.yaml"):
        (tmp_path / "conf" / name).write_bytes((ROOT / "conf" / name).read_bytes())
    (tmp_path / "conf/presets/tiny.yaml").write_text("")
    (tmp_path / "conf/systems/-x.yaml").write_text("")
    arguments = ["--conf", str(tmp_path / "conf"), "--preset", "tiny", "--out", str(tmp_path / "out"), "x"]
    with pytest.raises(DataError, match="conf/systems: '-x' cannot be a name"):
        configure.main(arguments)
    (tmp_path / "conf/systems/-x.yaml").unlink()
    for name in ("../x", "/x", ".."):
        with pytest.raises(DataError, match=f"system {name}: no file"):
            configure.main([*arguments[:-1], name])
    assert not (tmp_path / "out").exists()
