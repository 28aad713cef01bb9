"""The command that makes the built-in corpus: ``media`` makes the files of one job, ``lists`` makes the lists.

The unit of work is an identity with all its clips, a noise or a room response. A unit gets its final name when it is
complete, and existing units are not made again, so a killed job continues where it stopped. The content of a unit
depends on the seed and the settings, not on the number of jobs.
"""

import argparse
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from avsv.bin.command import run_command
from avsv.io.atomic import atomic_path, temporary_path, write_text
from avsv.seeding import generator_for

from . import faces, rooms, sounds
from .face_model import appearance_of, face_of
from .lists import musan_files, rir_files, write_lists
from .media import write_mp4, write_wav
from .plan import Clip, Identity, Settings, clips_of, identities, load_settings
from .sentences import sentence
from .voices import Synthesizer, clip_sound, session_of, voice_of
from .worth import spoil

NAME = "builtin"
Unit = tuple[Path, Callable[[Path], None]]


def units(media: Path, settings: Settings, seed: int, synthesizer: Synthesizer) -> list[Unit]:
    """The final path of every unit of work, and a function that writes it to a given path."""
    sample_rate = settings.media["sample_rate"]
    made: list[Unit] = []
    for person in identities(settings, seed):
        made.append((media / "mp4" / person.name, _identity_writer(person, settings, synthesizer)))
    strangers = identities(settings, seed + 1)  # the speakers of the noise set occur in no other set
    for path, kind, number in musan_files(settings):
        made.append((media / path, _noise_writer(kind, number, seed, settings, synthesizer, strangers)))
    for path, kind, number in rir_files(settings):
        made.append((media / path, _room_writer(kind, number, seed, sample_rate)))
    return made


def write_clip(path: Path, clip: Clip, settings: Settings, synthesizer: Synthesizer) -> None:
    """Make one media file: first the sound, then the face that speaks it."""
    media = settings.media
    of_voice, of_face = spoil(clip, settings)
    sound, mouth = clip_sound(clip, of_voice, settings, synthesizer)
    face = face_of(clip.identity, settings.face["spread"])
    look = appearance_of(clip.identity, clip.session, settings)
    frames = faces.render(face, look, mouth, of_face, settings, clip.key)
    write_mp4(path, frames, media["fps"], sound, media["sample_rate"], look.crf, look.audio_kbps)


def make_media(settings: Settings, media: Path, seed: int, job: int, jobs: int, progress: Path) -> None:
    """Write the files of ``job`` (counted from 1) of ``jobs`` to ``media``."""
    cv2.setNumThreads(1)
    with Synthesizer(settings.media["sample_rate"]) as synthesizer:
        share = units(media, settings, seed, synthesizer)[job - 1 :: jobs]
        shown = 0.0
        for number, (path, write) in enumerate(share):
            if time.monotonic() - shown > 1:
                write_text(progress, f"{number} {len(share)}\n")
                shown = time.monotonic()
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                write(path)
        write_text(progress, f"{len(share)} {len(share)}\n")


def _identity_writer(identity: Identity, settings: Settings, synthesizer: Synthesizer) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        temporary = temporary_path(folder)
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            for clip in clips_of(identity, settings):
                path = temporary / Path(clip.path).relative_to(f"mp4/{identity.name}")
                path.parent.mkdir(parents=True, exist_ok=True)
                write_clip(path, clip, settings, synthesizer)
            # A job that survived a killed run may have been faster; its files are the same.
            if not folder.exists():
                temporary.replace(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    return write


def _noise_writer(
    kind: str, number: int, seed: int, settings: Settings, synthesizer: Synthesizer, strangers: list[Identity]
) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        rng = generator_for(seed, "musan", kind, number)
        sample_rate = settings.media["sample_rate"]
        wanted = int(settings.sizes["musan"]["seconds"] * sample_rate)
        if kind == "noise":
            sound = sounds.noise(sounds.NOISES[number % len(sounds.NOISES)], wanted, sample_rate, rng)
        elif kind == "music":
            sound = sounds.music(wanted, sample_rate, rng)
        else:
            stranger = strangers[number % len(strangers)]
            voice = voice_of(stranger, settings.voice["spread"])
            session = session_of(stranger, "musan", settings)
            sound = np.zeros(0)
            while len(sound) < wanted:
                sound = np.concatenate([sound, synthesizer.speak(sentence(rng), voice, session)])
            sound = sound[:wanted]
        with atomic_path(path) as temporary:
            write_wav(temporary, sound * (0.5 / np.abs(sound).max()), sample_rate)

    return write


def _room_writer(kind: str, number: int, seed: int, sample_rate: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        response = rooms.random_room(kind, sample_rate, generator_for(seed, "rirs", kind, number))
        with atomic_path(path) as temporary:
            write_wav(temporary, response * (0.9 / np.abs(response).max()), sample_rate)

    return write


def main() -> None:
    """Parse the command line and make the media or the lists."""
    parser = argparse.ArgumentParser(prog="builtin_corpus", description="Make the built-in corpus.")
    parser.add_argument("--config", type=Path, required=True, help="configuration, local/corpus.yaml")
    parser.add_argument("--preset", required=True, help="preset of the sizes")
    parser.add_argument("--seed", type=int, required=True, help="another seed gives another corpus")
    parser.add_argument("--media", type=Path, required=True, help="folder of the media files")
    parser.add_argument("--job", type=int, default=1, help="number of this job, counted from 1")
    parser.add_argument("--jobs", type=int, default=1, help="number of jobs")
    parser.add_argument("--progress", type=Path, help="file for 'done total' (media)")
    parser.add_argument("what", choices=["media", "lists"])
    parser.add_argument("data", type=Path)
    options = parser.parse_args()
    settings = load_settings(options.config, options.preset)
    if options.what == "media":
        progress = options.progress or Path(os.devnull)
        make_media(settings, options.media, options.seed, options.job, options.jobs, progress)
    else:
        write_lists(options.data, options.media, identities(settings, options.seed), settings, options.seed, NAME)


if __name__ == "__main__":
    run_command(main)
