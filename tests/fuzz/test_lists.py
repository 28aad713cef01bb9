"""Randomly damaged data directories: validated, fixed, validated again and used, with success or a one-line error.

A directory fixed by ``fix_data_dir.sh`` must pass ``validate_data_dir.sh``; if it fails, nothing is changed.
"""

import os
import random
import shutil

from avsv.bin import data_dir
from avsv.data.lists import read_ages, read_sessions, read_utterances
from avsv.errors import DataError
from avsv.scoring.trials import read_trial_set

SPEAKERS = ["id1", "id10", "id2", "id3"]
KEYS = [f"{speaker}-{number}" for speaker in SPEAKERS for number in range(3)]
WORDS = [
    "", "x", "-1", "0", "0.0", "1e400", "nan", "inf", "9" * 5000, "1.5", "?", "m", "f", "male", "|", "~/a.wav", "cat |",
    "a.wav", "target", "nontarget", "Target", "1", "../x", "-rf", "/etc/passwd", "$(touch x)", "`touch x`", "<script>",
    "\x00", "\x1b[2J", "\u202e", "\u00a0", "\u2028", "é", "\ufeff", "x" * 600, "a b c", "[0:99]", "'", '"', "\x85",
]  # fmt: skip
RENAMED = ["-trials", "a b", "x" * 200, "\u202ex", "..x"]


def write_directory(folder, rng):
    """Write a complete data directory with one or both modalities, with or without features and labels."""
    lists = {"utt2spk": {key: key.split("-")[0] for key in KEYS}}
    kind = rng.choice(["both", "both", "audio", "video"])
    if kind != "video":
        lists["wav.scp"] = {key: f"wav/{key}.wav" for key in KEYS if key != KEYS[4] or kind == "audio"}
    if kind != "audio":
        lists["video.scp"] = {key: f"video/{key}.mp4" for key in KEYS if key != KEYS[5] or kind == "video"}
    if rng.random() < 0.6:
        for scp, features, count in (
            ("wav.scp", "feats.scp", "utt2num_frames"),
            ("video.scp", "faces.scp", "utt2num_faces"),
        ):
            if scp in lists:
                lists[features] = {key: f"arks/{features}.ark:{17 * n}" for n, key in enumerate(lists[scp])}
                lists[count] = dict.fromkeys(lists[scp], 99)
    labels = {
        "utt2dur": dict.fromkeys(KEYS, 1.5), "utt2session": {key: f"v{key[-1]}" for key in KEYS},
        "utt2lang": dict.fromkeys(KEYS, "en"), "utt2age": dict.fromkeys(KEYS[3:], 30), "utt2gender": {KEYS[0]: "m"},
        "spk2gender": dict.fromkeys(SPEAKERS[1:], "f"), "spk2age": {"id2": 40},
    }  # fmt: skip
    lists |= {name: lines for name, lines in labels.items() if rng.random() < 0.7}
    folder.mkdir()
    for name, lines in lists.items():
        (folder / name).write_text("".join(f"{key} {value}\n" for key, value in lines.items()))
    groups = {speaker: [key for key in KEYS if key.startswith(f"{speaker}-")] for speaker in SPEAKERS}
    (folder / "spk2utt").write_text("".join(f"{name} {' '.join(keys)}\n" for name, keys in groups.items()))
    (folder / "trials").mkdir()
    for name in ("all", "few")[: rng.randint(0, 2)]:
        pairs = [(a, b) for a in KEYS for b in KEYS if a < b and rng.random() < 0.3] or [(KEYS[0], KEYS[1])]
        same = {True: "target", False: "nontarget"}
        rows = [f"{a} {b} {same[a.split('-')[0] == b.split('-')[0]]}\n" for a, b in pairs]
        (folder / "trials" / name).write_text("".join(rows))
    for marker in (".fbank.done", ".faces.done"):
        (folder / marker).write_text("0\n")


def _change_lines(data: bytes, rng: random.Random) -> bytes:
    rows = data.decode().splitlines() or [""]
    place = rng.randrange(len(rows))
    fields = rows[place].split(" ")
    kind = rng.randrange(12)
    if kind == 0:
        rng.shuffle(rows)
    elif kind == 1:
        rows.insert(place, rng.choice(rows))
    elif kind == 2:
        rows.insert(place, f"{fields[0]} {rng.choice(WORDS)}")
    elif kind == 3:
        del rows[place : place + rng.randint(1, 3)]
    elif kind == 4:
        rows.insert(place, rng.choice(["", "  ", "\t", "\r", fields[0], f" {rows[place]}"]))
    elif kind == 5:
        rows[place] += " " + rng.choice(WORDS)
    elif kind == 6:
        fields[-1] = rng.choice(WORDS)
        rows[place] = " ".join(fields)
    elif kind == 7:
        fields[0] = rng.choice([*WORDS, *KEYS, "a", "zz", "id2"])
        rows[place] = " ".join(fields)
    elif kind == 8:
        rows = [row.replace(" ", rng.choice(["\t", "  ", " \t "]), 1) for row in rows]
    elif kind == 9:
        rows = [f"{row} {rng.choice(['x', '', 'y z'])}" for row in rows]
    elif kind == 10:
        rows = [f"{row.split(' ')[0]} {rng.choice(WORDS)}" for row in rows]
    else:
        fields = [field for field in fields if rng.random() < 0.5]
        rows[place] = " ".join(fields)
    return ("\n".join(rows) + ("\n" if rng.random() < 0.8 else "")).encode("utf-8", "surrogatepass")


