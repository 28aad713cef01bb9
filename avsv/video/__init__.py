"""Face crops from video: decoding, frame rates, face detection and alignment, augmentation."""

from avsv.video.augment import augment_clip, normalize
from avsv.video.config import FaceFormat, FacesConfig
from avsv.video.timing import select_frames

__all__ = ["FaceFormat", "FacesConfig", "augment_clip", "normalize", "select_frames"]
