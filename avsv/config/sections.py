"""Sections of a system's configuration that name no network: clips, training, embedding, where weights come from."""

from dataclasses import dataclass, field
from typing import Literal


def positive(**values: float | None) -> None:
    """Raise ValueError for the first of the named values that is not None and not larger than 0."""
    for name, value in values.items():
        if value is not None and not value > 0:
            raise ValueError(f"{name}: {value}: must be larger than 0")


def not_negative(**values: float) -> None:
    """Raise ValueError for the first of the named values that is negative."""
    for name, value in values.items():
        if not value >= 0:
            raise ValueError(f"{name}: {value}: must not be negative")


@dataclass(frozen=True)
class SpecAugmentConfig:
    """One mask of each kind a clip, its width drawn uniformly from 0 to the value given; masked cells are 0, the mean.

    Args:
        time: largest width in frames.
        frequency: largest width in bins.
    """

    time: int = 5
    frequency: int = 10

    def __post_init__(self) -> None:
        not_negative(time=self.time, frequency=self.frequency)


@dataclass(frozen=True)
class DataConfig:
    """What a training clip is. Evaluation always uses whole utterances, without augmentation.

    Args:
        window: seconds of a training clip; audio and video share its start. Shorter utterances are used whole.
        video_frames: face frames of the window that the network sees, evenly spread; null for all of them.
        noise_reverb: add noise, music, babble or a room to the audio, or nothing, each with equal probability.
        spec_augment: mask bands of the audio features; null for none.
        video_augment: augment the face frames, alike in the whole clip.
        speed_perturb: play the audio at 1, 0.9 or 1.1 times its speed, each with equal probability; a speaker at
            another speed is another class (audio systems only).
        av_mixup: the video of a clip is of another utterance of the same speaker, from another recording if possible.
        utterances_per_speaker: M of N x M batches: N distinct speakers with M utterances each; null for batches that
            take every utterance once an epoch.
    """

    window: float = 2.0
    video_frames: int | None = None
    noise_reverb: bool = True
    spec_augment: SpecAugmentConfig | None = field(default_factory=SpecAugmentConfig)
    video_augment: bool = True
    speed_perturb: bool = False
    av_mixup: bool = False
    utterances_per_speaker: int | None = None

    def __post_init__(self) -> None:
        positive(window=self.window, video_frames=self.video_frames, utterances_per_speaker=self.utterances_per_speaker)


@dataclass(frozen=True)
class SGDConfig:
    """Stochastic gradient descent with (not Nesterov's) momentum; weight decay on every parameter.

    The learning rate of the audio and visual networks is ``backbone_factor`` times that of the rest.
    """

    name: Literal["sgd"] = "sgd"
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    backbone_factor: float = 1.0

    def __post_init__(self) -> None:
        positive(lr=self.lr, backbone_factor=self.backbone_factor)
        not_negative(momentum=self.momentum, weight_decay=self.weight_decay)


