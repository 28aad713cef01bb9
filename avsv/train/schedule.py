"""Learning rates and optimizers from the configuration."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from avsv.config.sections import (
    CosineSchedule,
    ExponentialSchedule,
    PlateauSchedule,
    SGDConfig,
    StepSchedule,
    TrainConfig,
)


def learning_rate(config: TrainConfig, step: int, steps_per_epoch: int, errors: Sequence[float] = ()) -> float:
    """The learning rate of an optimizer step.

    It depends only on the position and on the earlier epochs, so a resumed training needs no scheduler state. The
    warm-up factor reaches 1 at the end of the warm-up and is larger than 0 in the first step.

    Source: halving every 2 or 5 epochs is the recipe of Sun et al.; exponential with warm-up is that of WeSpeaker.

    Args:
        config: training options, of which epochs, optimizer, schedule and warmup_epochs are used.
        step: number of the step since the start of training, counted from 0.
        steps_per_epoch: steps per epoch.
        errors: errors of the earlier epochs, such as the development EER, which the plateau schedule uses.

    Example (lr 0.01 halved every 2 epochs, at epoch 4):
        >>> from avsv.config.sections import SGDConfig, StepSchedule
        >>> config = TrainConfig(epochs=20, batch_size=1, optimizer=SGDConfig(lr=0.01), schedule=StepSchedule(every=2))
        >>> learning_rate(config, step=40, steps_per_epoch=10)
        0.0025
    """
    schedule, lr = config.schedule, config.optimizer.lr
    progress = step / (config.epochs * steps_per_epoch)
    if isinstance(schedule, StepSchedule):
        value = lr * schedule.factor ** (step // steps_per_epoch // schedule.every)
    elif isinstance(schedule, ExponentialSchedule):
        value = lr * (schedule.final_lr / lr) ** progress
    elif isinstance(schedule, CosineSchedule):
        value = schedule.final_lr + (lr - schedule.final_lr) * (1 + math.cos(math.pi * progress)) / 2
    elif isinstance(schedule, PlateauSchedule):
        stuck = sum(error >= min(errors[:epoch]) for epoch, error in enumerate(errors) if epoch > 0)
        value = lr * schedule.factor**stuck
    else:
        value = lr
    warmup_steps = config.warmup_epochs * steps_per_epoch
    return value * min(1.0, (step + 1) / warmup_steps) if warmup_steps else value


def make_optimizer(
    config: TrainConfig, parameters: Iterable[nn.Parameter], backbones: Iterable[nn.Parameter] = ()
) -> torch.optim.Optimizer:
    """Make the configured optimizer of all trainable parameters.

    Args:
        config: training options, of which the optimizer is used.
        parameters: all parameters.
        backbones: the parameters whose learning rate is ``backbone_factor`` times that of the others.

    Returns:
        An optimizer whose groups contain the ``factor`` of their learning rate.
    """
    settings = config.optimizer
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    slow = set(map(id, backbones)) if settings.backbone_factor != 1 else set()
    groups = [{"params": [p for p in trained if id(p) not in slow], "factor": 1.0}]
    if slow:
        groups.append({"params": [p for p in trained if id(p) in slow], "factor": settings.backbone_factor})
    groups = [group for group in groups if group["params"]]
    options = {"lr": settings.lr, "weight_decay": settings.weight_decay, "fused": True}
    if isinstance(settings, SGDConfig):
        optimizer = torch.optim.SGD(groups, momentum=settings.momentum, **options)
        # A fused SGD makes the momenta of all parameters in its first step, but a parameter may have its first gradient
        # later, and the first step may be skipped. The first momentum is the gradient either way.
        for parameter in trained if settings.momentum else []:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return optimizer
    return torch.optim.AdamW(groups, **options)
