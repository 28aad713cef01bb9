"""What the commands share."""

from pathlib import Path

import pytest

from avsv.cli.shared import check_output
from avsv.errors import DataError


def test_an_output_is_refused_before_anything_is_lost(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.mpg").write_bytes(b"video")
    (tmp_path / "link.html").symlink_to("a.mpg")
    (tmp_path / "folder.html").mkdir()
    for name, message in (
        ("a.mpg", "a.mpg: the name of this output must end in .html or .htm"),
        ("page", "page: the name of this output must end in .html or .htm"),
        ("link.html", "link.html: is read and would be replaced: write to another file"),
        ("folder.html", "folder.html: is a folder"),
        ("no/page.html", "no/page.html: cannot be written: there is no folder no"),
    ):
        with pytest.raises(DataError, match=message):
            check_output(Path(name), (".html", ".htm"), ["a.mpg", "missing.wav"])
    with pytest.raises(DataError, match="is read and would be replaced"):
        check_output(tmp_path / "a.mpg", (), ["../" + tmp_path.name + "/a.mpg"])
    for name in ("page.html", "PAGE.HTM"):
        check_output(tmp_path / name, (".html", ".htm"), ["a.mpg"])
