"""Names of recordings that people hand over."""

import pytest

from avsv.errors import DataError
from avsv.verification.recording import Recording


def test_a_file_that_is_called_like_a_command_is_not_run(tmp_path, monkeypatch):
    """Elsewhere a name that ends in | is a command; here it can only be a file of somebody else."""
    monkeypatch.chdir(tmp_path)
    for name in ("touch x |", "touch x |  ", "$(touch x).wav|"):
        (tmp_path / name).write_bytes(b"RIFF")
        with pytest.raises(DataError, match="stands for a command: rename the file"):
            Recording.of(name)
    assert not (tmp_path / "x").exists()
