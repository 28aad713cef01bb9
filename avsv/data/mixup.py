"""AV-Mixup: the voice of one utterance paired with the face of another utterance of the same speaker."""

from collections.abc import Sequence

import numpy as np

from avsv.data.lists import UtteranceTable
from avsv.seeding import Numbers


class Partners:
    """Draw, for an utterance, another utterance of its speaker with video, if possible from another recording.

    Source: REPTAR (arXiv:2309.07115). If the speaker has no other utterance, the utterance itself is drawn.

    Args:
        table: the utterances.
        sessions: the source recording of each; None means that every utterance is a recording of its own.

    Example:
        >>> from avsv.data.lists import PackedStrings
        >>> frames = np.array([9, 9, 9])
        >>> table = UtteranceTable(None, PackedStrings("abc"), PackedStrings("ssr"), None, frames, None, frames)
        >>> partners, rng = Partners(table), np.random.default_rng(0)
        >>> [partners.draw(index, rng) for index in range(3)]
        [1, 0, 2]
    """

    def __init__(self, table: UtteranceTable, sessions: np.ndarray | Sequence[str] | None = None) -> None:
        speaker = np.unique(list(table.speakers), return_inverse=True)[1]
        self._speaker = speaker.astype(np.int32)
        self._session = np.arange(len(table), dtype=np.int32)
        if sessions is not None:
            self._session = np.unique(sessions, return_inverse=True)[1].astype(np.int32)
        seen = np.flatnonzero(table.video_frames > 0)
        self._order = seen[np.argsort(speaker[seen], kind="stable")]
        self._first = np.searchsorted(speaker[self._order], np.arange(speaker.max() + 2))

    def draw(self, index: int, rng: Numbers) -> int:
        """The utterance whose video is combined with the audio of ``index``."""
        speaker = self._speaker[index]
        others = self._order[self._first[speaker] : self._first[speaker + 1]]
        others = others[others != index]
        elsewhere = others[self._session[others] != self._session[index]]
        candidates = elsewhere if len(elsewhere) else others
        return int(candidates[rng.integers(len(candidates))]) if len(candidates) else index
