"""Plan of the corpus: who appears in which clip. It depends only on the settings, the preset and the seed."""

from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np

from avsv.config.strict import read_yaml
from avsv.errors import DataError
from avsv.seeding import generator_for

SETS = ("train", "dev", "eval")
_SESSION_LETTERS = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"))
# The settings of each section of corpus.yaml.
_SETTINGS = {
    "trials": "nontargets_per_target same_gender",
    "media": "sample_rate fps size crf audio_kbps",
    "voice": "spread f0 rate formants effort_db channel_db narrow_band reverberant snr_db",
    "face": "spread yaw pitch roll shift scale expression light gain blur noise glasses hat occlusion",
    "worth": "spoiled stretch correlation burst_db silence_db turned blurred dark",
}


@dataclass(frozen=True)
class Settings:
    """One preset of ``corpus.yaml``: the ``sizes`` of the preset, and the sections that all presets share."""

    sizes: dict
    trials: dict
    media: dict
    voice: dict
    face: dict
    worth: dict


@dataclass(frozen=True)
class Identity:
    """An identity: number ``rank`` of ``peers`` identities of its set and gender; traits are drawn on demand."""

    name: str
    subset: str
    gender: str
    age: int
    rank: int
    peers: int
    seed: int

    def uniform(self, trait: str) -> float:
        """The quantile in (0, 1) of a trait: independent of other traits, and evenly distributed over the peers.

        Peers are the identities of the same set and gender. With this Latin hypercube, the corpora of all seeds are
        equally hard.
        """
        rng = generator_for(self.seed, "trait", trait, self.subset, self.gender)
        return float((rng.permutation(self.peers)[self.rank] + rng.random(self.peers)[self.rank]) / self.peers)

    def normal(self, trait: str) -> float:
        """The trait as a standard normal value, clipped at 2.2."""
        return float(np.clip(NormalDist().inv_cdf(self.uniform(trait)), -2.2, 2.2))

    def choice(self, trait: str, options: list):
        """The trait as one of the options, all with equal probability."""
        return options[int(self.uniform(trait) * len(options))]


@dataclass(frozen=True)
class Clip:
    """One media file: ``key`` is the utterance, ``path`` is in the media folder, ``seconds`` is whole frames."""

    identity: Identity
    session: str
    key: str
    path: str
    seconds: float


def load_settings(config: Path, preset: str) -> Settings:
    """Load the settings of a preset.

    Raises:
        DataError: there is no such preset, or a section has unknown or missing settings.
    """
    content = read_yaml(config)
    presets = content.pop("presets", {})
    if preset not in presets:
        raise DataError(f"{config}: no preset {preset!r}: choose one of {', '.join(presets)}")
    for section in sorted(set(_SETTINGS) | set(content)):
        wanted, found = set(_SETTINGS.get(section, "").split()), set(content.get(section, {}))
        if not wanted or wanted != found:
            extra, missing = (", ".join(sorted(names)) or "none" for names in (found - wanted, wanted - found))
            raise DataError(f"{config}: section {section}: unknown settings: {extra}; missing settings: {missing}")
    return Settings(sizes=presets[preset], **content)


def identities(settings: Settings, seed: int) -> list[Identity]:
    """All identities of all sets; every second one is a woman, and ages are between 18 and 75."""
    made: list[Identity] = []
    for subset in SETS:
        count = settings.sizes[subset]["identities"]
        for index in range(count):
            gender = "fm"[index % 2]
            draft = Identity(
                name=f"id{10001 + len(made)}",
                subset=subset,
                gender=gender,
                age=0,
                rank=index // 2,
                peers=(count + 1) // 2 if gender == "f" else count // 2,
                seed=seed,
            )
            age = 18 + int(57.99 * draft.uniform("age"))
            made.append(Identity(**{**vars(draft), "age": age}))
    return made


def clips_of(identity: Identity, settings: Settings) -> list[Clip]:
    """The clips of an identity in the order of keys, in folders ``IDENTITY/SESSION/00001.mp4`` as in VoxCeleb."""
    size = settings.sizes[identity.subset]
    rng = generator_for(identity.seed, "sessions", identity.name)
    names = sorted({"".join(rng.choice(_SESSION_LETTERS, 11)) for _ in range(size["sessions"])})
    low, high = (seconds * settings.media["fps"] for seconds in size["seconds"])
    made = []
    for number, session in enumerate(names):
        for index in range(size["clips"][(number + identity.rank) % len(size["clips"])]):
            frames = int(rng.integers(round(low), round(high) + 1))
            made.append(
                Clip(
                    identity=identity,
                    session=session,
                    key=f"{identity.name}-{session}-{index + 1:05d}",
                    path=f"mp4/{identity.name}/{session}/{index + 1:05d}.mp4",
                    seconds=frames / settings.media["fps"],
                )
            )
    return made
