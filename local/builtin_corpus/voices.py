"""Voices: espeak-ng speaks with a voice description for each identity; sox shapes vocal tract, timbre and channel."""

import functools
import io
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import soundfile
import sox

from avsv.errors import DataError
from avsv.seeding import generator_for

from . import rooms, sounds
from .plan import Clip, Identity, Settings
from .sentences import sentence
from .worth import VOICE_KINDS, Spoiled

ACCENTS = ("en", "en-us", "en-us-nyc", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-rp", "en-gb-x-gbcwmd", "en-029")
_NUM_FORMANTS = 6


@dataclass(frozen=True)
class Voice:
    """The properties of a voice that all sessions share.

    Attributes:
        accent: base voice of espeak-ng.
        f0, f0_range: fundamental frequency in Hz, and the factor by which intonation raises it.
        tract: factor of all frequencies, applied with the effect ``speed`` of sox, as for a shorter vocal tract.
        formants: frequency, height and width of each formant in percent, (_NUM_FORMANTS, 3).
        treble_db, bass_db: timbre, applied with sox.
        breath, roughness, flutter: in units of espeak-ng.
        words_per_minute: speaking rate.
    """

    accent: str
    f0: float
    f0_range: float
    tract: float
    formants: np.ndarray
    treble_db: float
    bass_db: float
    breath: float
    roughness: int
    flutter: int
    words_per_minute: float


def voice_of(identity: Identity, spread: float) -> Voice:
    """The voice of an identity, which depends on gender, age and individual traits."""

    def draw(trait: str) -> float:
        return spread * identity.normal("voice " + trait)

    woman = identity.gender == "f"
    aging = (identity.age - 45) / 30
    formants = np.empty((_NUM_FORMANTS, 3))
    for number in range(_NUM_FORMANTS):
        frequency = (112 if woman else 99) * np.exp(0.05 * draw(f"formant {number} frequency"))
        height = (85 if woman else 100) * np.exp(0.2 * draw(f"formant {number} height"))
        formants[number] = frequency, height, 120 * np.exp(0.15 * draw(f"formant {number} width"))
    formants[0, 0] = 100
    return Voice(
        accent=identity.choice("voice accent", list(ACCENTS)),
        f0=(185 if woman else 108) * np.exp(0.16 * draw("f0") + (-0.06 if woman else 0.04) * aging),
        f0_range=1.45 * np.exp(0.1 * draw("f0 range")),
        tract=np.exp(0.04 * draw("tract")),
        formants=formants,
        treble_db=3 * draw("treble") - 1.5 * aging,
        bass_db=2 * draw("bass"),
        breath=max(0.0, 4 * draw("breath")),
        roughness=int(np.clip(2 + 1.5 * draw("roughness") + 0.7 * aging, 0, 7)),
        flutter=int(np.clip(2 + 2 * draw("flutter") + aging, 0, 10)),
        words_per_minute=168 * np.exp(0.1 * draw("rate") - 0.06 * aging),
    )


@dataclass(frozen=True)
class Session:
    """The effect of a session on a voice: daily variation, channel, room and noise."""

    f0: float
    rate: float
    formants: float
    channel: tuple[str, ...]  # effects of sox
    response: np.ndarray | None
    noise: str
    snr_db: float
    seed: int


def session_of(identity: Identity, name: str, settings: Settings) -> Session:
    """The session of a name, a pure function of the seed of the corpus and the names."""
    knobs = settings.voice
    rng = generator_for(identity.seed, "voice session", identity.name, name)
    effort = rng.normal(0, knobs["effort_db"])
    channel = ["treble", f"{effort:.2f}", "2000", "bass", f"{-effort / 2:.2f}", "200"]
    for low, high in ((150, 500), (500, 1800), (1800, 6000)):
        center = np.exp(rng.uniform(np.log(low), np.log(high)))
        channel += ["equalizer", f"{center:.0f}", "1.2q", f"{rng.normal(0, knobs['channel_db']):.2f}"]
    if rng.random() < knobs["narrow_band"]:
        channel += ["highpass", f"{rng.uniform(150, 400):.0f}", "lowpass", f"{rng.uniform(3000, 4500):.0f}"]
    response = None
    if rng.random() < knobs["reverberant"]:
        response = rooms.random_room(str(rng.choice(["smallroom", "mediumroom"])), settings.media["sample_rate"], rng)
        response = response / np.sqrt(np.sum(response**2))
    return Session(
        f0=float(np.exp(rng.normal(0, knobs["f0"]))),
        rate=float(np.exp(rng.normal(0, knobs["rate"]))),
        formants=float(np.exp(rng.normal(0, knobs["formants"]))),
        channel=tuple(channel),
        response=response,
        noise=str(rng.choice(sounds.NOISES)),
        snr_db=float(rng.uniform(*knobs["snr_db"])),
        seed=identity.seed,
    )


class Synthesizer:
    """Speaks text with any :class:`Voice`; a context manager, since espeak-ng reads voices from a folder.

    Raises:
        DataError: a program is missing or fails; the message contains its output.
    """

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        for program in ("espeak-ng", "sox"):
            if shutil.which(program) is None:
                raise DataError(f"{program} is not installed: install the system package {program}")

    def __enter__(self) -> "Synthesizer":
        self._folder = tempfile.TemporaryDirectory(prefix="voices.")
        # espeak-ng finds voices only in its data folder: make one of links that contains only English.
        data = Path(self._folder.name, "espeak-ng-data")
        (data / "voices" / "!v").mkdir(parents=True)
        (data / "lang" / "gmw").mkdir(parents=True)
        system = system_voices()
        for file in ("en_dict", "intonations", "phondata", "phonindex", "phontab"):
            (data / file).symlink_to(system / file)
        for file in (system / "lang" / "gmw").glob("en*"):
            (data / "lang" / "gmw" / file.name).symlink_to(file)
        self._variant = data / "voices" / "!v" / "own"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def speak(self, text: str, voice: Voice, session: Session) -> np.ndarray:
        """Speak a text: float64 samples (n,) in [-1, 1], with the channel of the session, but no room or noise."""
        rows = [f"formant {n} {f * session.formants:.0f} {h:.0f} {w:.0f}" for n, (f, h, w) in enumerate(voice.formants)]
        pitch = voice.f0 * session.f0 / voice.tract
        breath = " ".join(f"{voice.breath * level:.0f}" for level in (0, 0.5, 0.8, 1, 1, 1, 0.7, 0.4))
        self._variant.write_text(
            "\n".join(
                [
                    "language variant",
                    "name own",
                    f"pitch {pitch:.0f} {pitch * voice.f0_range:.0f}",
                    *rows,
                    f"breath {breath}",
                    f"roughness {voice.roughness}",
                    f"flutter {voice.flutter}",
                    "",
                ]
            )
        )
        pace = voice.words_per_minute * session.rate / voice.tract
        command = ["espeak-ng", "--path=.", "-z", "-v", f"{voice.accent}+own", "-s", f"{pace:.0f}", "--stdout", text]
        spoken = run_tool(command, self._folder.name)
        samples, rate = soundfile.read(io.BytesIO(spoken), dtype="int16")
        shaper = sox.Transformer().set_globals(dither=False, verbosity=1)
        shaper.set_output_format(rate=self.sample_rate)
        shaper.gain(-10, normalize=False).speed(round(voice.tract, 4))
        shaper.treble(round(voice.treble_db, 2), 3000).bass(round(voice.bass_db, 2), 150)
        try:
            shaped = shaper.build_array(input_array=samples, sample_rate_in=rate, extra_args=list(session.channel))
        except sox.SoxError as error:
            raise DataError(f"sox failed: {str(error).splitlines()[-1].removeprefix('Stderr: ')}") from None
        return shaped / 32768.0


def clip_sound(
    clip: Clip, spoiled: Spoiled, settings: Settings, synthesizer: Synthesizer
) -> tuple[np.ndarray, np.ndarray]:
    """The sound of a clip, float32 (n,) in [-1, 1], and the opening of the mouth in each video frame.

    The mouth follows the speech before room and noise are applied. It is closed where the voice is silent.
    """
    voice = voice_of(clip.identity, settings.voice["spread"])
    session = session_of(clip.identity, clip.session, settings)
    rng = generator_for(clip.identity.seed, "speech", clip.key)
    sample_rate = settings.media["sample_rate"]
    wanted = round(clip.seconds * sample_rate)
    skipped = int(rng.uniform(0, 0.3) * sample_rate)
    speech = np.zeros(0)
    while len(speech) < skipped + wanted:
        speech = np.concatenate([speech, synthesizer.speak(sentence(rng), voice, session)])
    speech = speech[skipped : skipped + wanted]
    level = np.sqrt(np.mean(speech**2))
    silent, burst = (_over_samples(spoiled.strength(kind), wanted) for kind in range(len(VOICE_KINDS)))
    speech = speech * 10 ** (silent * settings.worth["silence_db"] / 20)
    mouth = mouth_opening(speech, sample_rate // settings.media["fps"])

    if session.response is not None:
        direct = int(np.argmax(np.abs(session.response)))
        speech = rooms.reverberate(speech, session.response)[direct : direct + wanted]
    sound = sounds.mix(speech, sounds.noise(session.noise, wanted, sample_rate, rng), session.snr_db)
    if burst.any():
        noise = sounds.noise(str(rng.choice(sounds.NOISES)), wanted, sample_rate, rng)
        sound = sound + burst**2 * level * 10 ** (-settings.worth["burst_db"] / 20) * noise
    peak = 10 ** (rng.uniform(-12, -1) / 20)
    return (sound * peak / np.abs(sound).max()).astype(np.float32), mouth


def _over_samples(values: np.ndarray, count: int) -> np.ndarray:
    """Interpolate the values of video frames over samples."""
    return np.interp((np.arange(count) + 0.5) * len(values) / count, np.arange(len(values)) + 0.5, values)


def mouth_opening(speech: np.ndarray, samples_per_frame: int) -> np.ndarray:
    """The opening of the mouth in each video frame, between 0 and 1: the compressed, smoothed envelope of speech.

    Example:
        >>> mouth_opening(np.repeat([0.0, 0.0, 1.0, 1.0, 1.0], 640), 640).round(2).tolist()
        [0.0, 0.25, 0.75, 1.0, 1.0]
    """
    frames = speech.reshape(-1, samples_per_frame)
    level = np.sqrt(np.mean(frames**2, axis=1))
    padded = np.pad(level, 1, mode="edge")
    smooth = 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]
    return np.clip(smooth / max(np.quantile(smooth, 0.95), 1e-9), 0, 1)


@functools.cache
def system_voices() -> Path:
    """The data folder of the installed espeak-ng."""
    words = run_tool(["espeak-ng", "--version"], "/").decode()
    folder = Path(words.partition("Data at:")[2].strip())
    if not (folder / "phontab").is_file():
        raise DataError(f"espeak-ng names no data folder ({words.strip()}): install the system package espeak-ng-data")
    return folder


def run_tool(command: list[str], folder: str) -> bytes:
    """Run a program in a folder and return its output; raises DataError with its error output if it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, cwd=folder, check=False)
    if done.returncode != 0 or not done.stdout:
        words = done.stderr.decode(errors="replace").strip() or "no output"
        raise DataError(f"{command[0]} failed with status {done.returncode}: {words}")
    return done.stdout
