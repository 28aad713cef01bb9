"""Files of tensors and plain values: written atomically, read without running code."""

import zipfile
from pathlib import Path
from typing import Any

import torch

from avsv.errors import DataError
from avsv.io.atomic import atomic_path


def save_atomically(path: str | Path, content: Any) -> None:
    """``torch.save`` under a temporary name, then rename; equal content gives equal bytes."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        # If it is given a path, torch stores the file name in the file.
        torch.save(content, file)


def load_file(path: str | Path) -> dict[str, Any]:
    """Read a file of :func:`save_atomically`, its tensors on the CPU.

    Raises:
        DataError: the file does not exist or is not readable.
    """
    if not Path(path).is_file():
        raise DataError(f"{path}: no such file: train this system first")
    try:
        return read_file(Path(path))
    except ValueError as error:
        raise DataError(f"{path}: not readable ({error}): remove it and train this system again") from None


def read_file(path: Path) -> Any:
    """``torch.load`` of plain values and tensors; a damaged or truncated file raises ValueError with a short reason."""
    # torch.load does not verify the checksums, and damage raises errors of many kinds.
    try:
        with zipfile.ZipFile(path) as archive:
            # torch.save compresses nothing, and a compressed entry may become any size.
            packed = [entry.filename for entry in archive.infolist() if entry.compress_type != zipfile.ZIP_STORED]
            damaged = packed[0] if packed else archive.testzip()
        if damaged is not None:
            raise ValueError(f"{damaged} is damaged")
        return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError((str(error).splitlines() or [type(error).__name__])[0]) from None
