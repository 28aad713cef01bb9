"""The table of the kinds of corruption."""

from typing import NamedTuple

CLEAN = "clean"
"""The level without corruption, as written in tables and file names."""


class Kind(NamedTuple):
    """A kind of corruption.

    Attributes:
        touches: the modalities that it changes, "A", "V" or "AV".
        title: its name in tables and plots.
        unit: unit of its levels.
        lowest, highest: range of valid levels; None if levels are words.
    """

    touches: str
    title: str
    unit: str
    lowest: float | None = None
    highest: float | None = None


KINDS = {
    "noise": Kind("A", "noise", "signal-to-noise ratio (dB)", -20, 60),
    "music": Kind("A", "music", "signal-to-noise ratio (dB)", -20, 60),
    "babble": Kind("A", "babble of five voices", "signal-to-noise ratio (dB)", -20, 60),
    "reverb": Kind("A", "reverberation", "reverberation time (s)", 0.05, 10),
    "clipping": Kind("A", "clipping", "share of the samples", 0, 1),
    "band": Kind("A", "narrow band", "pass band (Hz)"),
    "codec": Kind("A", "codec", "codec (kbit/s)"),
    "blur": Kind("V", "blur", "standard deviation (% of the height)", 0.1, 100),
    "occlusion": Kind("V", "occlusion", "share of the area", 0, 1),
    "resolution": Kind("V", "low resolution", "height (pixels)", 1, 1024),
    "darkness": Kind("V", "darkness", "share of the light", 0, 1),
    "frame_drop": Kind("V", "frame drops", "share of the frames", 0, 1),
    "wrong_face": Kind("V", "face of another person", "share of the clip", 0, 1),
    "no_audio": Kind("A", "no audio", "share of the clips", 0, 1),
    "no_video": Kind("V", "no video", "share of the clips", 0, 1),
    "out_of_step": Kind("V", "audio and video out of step", "video later (s)", -10, 10),
    "length": Kind("AV", "short clips", "length (s)", 0.1, 3600),
}
