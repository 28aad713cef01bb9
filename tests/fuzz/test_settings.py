"""Randomly damaged settings of every kind of file: each is read, or rejected with one line that names the file."""

import random

import pytest
import yaml
from paths import ROOT

from avsv.audio.config import load_fbank_config
from avsv.config.strict import parse_yaml
from avsv.corruption.kinds import read_sweeps
from avsv.errors import DataError
from avsv.model.config import load_config
from avsv.model.pretrained import read_weights_list
from avsv.scoring.ensemble import read_ensembles
from avsv.video.config import FaceFormat, FacesConfig

READERS = {
    "system": (load_config, sorted((ROOT / "conf/systems").glob("*.yaml"))),
    "fbank": (load_fbank_config, [ROOT / "conf/fbank.yaml"]),
    "faces": (FacesConfig.read, [ROOT / "conf/faces.yaml"]),
    "faces.conf": (FaceFormat.read, [ROOT / "conf/faces.yaml"]),
    "sweeps": (read_sweeps, [ROOT / "conf/sweeps.yaml"]),
    "ensembles": (read_ensembles, [ROOT / "conf/ensembles.yaml"]),
    "weights": (read_weights_list, [ROOT / "conf/weights.yaml"]),
}
# Values that only look right, and parts of YAML that settings do not need.
VALUES = (
    """
!!int x|!!bool maybe|!!float .|!!python/object/apply:os.getcwd []|!!binary x|!!set {a}|!!omap [a: 1]|! x|&a 1|*a
2020-02-30|2020-13-45T99:99:99|0001-01-01|12:30|010|0x1F|1_000|0b2|.inf|-.inf|.nan|1e400|-1|0|-0.0|1e-400
9007199254740993|yes|no|~|null||''|" "|[]|{}|[[]]|{a: {b: {c: {}}}}|[1, [2, [3]]]|{[1]: 2}|{{a: 1}: 2}|? [1]|- a
a: b: c|%x|@x|`x`|,|:|?|-|---|...|"\\x00"|"\\ud800"|"unclosed|'|{a|[a|"a\\nb\\nc"|<<: {a: 1}|=|#|\t|\u00e9|\u202e|\ufeff
\x7f|\x07|name|aam_softmax|../../x|$(touch x)|`touch x`|; rm|true|1
""".strip("\n")
    .replace("\n", "|")
    .split("|")
)
VALUES += ["9" * 5000, "-" + "9" * 400, "[" * 5000, "{a: " * 300, "x" * 1000, "- " * 400 + "x"]


def damage(text: str, rng: random.Random) -> bytes:
    """Damage a text once or twice: replace a value; move, repeat or remove a line; change or cut off bytes."""
    lines = text.splitlines()
    for _ in range(rng.randint(1, 2)):
        number = rng.randrange(len(lines))
        kind = rng.randrange(8)
        if kind < 3:
            key, colon, _ = lines[number].partition(":")
            lines[number] = f"{key}{colon} {rng.choice(VALUES)}"
        elif kind == 3:
            # One of the values of a flow mapping or list.
            parts = lines[number].split(",")
            place = rng.randrange(len(parts))
            parts[place] = parts[place].partition(":")[0] + ": " + rng.choice(VALUES)
            lines[number] = ",".join(parts)
        elif kind == 4:
            lines.insert(number, rng.choice([*lines, *VALUES, "unknown: 1"]))
        elif kind == 5 and len(lines) > 1:
            del lines[number]
        elif kind == 6:
            lines[number] = " " * rng.randint(1, 5) + lines[number]
        else:
            lines[number] = rng.choice(VALUES) + lines[number]
    data = bytearray("\n".join(lines).encode("utf-8", "surrogatepass") + b"\n")
    if rng.random() < 0.15:
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
    if rng.random() < 0.05:
        del data[rng.randrange(len(data)) :]
    return bytes(data)


def check(reader, path) -> str | None:
    """Read a file; return the error, which must be one line that names the file."""
    try:
        reader(path)
    except DataError as error:
        message = str(error)
        assert message.startswith(str(path)), message
        assert len(message.splitlines()) == 1, message
        return message
    return None


@pytest.mark.parametrize("kind", READERS)
def test_damaged_settings(tmp_path, inputs, kind):
    reader, paths = READERS[kind]
    texts = [path.read_text() for path in paths]
    path = tmp_path / "settings.yaml"
    refused = 0
    for rng in inputs.draw(300):
        path.write_bytes(damage(rng.choice(texts), rng))
        refused += check(reader, path) is not None
    assert refused > 30


@pytest.mark.parametrize("value", VALUES)
def test_each_value_alone(tmp_path, value):
    path = tmp_path / "settings.yaml"
    path.write_bytes(f"a: {value}\n".encode("utf-8", "surrogatepass"))
    check(lambda path: parse_yaml(path.read_bytes().decode("utf-8", "replace"), str(path)), path)
    for reader, _ in READERS.values():
        check(reader, path)


def test_plain_values_are_read_as_yaml_does():
    text = "a: 1\nb: -2.5\nc: 1.5e-3\nd: [x, 'y', \"z\", true, off, null, ~]\ne: {f: .5, g: 3.}\nh: |\n  text\ni:\n"
    assert parse_yaml(text, "x") == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 12:30", "a number"),
        ("a: 010", None),
        ("a: .inf", "finite"),
        ("a: 1e400", "finite"),
        ("a: 2020-01-01", "a number"),
        ("a: !!float 1", "tags"),
    ],
)
def test_numbers_that_only_look_right(text, said):
    from avsv.config.strict import convert

    try:
        assert said is None or not convert(parse_yaml(text, "f")["a"], float, "f: a")
    except DataError as error:
        assert said in str(error)


def test_files_that_are_none(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "mark").write_bytes(b"\xef\xbb\xbfa: 1\n")
    (tmp_path / "lfs").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    (tmp_path / "latin1").write_bytes(b"a: 1\nb: M\xfcller\n")
    (tmp_path / "nul").write_bytes(b"a: 1\n\0\n")
    (tmp_path / "large").write_bytes(b"#" * (1 << 21))
    cases = {
        "pipe": "pipe", "folder": "folder", "mark": "byte-order mark", "lfs": "Git LFS pointer", "latin1": ":2:",
        "nul": "NUL", "large": "larger", "none": "no such file", "x" * 300: "name too long",
    }  # fmt: skip
    for name, said in cases.items():
        for reader, _ in READERS.values():
            assert said in check(reader, tmp_path / name).replace("File name", "name")
