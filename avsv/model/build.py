"""Building networks and losses from their configurations, and loading weights into them."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from avsv.config.extension import is_outside
from avsv.errors import DataError
from avsv.model.config import NetworkConfig
from avsv.model.registry import find_class


class WithoutValues(TorchFunctionMode):
    """Inside this context, modules get no initial values: for those on the meta device, where nothing has a value.

    Drawing values there would make PyTorch import its compiler, which takes a second and more.
    """

    def __torch_function__(self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        """Call a function of PyTorch, or leave out one that draws values in place."""
        if getattr(func, "__name__", "") in ("normal_", "uniform_", "kaiming_uniform_", "constant_"):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def build_network(config: NetworkConfig | None, *arguments: int) -> nn.Module | None:
    """Build the network or loss that a configuration names, with random weights; None for None.

    Args:
        config: its role, name and options.
        arguments: the positional arguments of its constructor; see :data:`avsv.model.registry.ROLES`.

    Raises:
        DataError: the class does not accept its options.
    """
    if config is None:
        return None
    try:
        return find_class(config.role, config.name)(*arguments, **config.options)
    except ValueError as error:
        raise DataError(f"{config.role}: {config.name}: {error}") from None
    except (TypeError, ArithmeticError, RuntimeError) as error:
        # Sizes that no layer can have; a class from outside the package shows where it fails.
        if is_outside(config.name):
            raise
        reason = str(error).splitlines()[0]
        raise DataError(f"{config.role}: {config.name}: cannot be built with these options: {reason}") from None


def part_of(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The weights of one submodule, taken from the ``state_dict`` of a module.

    Example:
        >>> part_of({"audio.bias": 1, "fusion.audio.bias": 2}, "audio")
        {'bias': 1}
    """
    start = f"{name}."
    return {key.removeprefix(start): value for key, value in state.items() if key.startswith(start)}


def check_exactly(module: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Check that a ``state_dict`` contains exactly the weights of a module, which may be on the meta device.

    Args:
        module: the module.
        state: the weights.
        what: name of their owner in error messages.

    Raises:
        DataError: a weight is missing, unknown or of the wrong shape.
    """
    wanted = module.state_dict()
    problems = [f"lacks {key}" for key in wanted if key not in state]
    problems += [f"has the unknown {key}" for key in state if key not in wanted]
    for key, value in state.items():
        # The extra state of a module has any size; it checks it itself.
        if key in wanted and value.shape != wanted[key].shape and not key.endswith("_extra_state"):
            problems.append(f"{key} has the shape {tuple(value.shape)} instead of {tuple(wanted[key].shape)}")
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise DataError(
            f"weights of {what} do not fit: the file {', '.join(problems[:3])}{more}: "
            "train again with the same network options"
        )


def load_exactly(module: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Load a ``state_dict`` that must contain exactly the weights of a module; otherwise nothing is loaded.

    Raises:
        DataError: as :func:`check_exactly`.
    """
    check_exactly(module, state, what)
    module.load_state_dict(state)


def load_fitting(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load the weights of a ``state_dict`` whose names and shapes match those of a module; others are ignored.

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
