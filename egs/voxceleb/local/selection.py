"""Selection of training and development identities, and of development trials."""

import hashlib
import itertools
import random
from collections.abc import Iterable

from published import TRIAL_LISTS, Identity, plain_name

from avsv.errors import DataError

# VoxCeleb2 has 5,994 identities for training and development; some may be excluded or no longer available.
WHOLE_IDENTITIES = 5900
# Target trials per development identity, and non-target trials for each of them.
DEV_TARGETS, DEV_NONTARGETS = 60, 3


def choose_dev(identities: list[str], people: dict[str, Identity], wanted: str, seed: int) -> set[str]:
    """Choose the development identities, with the same proportions of women and men as in the corpus.

    All clips of these identities are held out. Held-out clips of training identities would not reduce the training set,
    but the networks have learned to distinguish these identities: error rates would be far too low, scores would have
    another distribution than those of unknown identities, and calibration would be wrong. Each identity is drawn
    independently of the others.

    Raises:
        DataError: ``wanted`` is not a number, or too few identities are left for training.
    """
    if wanted != "auto" and not wanted.isdecimal():
        raise DataError(f"--dev-speakers: '{wanted}' is neither a whole number nor auto")
    count = min(max(round(0.02 * len(identities)), 8), 120) if wanted == "auto" else int(wanted)
    if count < 2 or count > len(identities) - 2:
        raise DataError(f"--dev-speakers: {count} of {len(identities)} identities: at least two are needed in each set")
    groups: dict[str, list[str]] = {}
    for identity in identities:
        groups.setdefault(people.get(identity, Identity()).gender, []).append(identity)
    # Interleaved by rank within the gender, so that the first identities have all genders in proportion.
    order = []
    for gender, members in groups.items():
        ranked = sorted(members, key=lambda identity: hashlib.md5(f"{seed} {identity}".encode()).digest())
        order += [((rank + 0.5) / len(ranked), gender, identity) for rank, identity in enumerate(ranked)]
    return {identity for _, _, identity in sorted(order)[:count]}


def draw_trials(clips: dict[str, list[tuple[str, str]]], people: dict[str, Identity], seed: int) -> list[str]:
    """Draw development trials: targets across videos, half of the non-targets with the same gender.

    Args:
        clips: key and video of the clips of each identity.
        people: properties of the identities, for their genders.
        seed: seed of the draws.

    Returns:
        Lines as in ``trials/NAME``.
    """
    rng = random.Random(f"trials {seed}")
    lines: list[str] = []
    for own in clips.values():
        pairs = [(a, b) for (a, one), (b, other) in itertools.combinations(own, 2) if one != other]
        lines += [f"{a} {b} target" for a, b in rng.sample(pairs, min(len(pairs), DEV_TARGETS))]
    identities = [identity for identity in clips if clips[identity]]
    groups: dict[str, list[str]] = {}
    for identity in identities:
        groups.setdefault(people.get(identity, Identity()).gender, []).append(identity)
    same = [pair for members in groups.values() for pair in itertools.combinations(members, 2)]
    cross = [pair for a, b in itertools.combinations(groups.values(), 2) for pair in itertools.product(a, b)]
    wanted, seen = DEV_NONTARGETS * len(lines), set()
    for _ in range(20 * wanted):  # more draws than necessary, unless there are very few clips
        if len(seen) == wanted:
            break
        pairs = (same or cross) if rng.random() < 0.5 or not cross else cross
        one, other = rng.choice(pairs)
        seen.add((rng.choice(clips[one])[0], rng.choice(clips[other])[0]))
    return lines + [f"{a} {b} nontarget" for a, b in sorted(seen)]


def corpus_name(trials: Iterable[str], identities: int) -> str:
    """The name of the corpus in results, which shows whether they are comparable with published results.

    Results on other lists or with fewer training identities are not comparable.

    Args:
        trials: names of the trial lists, as returned by :func:`find_trial_lists`.
        identities: number of training identities, including held-out ones.

    Example:
        >>> corpus_name(["O", "E_cleaned"], 5994), corpus_name(["O"], 100), corpus_name(["veri_test2"], 5994)
        ('voxceleb', 'voxceleb (part)', 'voxceleb (part)')
    """
    published = {name for name, _ in TRIAL_LISTS.values()}
    return "voxceleb" if set(trials) <= published and identities >= WHOLE_IDENTITIES else "voxceleb (part)"


def left_out_of_training(
    identities: Iterable[str], meta1: dict[str, Identity], meta2: dict[str, Identity], evaluated: set[str]
) -> tuple[dict[str, list[str]], list[str]]:
    """Separate evaluation and training identities.

    The corpora have no identity number in common, and the test set of VoxCeleb2 is not used for training. Ten people
    have numbers in both corpora, all except one (Demian Bichir, id10232 and id02123) in the test set of VoxCeleb2; they
    are recognized by their names.

    Returns:
        Excluded identities by reason, and training identities, both in order.
    """
    names = {plain_name(meta1[identity].name) for identity in evaluated if identity in meta1}
    left_out: dict[str, list[str]] = {}
    usable = []
    for identity in sorted(identities):
        person = meta2.get(identity, Identity())
        if identity in evaluated:
            reason = "evaluated"
        elif person.subset == "test":
            reason = "of the test set of VoxCeleb2"
        elif person.name and plain_name(person.name) in names:
            reason = "evaluated under another number"
        else:
            usable.append(identity)
            continue
        left_out.setdefault(reason, []).append(identity)
    return left_out, usable
