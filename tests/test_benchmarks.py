"""Benchmarks that print figures of the documentation."""

import re
import sys

import pytest
from commands import run
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
