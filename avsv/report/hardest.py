"""The hardest trials of a system, with reasons in words that are derived from the data."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from avsv.report.gather import ScoreSet
from avsv.report.media import Clip, ClipReader
from avsv.scoring.trials import TrialList

_SHORT = 0.25  # a clip is short below this quantile of the durations in the list
_COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


class Opinion(NamedTuple):
    """The score and decision of a system on a trial; the score is NaN if it could not score the trial."""

    scores: ScoreSet
    place: int

    @property
    def score(self) -> float:
        """The score."""
        return float(self.scores.values[self.place])

    @property
    def margin(self) -> float:
        """Distance of the score from the threshold of the system on the right side; negative for an error."""
        return float(self.scores.margins[self.place])

    @property
    def scored(self) -> bool:
        """Whether there is a score."""
        return bool(self.scores.scored[self.place])

    @property
    def right(self) -> bool:
        """Whether the decision is right; a trial with a score equal to the threshold is rejected."""
        accepted = self.score > self.scores.threshold
        return self.scored and bool(accepted == self.scores.is_target[self.place])

    @property
    def easier(self) -> float:
        """Share of the other trials of its class that are decided by a larger margin."""
        alike = self.scores.scored & (self.scores.is_target == self.scores.is_target[self.place])
        return float(np.sum(self.scores.margins[alike] > self.margin)) / max(1, int(alike.sum()) - 1)


class HardTrial(NamedTuple):
    """A hard trial: its sides, the opinion of the judged system, those of all shown systems, and the reasons."""

    is_target: bool
    enroll: Clip
    test: Clip
    own: Opinion
    opinions: list[Opinion]
    reasons: list[str]


def hardest_places(scores: ScoreSet, is_target: bool, count: int) -> list[int]:
    """Positions of up to ``count`` trials of a class with the smallest margins, the worst first.

    Example:
        >>> is_target = np.array([True, True, False, False])
        >>> hardest_places(ScoreSet("a", "AxA", "asnorm", np.array([2.0, 0, 1, -1]), is_target, 0.5), False, 1)
        [2]
    """
    places = np.flatnonzero(scores.scored & (scores.is_target == is_target))
    order = np.argsort(scores.margins[places], kind="stable")
    return places[order[:count]].tolist()


def hardest_trials(
    trials: TrialList,
    judge: ScoreSet,
    shown: Sequence[ScoreSet],
    voice: ScoreSet | None,
    face: ScoreSet | None,
    clips: ClipReader,
    count: int,
) -> tuple[list[HardTrial], list[HardTrial]]:
    """Find the false rejections with the lowest and the false acceptances with the highest scores.

    If a system makes fewer errors than requested, the trials nearest to its threshold follow.

    Args:
        trials: the list.
        judge: scores of the system whose hardest trials are requested.
        shown: scores of the systems whose opinions are shown.
        voice, face: scores of the best systems of a single modality, which represent the modalities.
        clips: looks up utterances.
        count: number of trials of each kind.
    """
    places = {kind: hardest_places(judge, kind, count) for kind in (True, False)}
    keys = trials.trials.enroll, trials.trials.test
    together = [place for kind in places.values() for place in kind]
    often = Counter(key for place in together for key in {str(side[place]) for side in keys})
    durations = np.array(list(clips.durations.values()))
    short = float(np.quantile(durations, _SHORT)) if len(durations) else 0.0
    same_gender = _share_of_same_gender(trials, clips)
    found: dict[bool, list[HardTrial]] = {True: [], False: []}
    for kind, chosen in places.items():
        for place in chosen:
            enroll, test = (clips.read(str(side[place])) for side in keys)
            own = Opinion(judge, place)
            opinions = [Opinion(scores, place) for scores in shown]
            reasons = [
                *_modalities(own, voice, face, place),
                *_agreement(opinions),
                *_clips(enroll, test, kind, short, np.median(durations) if len(durations) else 0.0, same_gender),
                *_repeated((enroll, test), often, len(together)),
            ]
            found[kind].append(HardTrial(kind, enroll, test, own, opinions, reasons))
    return found[True], found[False]


def _modalities(own: Opinion, voice: ScoreSet | None, face: ScoreSet | None, place: int) -> list[str]:
    """Which modality disagrees, according to the best systems of a single modality."""
    views = {name: Opinion(s, place) for name, s in (("voice", voice), ("face", face)) if s is not None}
    views = {name: view for name, view in views.items() if view.scored}
    if not views:
        return []
    described = {name: f"the {name} ({view.scores.system}) {_describe(view)}" for name, view in views.items()}
    wrong = [name for name, view in views.items() if not view.right]
    if len(views) == 1:
        return [_capital(next(iter(described.values()))) + "."]
    if len(wrong) == 2:
        return [f"Voice and face are both wrong: {described['voice']}, {described['face']}."]
    if len(wrong) == 1:
        other = "face" if wrong[0] == "voice" else "voice"
        return [f"The {wrong[0]} disagrees: {described[wrong[0]]}, while {described[other]}."]
    if own.right:
        return [f"No single modality is wrong: {described['voice']}, {described['face']}."]
    return [f"Each single modality is right, but both together are wrong: {described['voice']}, {described['face']}."]


def _describe(view: Opinion) -> str:
    """Describe a score relative to its threshold and to its class."""
    is_target = bool(view.scores.is_target[view.place])
    above = view.score > view.scores.threshold
    distance = f"{abs(view.margin):.2f}"
    text = "scores at its threshold"
    if distance != "0.00":
        text = f"scores {distance} {'above' if above else 'below'} its threshold"
    if not view.right:
        text += f", {'lower' if is_target else 'higher'} than {_percent(view.easier)}"
        text += f" of the other {'target' if is_target else 'non-target'} trials"
    return text


def _percent(share: float) -> str:
    """A share in percent; a share below 1 is not rounded to 100."""
    if share == 1:
        return "all"
    return (
        f"{min(100 * share, 99.9):.1f}\N{NO-BREAK SPACE}%" if share > 0.99 else f"{100 * share:.0f}\N{NO-BREAK SPACE}%"
    )


def _agreement(opinions: Sequence[Opinion]) -> list[str]:
    scored = [opinion for opinion in opinions if opinion.scored]
    wrong = sum(not opinion.right for opinion in scored)
    if len(scored) < 2:
        return []
    if wrong == 0:
        return [f"None of the {_count(len(scored))} systems shown is wrong."]
    if wrong == len(scored):
        return [f"All {_count(wrong)} systems shown are wrong."]
    return [f"{_capital(_count(wrong))} of {_count(len(scored))} systems shown {'is' if wrong == 1 else 'are'} wrong."]


def _clips(
    enroll: Clip, test: Clip, is_target: bool, short: float, median: float, same_gender: float | None
) -> list[str]:
    """Properties that the two clips share, and what they lack."""
    words = []
    lengths = [clip.duration for clip in (enroll, test) if clip.duration is not None]
    if lengths and min(lengths) < short:
        which = "Both clips are" if max(lengths) < short and len(lengths) == 2 else "One clip is"
        shown = " and ".join(f"{length:.1f} s" for length in sorted(lengths) if length < short)
        words.append(f"{which} short: {shown}, where half of all clips are longer than {median:.1f} s.")
    if is_target and enroll.session and test.session:
        same = enroll.session == test.session
        words.append("Both clips are from one session." if same else "The clips are from different sessions.")
    if not is_target and enroll.gender and test.gender:
        if enroll.gender != test.gender:
            words.append("The two persons are of different gender.")
        elif same_gender is not None:
            words.append(
                f"The two persons are of the same gender, as in {_percent(same_gender)} of the non-target trials."
            )
    words += [_capital(f"{key}: {what}.") for key, what in _lacking(enroll, test)]
    return words


def _lacking(*clips: Clip) -> list[tuple[str, str]]:
    return [(clip.key, what) for clip in clips for what in clip.missing]


def _repeated(clips: Sequence[Clip], often: Mapping[str, int], total: int) -> list[str]:
    """Clips that occur in several of the hardest trials, since these should be examined."""
    keys = dict.fromkeys(clip.key for clip in clips if often[clip.key] > 2)
    return [f"{key} is in {_count(often[key])} of these {total} trials." for key in keys]


def _share_of_same_gender(trials: TrialList, clips: ClipReader) -> float | None:
    """Share of the non-target trials between persons of the same gender; None if genders are unknown."""
    if not clips.genders:
        return None
    others = ~trials.trials.is_target
    keys = [side[others].tolist() for side in trials.trials[:2]]
    gender = {key: clips.genders.get(clips.speaker(key), "") for key in set().union(*keys)}
    sides = [np.array([gender[key] for key in side]) for side in keys]
    known = (sides[0] != "") & (sides[1] != "")
    return float(np.mean((sides[0] == sides[1])[known])) if known.any() else None


def _count(number: int) -> str:
    return _COUNTS[number] if number < len(_COUNTS) else str(number)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