@dataclass(frozen=True)
class AdamWConfig:
    """AdamW with betas 0.9 and 0.999 and epsilon 1e-8; ``backbone_factor`` as in :class:`SGDConfig`."""

    name: Literal["adamw"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.01
    backbone_factor: float = 1.0

    def __post_init__(self) -> None:
        positive(lr=self.lr, backbone_factor=self.backbone_factor)
        not_negative(weight_decay=self.weight_decay)


@dataclass(frozen=True)
class StepSchedule:
    """lr * factor ** floor(epoch / every), with epoch counted from 0."""

    name: Literal["step"] = "step"
    every: int = 5
    factor: float = 0.5

    def __post_init__(self) -> None:
        positive(every=self.every, factor=self.factor)


@dataclass(frozen=True)
class ExponentialSchedule:
    """lr * (final_lr / lr) ** x, updated every optimizer step, where x goes from 0 to 1 over the training."""

    name: Literal["exponential"] = "exponential"
    final_lr: float = 1e-5

    def __post_init__(self) -> None:
        positive(final_lr=self.final_lr)


@dataclass(frozen=True)
class CosineSchedule:
    """final_lr + (lr - final_lr) * (1 + cos(pi * x)) / 2, updated every optimizer step, x from 0 to 1 over training."""

    name: Literal["cosine"] = "cosine"
    final_lr: float = 1e-5

    def __post_init__(self) -> None:
        not_negative(final_lr=self.final_lr)


@dataclass(frozen=True)
class PlateauSchedule:
    """lr, multiplied by ``factor`` after each epoch whose development EER is not lower than all before it."""

    name: Literal["plateau"] = "plateau"
    factor: float = 0.95

    def __post_init__(self) -> None:
        positive(factor=self.factor)


@dataclass(frozen=True)
class ConstantSchedule:
    """lr throughout."""

    name: Literal["constant"] = "constant"


@dataclass(frozen=True)
class MarginWarmup:
    """Margin 0 before epoch ``start``, then rising as 1 - 0.001 ** x to its full value at epoch ``end``.

    Epochs are counted from 0 and may be fractions; x goes from 0 to 1 between the two.
    :func:`avsv.losses.margin.warm_margin` computes it.
    """

    start: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        not_negative(start=self.start)
        if self.end < self.start:
            raise ValueError(f"end: {self.end}: must not come before start {self.start}")


@dataclass(frozen=True)
class TrainConfig:
    """How the system is trained. The seed and the number of devices and loader workers come from the command line.

    Args:
        epochs: passes over the training list, one clip of every utterance in each.
        batch_size: clips in one optimizer step, over all devices.
        optimizer: sgd or adamw with its options.
        schedule: of the learning rate: step, exponential, cosine, plateau or constant.
        warmup_epochs: the learning rate is multiplied by a line from 0 to 1 over this time (fractions allowed).
        clip_norm: largest L2 norm of the gradient; null for no clipping.
        precision: fp32, or bf16 or fp16 by autocast; losses are in float32 always.
        margin_warmup: null for the full margin from the start.
        num_threads: CPU threads of a training process; sums depend on it in their last bits.
        checkpoint_minutes: save for resuming this often, and at the end of each epoch.
        keep: final.pt has the weights of the last epoch, or of the best one by development EER.
        average_last: final.pt averages the weights after each of the last n epochs (with keep: last).
        evaluate_every: epochs between two development EERs; the last epoch always has one.
    """

    epochs: int
    batch_size: int
    optimizer: SGDConfig | AdamWConfig
    schedule: StepSchedule | ExponentialSchedule | CosineSchedule | PlateauSchedule | ConstantSchedule
    warmup_epochs: float = 0.0
    clip_norm: float | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    margin_warmup: MarginWarmup | None = None
    num_threads: int = 2
    checkpoint_minutes: float = 10.0
    keep: Literal["last", "best"] = "last"
    average_last: int = 1
    evaluate_every: int = 1

    def __post_init__(self) -> None:
        positive(
            epochs=self.epochs,
            batch_size=self.batch_size,
            clip_norm=self.clip_norm,
            num_threads=self.num_threads,
            checkpoint_minutes=self.checkpoint_minutes,
            average_last=self.average_last,
            evaluate_every=self.evaluate_every,
        )
        not_negative(warmup_epochs=self.warmup_epochs)
        if self.average_last > self.epochs:
            raise ValueError(f"average_last: {self.average_last}: more than the {self.epochs} epochs")
        if self.average_last > 1 and self.keep == "best":
            raise ValueError("average_last: averaging the last epochs contradicts keep: best")
        if self.evaluate_every > 1 and isinstance(self.schedule, PlateauSchedule):
            raise ValueError("evaluate_every: schedule plateau goes by the development EER of every epoch")


@dataclass(frozen=True)
class EmbedConfig:
    """How whole utterances are embedded.

    Args:
        batch_size: utterances in one forward pass, sorted by length; results do not depend on it beyond rounding.
        video_frames: face frames of an utterance, evenly spread over it; null for all of them.
        mirror: the visual network sees every one of them a second time, left and right exchanged.
        speeds: the audio network hears the utterance at 0.9 and 1.1 times its speed too. A network that was trained
            with ``data.speed_perturb`` takes these for other speakers, and so judges two utterances at each speed anew.
            The embeddings, scaled to one length, stand end to end: a cosine is the mean of those at equal speeds.
    """

    batch_size: int = 16
    video_frames: int | None = None
    mirror: bool = False
    speeds: bool = False

    def __post_init__(self) -> None:
        positive(batch_size=self.batch_size, video_frames=self.video_frames)


@dataclass(frozen=True)
class InitFrom:
    """The systems whose trained weights a system starts from.

    Args:
        audio: the audio network, pooling included.
        visual: the visual network, pooling included.
        system: everything, classes included; alone. The networks are those of that system, with what this file changes.
    """

    audio: str | None = None
    visual: str | None = None
    system: str | None = None

    def __post_init__(self) -> None:
        if self.system is not None and (self.audio is not None or self.visual is not None):
            raise ValueError("system: the whole system is loaded: remove audio and visual")


@dataclass(frozen=True)
class Pretrained:
    """Published weights that a network starts from: names of ``conf/weights.yaml`` or files; null for none."""

    audio: str | None = None
    visual: str | None = None
