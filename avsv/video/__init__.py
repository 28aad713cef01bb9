"""Clips become face crops: decoding, frame rate, face detection and alignment; and what training does to the crops."""

from avsv.video.augment import augment_clip, normalize
from avsv.video.config import FaceFormat, FacesConfig
from avsv.video.timing import select_frames

__all__ = ["FaceFormat", "FacesConfig", "augment_clip", "normalize", "select_frames"]
