"""Files from the network: interrupted downloads are resumed, checksums are verified, the final name appears last."""

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
    """Download a file, or the rest of it after an interrupted download.

    The bytes received so far are kept in ``.NAME.part`` in the folder of ``path``; the file gets its final name when it
    is complete and its checksum is right. On a terminal, a bar shows the progress.

    Args:
        url: address of the file.
        path: destination; its folder is created.
        sha256: the SHA-256 of the file in hexadecimal, or the first digits of it; None if it is not published.

    Returns:
        The SHA-256 of the file.

    Raises:
        DataError: the folder is not writable, the server cannot be reached or refuses, the connection breaks, another
            process is downloading the file, or the checksum is wrong. Only in the last case the received bytes are
            deleted.
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
            raise DataError(f"{path}: another process is downloading it: wait until it has finished") from None
        if not partial.exists() or not os.path.samestat(os.fstat(stream.fileno()), partial.stat()):
            raise DataError(f"{path}: another process has just downloaded it: run this command again")
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
                f"{url}: the sha256 of the file is {digest}, expected {sha256}...: the file was deleted: try again; if"
                " that does not help, the publisher has changed the file"
            )
        partial.replace(path)
    return digest


def _fetch(url: str, stream: BinaryIO, name: str) -> None:
    """Append the missing part of the file to ``stream``."""
    have = stream.tell()
    request = Request(url, headers={"User-Agent": "avsv", **({"Range": f"bytes={have}-"} if have else {})})
    try:
        response = urlopen(request, timeout=TIMEOUT)
    except HTTPError as error:
        if error.code != 416:  # the file has no bytes from that offset on
            raise
        if error.headers.get("Content-Range") != f"bytes */{have}":
            stream.truncate(0)
            stream.seek(0)
            _fetch(url, stream, name)
        return
    with response:
        if response.headers.get_content_type() == "text/html":
            raise URLError("the server sent a web page instead of the file")
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
        return (
            f"{url}: the server answers {error.code} {error.reason}: if this persists, copy the file to {path} by hand"
        )
    reason = getattr(error, "reason", None) or error
    reason = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    if size:
        return f"{url}: {reason}: {size / 1e6:.1f} MB were received and are kept: run again for the rest"
    return f"{url}: {reason}: without a network, download it on another machine and copy it to {path}"
