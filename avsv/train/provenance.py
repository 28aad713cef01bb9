"""The provenance of a training: enough to repeat it, and to refuse to resume it with other inputs."""

import hashlib
import platform
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import avsv
from avsv.audio.config import FbankConfig
from avsv.model.config import SystemConfig, load_config
from avsv.train.machine import processor

PACKAGES = ("torch", "torchaudio", "torchvision", "numpy", "scipy")
# Keys that affect when something is computed, but not its result.
_FREE_KEYS = {"train.checkpoint_minutes"}


def file_md5(path: str | Path) -> str:
    """The md5 of the content of a file."""
    digest = hashlib.md5(usedforsecurity=False)
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def identity(
    config: SystemConfig, seed: int, files: Iterable[str | Path], audio: FbankConfig | None = None
) -> dict[str, Any]:
    """All inputs of a training: both configurations key by key, the seed, and the md5 of each file."""
    features = _flat(audio.to_dict(), "fbank") if audio is not None else {}
    return {
        "config": {**_flat(config.to_mapping()), **features},
        "seed": seed,
        "files": {str(path): file_md5(path) for path in files},
    }


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    if not isinstance(value, dict):
        return {prefix: str(value)}
    flat: dict[str, str] = {}
    for key, item in value.items():
        flat.update(_flat(item, f"{prefix}.{key}" if prefix else key))
    return flat


def with_new_keys(before: dict[str, Any], config: Path) -> dict[str, Any]:
    """An identity with the keys that systems have got since it was made, at their defaults.

    Args:
        before: the identity of a training.
        config: its config.yaml.

    Raises:
        DataError: the configuration cannot be read.
    """
    return {**before, "config": {**_flat(load_config(config).to_mapping()), **before["config"]}}


def difference(before: dict[str, Any], now: dict[str, Any]) -> str | None:
    """The first difference between two identities, in words; None if they agree.

    Example:
        >>> base = {"config": {"train.epochs": "3"}, "seed": 1, "files": {"data/train/feats.scp": "d41d"}}
        >>> difference(base, {**base, "seed": 2})
        'seed was 1, is now 2'
        >>> difference(base, {**base, "config": {"train.epochs": "4"}})
        'train.epochs was 3, is now 4'
        >>> difference(base, {**base, "files": {"data/mine/feats.scp": "d41d"}})
        'data/train/feats.scp was read, data/mine/feats.scp is now'
    """
    for key in sorted((before["config"].keys() | now["config"].keys()) - _FREE_KEYS):
        old, new = before["config"].get(key, "absent"), now["config"].get(key, "absent")
        if old != new:
            return f"{key} was {old}, is now {new}"
    if before["seed"] != now["seed"]:
        return f"seed was {before['seed']}, is now {now['seed']}"
    gone, new = (set(a["files"]) - set(b["files"]) for a, b in ((before, now), (now, before)))
    for old in sorted(gone):
        # The same list of another data directory.
        if others := sorted(name for name in new if Path(name).name == Path(old).name):
            return f"{old} was read, {others[0]} is now"
    for name in sorted(before["files"].keys() | now["files"].keys()):
        if name not in before["files"]:
            return f"{name} was not used before"
        if name not in now["files"]:
            return f"{name} is no longer used"
        if before["files"][name] != now["files"][name]:
            return f"{name} has changed"
    return None


def environment() -> dict[str, Any]:
    """The processor, the versions of Python and of numerical packages, and the git revision of the code."""
    versions = {"python": platform.python_version()}
    versions.update({name: metadata.version(name) for name in PACKAGES})
    return {"processor": processor(), "versions": versions, "git": git_revision()}


def git_revision() -> str | None:
    """The git revision of the code, with "+changes" if files differ from it; None outside a repository."""
    root = Path(avsv.__file__).parent.parent
    try:
        commit = _git(root, "rev-parse", "--short=12", "HEAD")
        return commit + ("+changes" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()
