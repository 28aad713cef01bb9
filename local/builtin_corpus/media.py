"""Writing of media files whose bytes depend only on their content."""

import wave
from pathlib import Path

import av
import cv2
import numpy as np


def write_mp4(
    path: Path, frames: np.ndarray, fps: int, sound: np.ndarray, sample_rate: int, crf: int, audio_kbps: int
) -> None:
    """Write an H.264 + AAC file.

    Args:
        path: file name.
        frames: uint8 (T, H, W, 3), BGR.
        sound: float (n,) in [-1, 1], one channel.
        crf: constant rate factor of x264; larger is worse.
        audio_kbps: bit rate of the sound.
    """
    # One thread and no version strings: the same input gives the same bytes.
    with av.open(str(path), "w", format="mp4", container_options={"fflags": "+bitexact"}) as container:
        options = {"preset": "ultrafast", "crf": str(crf), "g": "50", "flags": "+bitexact"}
        video = container.add_stream("libx264", rate=fps, options=options)
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = "yuv420p"
        video.codec_context.thread_count = 1
        sound_options = {"flags": "+bitexact", "aac_coder": "fast"}
        audio = container.add_stream("aac", rate=sample_rate, layout="mono", options=sound_options)
        audio.bit_rate = 1000 * audio_kbps
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(cv2.cvtColor(frame, cv2.COLOR_BGR2YUV_I420), format="yuv420p")
            picture.pts = number
            container.mux(video.encode(picture))
        container.mux(video.encode())
        for start in range(0, len(sound), 1024):
            piece = av.AudioFrame.from_ndarray(sound[None, start : start + 1024].astype(np.float32), "fltp", "mono")
            piece.sample_rate = sample_rate
            piece.pts = start
            container.mux(audio.encode(piece))
        container.mux(audio.encode())


def write_wav(path: Path, sound: np.ndarray, sample_rate: int) -> None:
    """Write samples in [-1, 1] as a 16-bit PCM file with one channel."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(np.rint(np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes())