def _change_bytes(data: bytes, rng: random.Random) -> bytes:
    kind = rng.randrange(9)
    if kind == 0:
        return b"\xef\xbb\xbf" + data
    if kind == 1:
        return data.replace(b"\n", rng.choice([b"\r\n", b"\r", b"\n\n"]))
    if kind == 2:
        return data.decode("utf-8", "replace").encode("utf-16")
    if kind == 3:
        return b"\xef\xbb\xbf" + data.replace(b"1", b"\xfc", 1)
    if kind == 4:
        return data[: rng.randrange(len(data) + 1)]
    if kind == 5:
        return b""
    if kind == 6:
        return rng.randbytes(rng.randint(1, 400))
    if kind == 7:
        return data + b"x" * (1 << 20) + b" y\n"
    changed = bytearray(data or b"x")
    for _ in range(rng.randint(1, 4)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def damage(folder, rng: random.Random) -> None:
    """Apply one to three kinds of damage: to lines, bytes, whole files or names."""
    for _ in range(rng.randint(1, 3)):
        paths = sorted(path for path in folder.rglob("[!.]*") if path.is_file())
        if not paths:
            return
        path = rng.choice(paths)
        chance = rng.random()
        if chance < 0.65:
            try:
                path.write_bytes(_change_lines(path.read_bytes(), rng))
            except UnicodeDecodeError:
                path.write_bytes(_change_bytes(path.read_bytes(), rng))
        elif chance < 0.85:
            path.write_bytes(_change_bytes(path.read_bytes(), rng))
        else:
            kind = rng.randrange(6)
            path.unlink()
            if kind == 0:
                path.mkdir()
            elif kind == 1:
                os.mkfifo(path)
            elif kind == 2:
                path.symlink_to(path.name)
            elif kind == 3:
                (folder / "segments").write_text("id1-0 rec 0 1\n")
            elif kind == 4 and (folder / "trials").is_dir():
                (folder / "trials" / rng.choice(RENAMED)).write_text("id1-0 id1-1 target\n")


def files(folder):
    """Content of every file except saved copies."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".backup" not in path.parts
    }


def call(tool, *arguments) -> str | None:
    """Run a tool; return its one-line error. Any exception other than DataError fails the test."""
    try:
        data_dir.main(tool, map(str, arguments))
    except (DataError, OSError) as error:  # of both, run_command makes one line
        message = str(error)
        assert message and len(message.splitlines()) == 1
        assert len(message) < 2200
        return message
    return None


def validate(folder):
    missing = [new for old, new in (("wav.scp", "feats.scp"), ("video.scp", "faces.scp"))
               if (folder / old).is_file() and not (folder / new).is_file()]  # fmt: skip
    return call("validate_data_dir", *(["--no-feats"] if missing else []), "--sample", 0, folder)


def check_fix(folder) -> str:
    """Validate, fix and validate again; return the outcome."""
    first, with_features = validate(folder), call("validate_data_dir", "--sample", 0, folder)
    before = files(folder)
    refusal = call("fix_data_dir", folder)
    after = files(folder)
    assert not [name for name in after if ".tmp." in name]
    if refusal is None:
        assert (second := validate(folder)) is None, second
        assert call("fix_data_dir", folder) is None
        assert files(folder) == after
        if first is None:
            assert after["utt2spk"].split() == before["utt2spk"].split()
        return "good" if first is None else "fixed"
    assert with_features is not None
    if "that must be fixed by hand" in refusal:
        assert validate(folder) is not None
        return "left"
    assert after == before
    return "refused"


def use(folder, target, rng) -> None:
    """Use a directory that may be damaged: success, or a one-line error and no incomplete output."""
    tools = [
        ("split_data", folder, 2), ("subset_data_dir", folder, 4, target),
        ("subset_data_dir", "--speakers", folder, 2, target), ("subset_data_dir", "--shortest", folder, 2, target),
        ("copy_data_dir", "--spk-prefix=p-", "--utt-prefix=p-", folder, target), ("combine_data", target, folder),
        ("filter_scp", folder / "utt2spk", folder / "wav.scp"), ("utt2spk_to_spk2utt", folder / "utt2spk"),
        ("spk2utt_to_utt2spk", folder / "spk2utt"), ("perturb_data_dir_speed", "1.1", folder, target),
    ]  # fmt: skip
    call(*rng.choice(tools))
    assert not [path for path in folder.parent.rglob("*") if ".tmp." in path.name]
    for read in (
        lambda: read_trial_set(folder),
        lambda: read_ages(table := read_utterances(folder)) is not None and read_sessions(table),
        lambda: read_utterances(folder, video=False),
    ):
        try:
            read()
        except DataError as error:
            assert len(str(error).splitlines()) == 1


def test_damaged_directories(tmp_path, capsys, inputs):
    outcomes = {"good": 0, "fixed": 0, "left": 0, "refused": 0}
    for rng in inputs.draw(400):
        folder, target = tmp_path / "data", tmp_path / "other"
        write_directory(folder, rng)
        damage(folder, rng)
        if rng.random() < 0.3:
            use(folder, target, rng)
        outcomes[check_fix(folder)] += 1
        for path in (folder, target):
            shutil.rmtree(path, ignore_errors=True)
    capsys.readouterr()
    assert min(outcomes.values()) > 8, outcomes
    assert outcomes["fixed"] > 160, outcomes
