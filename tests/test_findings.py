"""The tool that fills docs/findings.md."""

import importlib.util
import sys

import pytest
from paths import ROOT

from avsv.results.frames import to_csv
from avsv.results.sweeps import SweepRow

PAGE = """# Page
<!-- sweeps both -->
of an earlier run
<!-- end -->
<!-- sweeps other -->
of another run
<!-- end -->
"""


@pytest.fixture
def tool(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("update_findings", ROOT / "tools/update_findings.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "DOCS", tmp_path)
    monkeypatch.setattr(module, "PAGE", tmp_path / "findings.md")
    return module


def test_tables_of_systems_that_a_run_lacks_stay(tool, tmp_path, monkeypatch, capsys):
    def row(mode, level, eer, **difference):
        figures = {"eer": eer, "low": eer - 1, "high": eer + 1, "eer_cos": eer}
        counts = {"n_target": 9, "n_nontarget": 90, "guessed": 0, "corrupted": "test", "seed": 0, "git": "none"}
        return SweepRow("made-up", "mini", "both", "eval", mode, "blur", level, **figures, **counts, **difference)

    worse = {"single": "both AxA", "difference": 3.0, "difference_low": 1.0, "difference_high": 5.0}
    rows = [row(mode, level, eer) for mode, eer in (("AxA", 10.0), ("VxV", 20.0)) for level in ("clean", "8")]
    rows += [row("AVxAV", "clean", 5.0), row("AVxAV", "8", 13.0, **worse)]
    (tmp_path / "exp/sweeps").mkdir(parents=True)
    (tmp_path / "exp/sweeps/blur.csv").write_text(to_csv(rows, SweepRow))
    (tmp_path / "findings.md").write_text(PAGE)
    monkeypatch.setattr(sys, "argv", ["update", "--exp", str(tmp_path / "exp")])
    tool.main()
    text = (tmp_path / "findings.md").read_text()
    assert "| 8 | 10.00 [9.00, 11.00] | 20.00 [19.00, 21.00] | _13.00 [12.00, 14.00]_ |" in text
    assert "- `both` is better than the best single modality at 0 of 1 levels, and worse at 1: blur 8.\n\n|" in text
    assert "of an earlier run" not in text
    assert "<!-- sweeps other -->\nof another run\n<!-- end -->" in text
    assert "not all of other are in its sweeps" in capsys.readouterr().out
