"""The modes in which a system embeds the utterances of a data directory. This module does not import torch."""

from collections.abc import Sequence
from pathlib import Path

from avsv.config.strict import read_yaml
from avsv.errors import DataError

# The lists that a modality has before and after its features are made.
_LISTS = {"A": ("wav.scp", "feats.scp", "audio.scp"), "V": ("video.scp", "faces.scp")}


def choose_modes(folder: Path, wanted: Sequence[str]) -> list[str]:
    """The modes to embed in: the wanted ones, or all modes of the system in a folder.

    Raises:
        DataError: the system does not have one of them.
    """
    # The configuration was checked when the system was trained; checking it again would import torch.
    sections = read_yaml(folder / "config.yaml")
    known = [letter for letter, network in (("A", "audio"), ("V", "visual")) if sections.get(network) is not None]
    known = ["AV", *known] if len(known) == 2 else known
    for mode in wanted:
        if mode not in known:
            raise DataError(f"--modes: {mode}: the system {folder} embeds in {', '.join(known)}")
    return list(wanted or known)


def possible_modes(directory: Path, modes: Sequence[str]) -> list[str]:
    """Those of some modes whose modalities a data directory has; it may lack one as a whole.

    Raises:
        DataError: it has none of them.
    """
    there = {letter for letter, names in _LISTS.items() if any((directory / name).exists() for name in names)}
    possible = [mode for mode in modes if there.issuperset(mode)]
    if not possible:
        raise DataError(
            f"{directory}: {lacking_modes(modes, possible)} cannot be embedded: use a system of what it has"
        )
    return possible


def lacking_modes(modes: Sequence[str], possible: Sequence[str]) -> str:
    """Why some of the modes are not possible, in words."""
    there = set("".join(possible))
    lists = [names[0] for letter, names in _LISTS.items() if letter in "".join(modes) and letter not in there]
    left_out = [mode for mode in modes if mode not in possible]
    return f"no {' and no '.join(lists)}: {' and '.join(left_out)}"
