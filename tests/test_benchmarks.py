"""Benchmarks that print figures of the documentation."""

import os
import re
import signal
import subprocess
import sys

import pytest
from commands import run, wait_until
from paths import ROOT
from synthetic import make_data_dir, make_trials

from avsv.io.lists import write_list


@pytest.fixture
def corpus(tmp_path):
    """Six speakers of two genders, each with a sound and a picture of their own, in other utterances for the test."""
    for name, seed in (("train", 0), ("eval", 5)):
        data = make_data_dir(tmp_path / name, speakers=6, utterances=4, seed=seed)
        write_list(data / "spk2gender", {f"s{n}": "mf"[n % 2] for n in range(6)})
        make_trials(data, "eval")
    return tmp_path


def test_gender_probe(corpus):
    result = run(sys.executable, "benchmarks/gender_probe.py", corpus / "train", corpus / "eval")
    assert result.returncode == 0, result.stderr
    # Who is known from the training is known with the gender.
    assert re.findall(r"gender from the (\w+): right for 100 % of utterances", result.stdout) == ["voice", "face"]
    # Of the 15 pairs of speakers 6 are alike. With this share of false accepts at no miss, the rates are equal where
    # the line from there to the point of all misses meets the diagonal.
    alike = 6 / 15
    found = re.search(r"differ in (\S+) % .* AxV EER (\S+) % if both are known, (\S+) % if guessed", result.stdout)
    assert float(found[1]) == pytest.approx(100 * (1 - alike), abs=0.05)
    assert float(found[2]) == pytest.approx(100 * alike / (1 + alike), abs=0.05)
    assert float(found[3]) < 45


# Hands on batches that take 0.05 s to wait for, and notes them.
COUNTING = """
import sys, time
sys.path.insert(0, {benchmarks!r})
from rounds import Batches

def batches():
    for number in range(1000):
        time.sleep(0.05)
        yield number

for number in Batches(steps=2, warm=1)(batches()):
    print("this is not a figure")
    print(number, file=open(sys.argv[1], "a"))
"""


def test_rounds_are_in_turns(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from rounds import Training, in_turns

    code = COUNTING.format(benchmarks=str(ROOT / "benchmarks"))
    names = ("a", "b")
    commands = [[sys.executable, "-c", code, str(tmp_path / name)] for name in names]
    trainings = [Training(name, command, {}, tmp_path / "log") for name, command in zip(names, commands, strict=True)]
    try:
        found = in_turns(trainings, 3)
        for name, training in zip(names, trainings, strict=True):
            assert (tmp_path / name).read_text().split() == [str(number) for number in range(1 + 3 * 2)]
            assert [len(rounds) for rounds in found.values()] == [3, 3]
            for wall, busy, waited in found[name]:
                assert 0.1 <= waited <= wall
                assert busy >= 0
            # Nothing runs between the rounds.
            assert all(fields[0] in "Tt" for _, fields in training._members())
            assert 1 < training.mebibytes() < 1000
    finally:
        for training in trainings:
            training.end()


def test_a_training_that_fails_is_shown(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from rounds import Training

    with pytest.raises(SystemExit, match=r"a failed:\n(.|\n)*no such thing"):
        Training("a", [sys.executable, "-c", "raise SystemExit('no such thing')"], {}, tmp_path / "log")


# A benchmark that waits for the first batch of its training.
WAITING = """
import sys
from pathlib import Path
sys.path.insert(0, {benchmarks!r})
from rounds import Training, exit_on_signals

exit_on_signals()
Training("a", [sys.executable, "-c", {training!r}, sys.argv[1]], {{}}, Path(sys.argv[1]).with_name("log"))
"""
TRAINING = "import os, sys, time; print(os.getpid(), file=open(sys.argv[1], 'w'), flush=True); time.sleep(600)"


def test_an_ended_benchmark_leaves_no_training(tmp_path):
    code = WAITING.format(benchmarks=str(ROOT / "benchmarks"), training=TRAINING)
    number = tmp_path / "number"
    process = subprocess.Popen([sys.executable, "-c", code, number])
    wait_until(lambda: number.is_file() and number.read_text().endswith("\n"))
    process.terminate()
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(int(number.read_text()), 0)


@pytest.mark.slow
def test_training():
    options = ["--rounds", "1", "--steps", "1", "--batch", "2", "--num-threads", "1", "--num-workers", "1"]
    result = run(sys.executable, "benchmarks/training.py", "--rows", "ecapa256", "audio-visual", *options)
    assert result.returncode == 0, result.stderr
    rows = re.findall(r"(256 channels|soft attention) +(step|loop) +avsv +(\S+) +(\S+)", result.stdout)
    assert [row[:2] for row in rows] == [(n, p) for n in ("256 channels", "soft attention") for p in ("step", "loop")]
    assert all(float(rate) > 0 for row in rows for rate in row[2:])
