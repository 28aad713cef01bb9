"""Files from the network: resumed where a download broke off, checked, and whole under their final name."""

import fcntl
import hashlib
import http.client
import os
import ssl
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from tqdm import tqdm

from avsv.errors import DataError

TIMEOUT = 60.0  # seconds without a byte
BLOCK = 2**20


def file_sha256(path: str | Path) -> str:
    """The SHA-256 of a file in hexadecimal.

    Example:
        >>> file_sha256("/dev/null")[:16]
        'e3b0c44298fc1c14'
    """
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def download(url: str, path: str | Path, sha256: str | None = None) -> str:
    """Download a file, or the rest of it where an earlier try broke off.

    What has come is kept in ``.NAME.part`` beside ``path`` and gets its final name when it is whole and right. A bar
    shows the progress on a terminal.

    Args:
        url: where it is.
        path: where it goes; its folder is made.
        sha256: the file's SHA-256 in hexadecimal, or how it begins; None where nobody has published it.

    Returns:
        The file's SHA-256.

    Raises:
        DataError: the folder cannot be written to, the server cannot be reached or refuses, the connection breaks,
            another process is at it, or the file is another one. Only in the last case what has come is thrown away.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = partial.open("ab")
    except OSError as error:
        raise DataError(f"{path.parent}: {error.strerror}: choose another folder") from None
    with opened as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"{path}: another process is downloading it: wait for that one") from None
        if not partial.exists() or not os.path.samestat(os.fstat(stream.fileno()), partial.stat()):
            raise DataError(f"{path}: another process has just downloaded it: run again")
        try:
            _fetch(url, stream, path.name)
        except (URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
            size = stream.tell()
            if not size:
                partial.unlink()
            raise DataError(_failure(url, path, error, size)) from None
        stream.flush()
        digest = file_sha256(partial)
        if sha256 is not None and not digest.startswith(sha256):
            partial.unlink()
            raise DataError(
                f"{url}: the file's sha256 is {digest} and not {sha256}...: it is thrown away: try again; if that does"
                " not help, the publisher has changed it"
            )
        partial.replace(path)
    return digest


def _fetch(url: str, stream: BinaryIO, name: str) -> None:
    """Append to ``stream`` what it lacks of the file."""
    have = stream.tell()
    request = Request(url, headers={"User-Agent": "avsv", **({"Range": f"bytes={have}-"} if have else {})})
    try:
        response = urlopen(request, timeout=TIMEOUT)
    except HTTPError as error:
        if error.code != 416:  # the file has nothing from there on
            raise
        if error.headers.get("Content-Range") != f"bytes */{have}":
            stream.truncate(0)
            stream.seek(0)
            _fetch(url, stream, name)
        return
    with response:
        if response.headers.get_content_type() == "text/html":
            raise URLError("the answer is a web page and not the file")
        if not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            stream.truncate(0)
            stream.seek(0)
            have = 0
        length = response.headers.get("Content-Length")
        total = None if length is None else have + int(length)
        with tqdm(desc=name, total=total, initial=have, unit="B", unit_scale=True, disable=None) as bar:
            while block := response.read(BLOCK):
                stream.write(block)
                bar.update(len(block))
    if total is not None and stream.tell() < total:
        raise ConnectionError("the connection broke")


def _failure(url: str, path: Path, error: Exception, size: int) -> str:
    if isinstance(error, HTTPError):
        return f"{url}: the server answers {error.code} {error.reason}: if that lasts, copy the file to {path} by hand"
    reason = getattr(error, "reason", None) or error
    reason = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    if size:
        return f"{url}: {reason}: {size / 1e6:.1f} MB have come and are kept: run again for the rest"
    return f"{url}: {reason}: without a network, fetch it on another machine and copy it to {path}"
