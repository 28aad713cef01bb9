"""Networks and losses from their configurations, and weights into them."""

from collections.abc import Mapping

from torch import Tensor, nn

from avsv.errors import DataError
from avsv.model.config import NetworkConfig
from avsv.model.registry import find_class


def build_network(config: NetworkConfig | None, *arguments: int) -> nn.Module | None:
    """The network or loss that a configuration names, with fresh weights; None for None.

    Args:
        config: its role, name and options.
        arguments: what the system gives its constructor; see :data:`avsv.model.registry.ROLES`.

    Raises:
        DataError: the class refuses its options.
    """
    if config is None:
        return None
    try:
        return find_class(config.role, config.name)(*arguments, **config.options)
    except ValueError as error:
        raise DataError(f"{config.role}: {config.name}: {error}") from None


def part_of(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The weights of one submodule of a module, from the module's ``state_dict``.

    Example:
        >>> part_of({"audio.bias": 1, "fusion.audio.bias": 2}, "audio")
        {'bias': 1}
    """
    start = f"{name}."
    return {key.removeprefix(start): value for key, value in state.items() if key.startswith(start)}


def load_exactly(module: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Load a ``state_dict`` that must have exactly the weights of a module; nothing is loaded otherwise.

    Args:
        module: changed in place.
        state: the weights.
        what: whose weights they are, for error messages.

    Raises:
        DataError: a weight is missing, unknown or of another shape.
    """
    wanted = module.state_dict()
    problems = [f"lacks {key}" for key in wanted if key not in state]
    problems += [f"has the unknown {key}" for key in state if key not in wanted]
    for key, value in state.items():
        if key in wanted and value.shape != wanted[key].shape:
            problems.append(f"{key} is {tuple(value.shape)} and not {tuple(wanted[key].shape)}")
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise DataError(
            f"weights of {what} do not fit: the file {', '.join(problems[:3])}{more}: "
            "train again with the same network options"
        )
    module.load_state_dict(state)


def load_fitting(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load those weights of a ``state_dict`` whose names and shapes are those of a module; the others stay as they are.

    Example:
        >>> import torch
        >>> layer = nn.Linear(1, 1)
        >>> load_fitting(layer, {"bias": torch.tensor([5.0]), "weight": torch.ones(3, 3), "more": torch.ones(1)})
        >>> layer.bias.item()
        5.0
    """
    own = module.state_dict()
    module.load_state_dict(
        {**own, **{key: value for key, value in state.items() if key in own and value.shape == own[key].shape}}
    )
