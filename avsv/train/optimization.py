"""The optimizer steps of a training: gradients in mixed precision and over several processes."""

import contextlib
import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from avsv.config.sections import TrainConfig
from avsv.data.batch import Batch
from avsv.errors import DataError
from avsv.model.trainable import TrainableSystem
from avsv.train.distributed import Ranks
from avsv.train.schedule import make_optimizer


class Optimization:
    """The parameters of a system, their optimizers and their gradients.

    A step consists of :meth:`backward`, followed by :meth:`apply`. Neither waits for the device. The auxiliary networks
    of a supervision are trained together with the system, by their own optimizer.

    Args:
        system: the system, on the device of ``ranks``.
        config: training options, of which the optimizer, the precision and ``clip_norm`` are used.
        ranks: the processes that train together.

    Raises:
        DataError: this device does not support the precision.
    """

    def __init__(self, system: TrainableSystem, config: TrainConfig, ranks: Ranks) -> None:
        if config.precision == "fp16" and ranks.device.type == "cpu":
            raise DataError("train.precision: fp16 needs a GPU: use bf16 or fp32, or --ngpu 1")
        self.config, self.device = config, ranks.device
        self.model: nn.Module = system
        if ranks.world > 1:
            self.model = DistributedDataParallel(system, find_unused_parameters=system.lacks_gradients)
        supervision = system.supervision
        self.auxiliary: list[nn.Parameter] = []
        self._auxiliary_optimizer = None
        if supervision is not None and supervision.auxiliary is not None:
            self.auxiliary = list(supervision.auxiliary.parameters())
            self._auxiliary_optimizer = torch.optim.Adam(
                self.auxiliary, lr=supervision.auxiliary_lr, betas=supervision.auxiliary_betas, fused=True
            )
        apart = set(map(id, self.auxiliary))
        self.parameters = [p for p in system.parameters() if p.requires_grad and id(p) not in apart]
        self.optimizer = make_optimizer(config, self.parameters, system.backbone_parameters())
        self._optimizers = [o for o in (self.optimizer, self._auxiliary_optimizer) if o is not None]
        self.scaler = torch.amp.GradScaler("cuda", enabled=config.precision == "fp16")
        self.buffers = list(system.buffers())
        self.parts = system.parts()
        self._statistics = _RunningStatistics(self.buffers)

    @property
    def lr(self) -> float:
        """The learning rate of the last step, before multiplication by the factor of a group."""
        group = self.optimizer.param_groups[0]
        return group["lr"] / group["factor"]

    def backward(self, batch: Batch, lr: float) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Compute the gradient of a batch and clip it.

        Returns:
            Figures, scalars on the device: those of the loss, and norms before clipping. ``grad_norm`` is of all that
            the main optimizer changes, ``grad_norm_PART`` of its parts (see
            :meth:`avsv.model.trainable.TrainableSystem.parts`), ``auxiliary_grad_norm`` of the supervision's own
            networks. And whether the loss and these norms are finite, a boolean on the device.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["factor"]
        self._statistics.keep()
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            loss, figures = self.model(batch)
        self.scaler.scale(loss).backward()
        optimizers = self._optimizers_with_gradient()
        for optimizer in optimizers:
            self.scaler.unscale_(optimizer)
        figures = {**figures, **self._part_norms()}
        figures["grad_norm"] = nn.utils.clip_grad_norm_(self.parameters, self.config.clip_norm or math.inf)
        if self._auxiliary_optimizer in optimizers:
            figures["auxiliary_grad_norm"] = nn.utils.clip_grad_norm_(self.auxiliary, math.inf)
        decisive = [figures[name] for name in ("loss", "grad_norm", "auxiliary_grad_norm") if name in figures]
        return figures, torch.stack([value.float() for value in decisive]).isfinite().all()

    def _part_norms(self) -> dict[str, torch.Tensor]:
        """The norm of the gradient of every part that has one, as ``grad_norm_PART``, before it is clipped."""
        gradients = {name: [p.grad for p in part if p.grad is not None] for name, part in self.parts.items()}
        return {f"grad_norm_{name}": nn.utils.get_total_norm(found) for name, found in gradients.items() if found}

    def apply(self, finite: torch.Tensor) -> None:
        """Make a step with the optimizers; or none, and restore the running statistics, which include the bad values.

        Args:
            finite: a boolean on the device: whether to make the step.
        """
        for optimizer in self._optimizers_with_gradient():
            # Fused optimizers look at this themselves, on the device.
            optimizer.found_inf, optimizer.grad_scale = (~finite).float(), None
            optimizer.step()
        self.scaler.update()
        self._statistics.restore_unless(finite)

    def _optimizers_with_gradient(self) -> list[torch.optim.Optimizer]:
        # If no clip of the batch is supervised, the auxiliary networks have no gradient.
        return [
            optimizer
            for optimizer in self._optimizers
            if any(parameter.grad is not None for group in optimizer.param_groups for parameter in group["params"])
        ]

    def _autocast(self) -> contextlib.AbstractContextManager:
        if self.config.precision == "fp32":
            return contextlib.nullcontext()
        dtype = torch.bfloat16 if self.config.precision == "bf16" else torch.float16
        return torch.autocast(self.device.type, dtype=dtype)

    def state_dict(self) -> dict[str, Any]:
        """The state of the optimizers and of the loss scale."""
        return {
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "scaler": self.scaler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state of :meth:`state_dict`."""
        for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.scaler.load_state_dict(state["scaler"])


class _RunningStatistics:
    """A copy of buffers, and their way back, with a few operations for all of them.

    Args:
        buffers: the buffers, on one device.
    """

    def __init__(self, buffers: Iterable[torch.Tensor]) -> None:
        self._groups = []
        by_type: dict[torch.dtype, list[torch.Tensor]] = {}
        for buffer in buffers:
            by_type.setdefault(buffer.dtype, []).append(buffer)
        for group in by_type.values():
            sizes = [buffer.numel() for buffer in group]
            kept, now = (torch.empty(sum(sizes), dtype=group[0].dtype, device=group[0].device) for _ in range(2))
            parts = (
                [part.view(buffer.shape) for part, buffer in zip(flat.split(sizes), group, strict=True)]
                for flat in (kept, now)
            )
            self._groups.append((group, kept, now, *parts))

    def keep(self) -> None:
        """Copy the buffers."""
        for buffers, _, _, kept, _ in self._groups:
            torch._foreach_copy_(kept, buffers)

    def restore_unless(self, fine: torch.Tensor) -> None:
        """Give the buffers the values of the copy, unless a boolean on their device is True."""
        for buffers, all_kept, all_now, _, now in self._groups:
            torch._foreach_copy_(now, buffers)
            torch.where(fine, all_now, all_kept, out=all_now)
            torch._foreach_copy_(buffers, now)
