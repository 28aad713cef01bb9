"""Published weights of audio networks under other names."""

import re
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

Rules = Sequence[tuple[str, str | Callable[[re.Match[str]], str]]]


def renamed(network: nn.Module, state: Mapping[str, Tensor], rules: Rules, unneeded: str) -> dict[str, Tensor]:
    """A state dict with the names of a network, which it must contain completely.

    Args:
        network: the network.
        state: published weights.
        rules: patterns and their replacements, applied to every name one after the other.
        unneeded: pattern of the beginning of published names that the network does not need.

    Raises:
        ValueError: a weight is missing, of another shape or not part of the network.

    Example:
        >>> import torch
        >>> renamed(nn.Linear(1, 1, bias=False), {"fc.weight": torch.ones(1, 1)}, [("^fc[.]", "")], "loss")
        {'weight': tensor([[1.]])}
    """
    where = f"published weights of {type(network).__name__}"
    own, found, unknown = network.state_dict(), {}, []
    for key, value in state.items():
        name = key
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        if name in own:
            found[name] = value
            if value.shape != own[name].shape:
                raise ValueError(f"{where}: {key} has shape {tuple(value.shape)}, expected {tuple(own[name].shape)}")
        elif not re.match(unneeded, key):
            unknown.append(key)
    missing = [name for name in own if name not in found and not name.endswith("num_batches_tracked")]
    for names, what in ((unknown, "not part of this network"), (missing, "missing")):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise ValueError(f"{where}: {', '.join(names[:3])}{more}: {what}")
    return found
