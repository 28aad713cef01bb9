"""The lists that describe the corpus: data directories, trials, noises and room responses."""

import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from avsv.io.atomic import write_text
from avsv.io.lists import write_list
from avsv.seeding import generator_for

from .plan import SETS, Clip, Identity, Settings, clips_of
from .worth import spoil

Trial = tuple[str, str, bool]


def trials_of(clips: list[Clip], settings: Settings, seed: int) -> list[Trial]:
    """Trials between clips of one set, in the order of their keys; no pair occurs twice, in any order.

    Targets are all pairs of clips of an identity from different sessions. Non-targets are drawn evenly over pairs of
    identities, with the configured share of pairs of the same gender.

    Returns:
        Enrollment key, test key, whether it is a target.
    """
    rng = generator_for(seed, "trials", clips[0].identity.subset)
    clips_by_identity: dict[str, list[Clip]] = {}
    for clip in clips:
        clips_by_identity.setdefault(clip.identity.name, []).append(clip)
    trials: set[Trial] = set()
    for own in clips_by_identity.values():
        for one, other in itertools.combinations(own, 2):
            if one.session != other.session:
                trials.add((*_either_way(one.key, other.key, rng), True))

    wanted = settings.trials["nontargets_per_target"] * len(trials)
    genders = {clip.identity.name: clip.identity.gender for clip in clips}
    pairs = list(itertools.combinations(clips_by_identity, 2))
    same = [pair for pair in pairs if genders[pair[0]] == genders[pair[1]]]
    cross = [pair for pair in pairs if genders[pair[0]] != genders[pair[1]]]
    wanted_same = round(wanted * settings.trials["same_gender"])
    for some, count in ((same, wanted_same), (cross, wanted - wanted_same)):
        for number, (one, other) in enumerate(some):
            share = count // len(some) + (number < count % len(some))
            choices = list(itertools.product(clips_by_identity[one], clips_by_identity[other]))
            for index in rng.permutation(len(choices))[:share]:
                left, right = choices[index]
                trials.add((*_either_way(left.key, right.key, rng), False))
    return sorted(trials)


def write_lists(data: Path, media: Path, identities: list[Identity], settings: Settings, seed: int, name: str) -> None:
    """Write all lists of the files in ``media`` to ``data``. Every file is written atomically."""
    for subset in SETS:
        folder = data / subset
        people = [identity for identity in identities if identity.subset == subset]
        clips = [clip for identity in people for clip in clips_of(identity, settings)]
        keys_of = {person.name: " ".join(c.key for c in clips if c.identity is person) for person in people}
        _write_folder(
            folder,
            {
                "utt2spk": {clip.key: clip.identity.name for clip in clips},
                "spk2utt": keys_of,
                "wav.scp": {clip.key: f"{media}/{clip.path}" for clip in clips},
                "video.scp": {clip.key: f"{media}/{clip.path}" for clip in clips},
                **{f"utt2{name}_worth": values for name, values in worth_of(clips, settings).items()},
                "utt2session": {clip.key: f"{clip.identity.name}-{clip.session}" for clip in clips},
                "spk2gender": {person.name: person.gender for person in people},
                "spk2age": {person.name: str(person.age) for person in people},
            },
        )
        if subset != "train":
            (folder / "trials").mkdir(exist_ok=True)
            rows = trials_of(clips, settings, seed)
            text = "".join(f"{one} {other} {'target' if same else 'nontarget'}\n" for one, other, same in rows)
            write_text(folder / "trials" / subset, text)

    musan = {path: kind for path, kind, _ in musan_files(settings)}
    _write_folder(
        data / "musan",
        {
            "wav.scp": {Path(path).stem: f"{media}/{path}" for path in musan},
            "utt2type": {Path(path).stem: kind for path, kind in musan.items()},
        },
    )
    rirs = [path for path, _, _ in rir_files(settings)]
    _write_folder(data / "rirs", {"wav.scp": {rir_key(path): f"{media}/{path}" for path in rirs}})
    write_text(data / "corpus", name + "\n")


def worth_of(clips: list[Clip], settings: Settings) -> dict[str, dict[str, str]]:
    """The true worth of voice and face in every video frame of each clip, by modality and key."""
    made: dict[str, dict[str, str]] = {"audio": {}, "video": {}}
    for clip in clips:
        for modality, spoiled in zip(made, spoil(clip, settings), strict=True):
            made[modality][clip.key] = ",".join(f"{value:.2f}" for value in spoiled.worth)
    return made


def musan_files(settings: Settings) -> list[tuple[str, str, int]]:
    """Path in the media folder, type and number of each noise file, in the layout of MUSAN."""
    sources = {"noise": ("free-sound", "sound-bible"), "music": ("fma", "jamendo"), "speech": ("librivox", "us-gov")}
    made = []
    for kind, (first, second) in sources.items():
        for number in range(settings.sizes["musan"][kind]):
            source = second if number % 4 == 3 else first
            made.append((f"musan/{kind}/{source}/{kind}-{source}-{number:04d}.wav", kind, number))
    return made


def rir_files(settings: Settings) -> list[tuple[str, str, int]]:
    """Path in the media folder, kind of room and number of each room response, in the layout of RIRS_NOISES."""
    made = []
    for kind, count in settings.sizes["rirs"].items():
        for number in range(count):
            room = f"Room{number // 4 + 1:03d}"
            path = f"RIRS_NOISES/simulated_rirs/{kind}/{room}/{room}-{number % 4 + 1:05d}.wav"
            made.append((path, kind, number))
    return made


def rir_key(path: str) -> str:
    """The key of a room response in lists.

    Example:
        >>> rir_key("RIRS_NOISES/simulated_rirs/smallroom/Room001/Room001-00002.wav")
        'smallroom-Room001-00002'
    """
    parts = Path(path).parts
    return f"{parts[2]}-{Path(path).stem}"


def _write_folder(folder: Path, lists: Mapping[str, Mapping[str, str]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in lists.items():
        write_list(folder / name, content)


def _either_way(one: str, other: str, rng: np.random.Generator) -> tuple[str, str]:
    return (one, other) if rng.random() < 0.5 else (other, one)
