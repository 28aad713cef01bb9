"""Sections of a system's configuration that do not describe networks: clips, training, embedding, initial weights."""

from dataclasses import dataclass, field
from typing import Literal


def positive(**values: float | None) -> None:
    """Raise ValueError for the first of the named values that is neither None nor larger than 0."""
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
    """One mask of each kind per clip, with a width drawn uniformly from 0 to the given value; masked cells become 0,
    the mean.

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
    """Options of the training clips. Evaluation always uses whole utterances, without augmentation.

    Args:
        window: length of a training clip in seconds; audio and video start at the same time. Shorter utterances are
            used completely.
        video_frames: number of evenly spaced face frames of the window that the network receives; null for all.
        noise_reverb: add noise, music, babble, reverberation or nothing to the audio, each with equal probability.
        spec_augment: masks on the audio features; null for none.
        video_augment: augment the face frames, with the same parameters for all frames of a clip.
        speed_perturb: play the audio at 1, 0.9 or 1.1 times its speed, each with equal probability; each identity at
            each speed is a class of its own (audio systems only).
        av_mixup: take the video of a clip from another utterance of the same identity, if possible from another
            recording.
        modality_dropout: probability that a clip of voice and face loses one of the two, each with equal probability.
        wrong_labels: share of the training utterances that are labeled with the identity of another one, to study how
            much of it a training tolerates.
        wrong_faces: share of the training utterances that show the face of another identity; not for systems that need
            the true worth of every moment.
        wrong_ages: share of the training utterances that have the age of another one.
        held_out: share of the utterances of each identity that are not trained on. Their accuracy is computed after
            every epoch, and takes the place of the development EER for ``train.keep: best`` and the schedule plateau.
        utterances_per_speaker: M of N x M batches, which have N distinct identities with M utterances each; null for
            batches that contain every utterance at most once per epoch.
    """

    window: float = 2.0
    video_frames: int | None = None
    noise_reverb: bool = True
    spec_augment: SpecAugmentConfig | None = field(default_factory=SpecAugmentConfig)
    video_augment: bool = True
    speed_perturb: bool = False
    av_mixup: bool = False
    modality_dropout: float = 0.0
    wrong_labels: float = 0.0
    wrong_faces: float = 0.0
    wrong_ages: float = 0.0
    held_out: float = 0.0
    utterances_per_speaker: int | None = None

    def __post_init__(self) -> None:
        positive(window=self.window, video_frames=self.video_frames, utterances_per_speaker=self.utterances_per_speaker)
        for name in ("modality_dropout", "wrong_labels", "wrong_faces", "wrong_ages", "held_out"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: {getattr(self, name)}: must be between 0 and 1")


@dataclass(frozen=True)
class SGDConfig:
    """Stochastic gradient descent with momentum (without Nesterov's variant); weight decay on every parameter.

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
    """lr, multiplied by ``factor`` after each epoch whose development EER is not lower than all earlier ones."""

    name: Literal["plateau"] = "plateau"
    factor: float = 0.95

    def __post_init__(self) -> None:
        positive(factor=self.factor)


@dataclass(frozen=True)
class ConstantSchedule:
    """A constant learning rate."""

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
    """Training options. The seed and the number of devices and loader workers come from the command line.

    Args:
        epochs: passes over the training list, with at most one clip of every utterance in each: the rest after the last
            full batch is left out, and N x M batches draw utterances of each identity.
        batch_size: clips in one optimizer step, summed over all devices.
        optimizer: sgd or adamw with its options.
        schedule: schedule of the learning rate: step, exponential, cosine, plateau or constant.
        warmup_epochs: the learning rate is multiplied by a factor that rises linearly from 0 to 1 over this number of
            epochs (fractions are allowed).
        clip_norm: largest L2 norm of the gradient; null for no clipping.
        precision: fp32, or bf16 or fp16 with autocast; losses are always computed in float32.
        margin_warmup: null for the full margin from the start.
        num_threads: CPU threads of a training process; the last bits of sums depend on it.
        checkpoint_minutes: minutes between checkpoints; the end of each epoch is saved too.
        keep: final.pt contains the weights of the last epoch, or those of the epoch with the best development EER (or
            accuracy on held-out clips, see ``data.held_out``).
        average_last: final.pt averages the weights after each of the last n epochs (with keep: last).
        evaluate_every: epochs between two computations of the development EER; the last epoch always has one.
        fuse_classes: a system that starts from an audio and a visual system of the same speakers starts with the fusion
            of their class weights, instead of random ones.
        freeze: parts that keep the weights they start from; their batch normalization uses its stored statistics.
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
    freeze: tuple[Literal["audio", "visual", "fusion"], ...] = ()
    fuse_classes: bool = False

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
            raise ValueError("evaluate_every: schedule plateau needs the development EER of every epoch")


@dataclass(frozen=True)
class EmbedConfig:
    """How whole utterances are embedded.

    Args:
        batch_size: utterances in one forward pass, sorted by length; it affects results only by rounding.
        video_frames: number of evenly spaced face frames of an utterance; null for all.
        video_fps: evenly spaced face frames per second of an utterance, at least one; cannot be combined with
            ``video_frames``.
        mirror: the visual network also embeds the horizontally mirrored frames.
        speeds: the audio network also embeds the utterance at 0.9 and 1.1 times its speed. A network that was trained
            with ``data.speed_perturb`` treats these as other identities, so each speed is another comparison of two
            utterances. The embeddings are normalized to the same length and concatenated: their cosine is the mean of
            the cosines at equal speeds.
    """

    batch_size: int = 16
    video_frames: int | None = None
    video_fps: float | None = None
    mirror: bool = False
    speeds: bool = False

    def __post_init__(self) -> None:
        positive(batch_size=self.batch_size, video_frames=self.video_frames, video_fps=self.video_fps)
        if self.video_frames is not None and self.video_fps is not None:
            raise ValueError("video_fps: cannot be combined with video_frames")

    def num_faces(self, frames: int, fps: float) -> int:
        """The number of face frames that the visual network receives of an utterance.

        Args:
            frames: face frames of the utterance; at least 1.
            fps: their number per second.

        Example:
            >>> EmbedConfig(video_fps=6).num_faces(100, 25.0), EmbedConfig(video_frames=5).num_faces(3, 25.0)
            (24, 5)
        """
        if self.video_fps is not None:
            return min(frames, max(1, round(frames * self.video_fps / fps)))
        return self.video_frames or frames


@dataclass(frozen=True)
class InitFrom:
    """The systems whose trained weights a system starts from.

    Args:
        audio: system of the audio network, including its pooling.
        visual: system of the visual network, including its pooling.
        system: system of all weights; cannot be combined with the others. The networks are those of that system, with
            the changes of this file. New speakers start from the means of its embeddings.

    Each names a system of ``conf/systems``, or the folder of a finished one, as in ``exp/mini/ecapa``.
    """

    audio: str | None = None
    visual: str | None = None
    system: str | None = None

    def __post_init__(self) -> None:
        if self.system is not None and (self.audio is not None or self.visual is not None):
            raise ValueError("system: the whole system is loaded: remove audio and visual")


@dataclass(frozen=True)
class Pretrained:
    """Published weights that a network starts from: names in ``conf/weights.yaml`` or files; null for none."""

    audio: str | None = None
    visual: str | None = None
