"""Hashes of stored media files: one for a picture, one for each of a few frames of a video."""

from __future__ import annotations

from core.errors import GuardroomError
from core.media import images
from core.media.identify import HEAD_BYTES, identify
from core.media.store import MediaStore
from core.types import MediaRef, Modality

FRAMES = 4
"""Frames of a video that are hashed, in the middle of as many equal parts."""

_VIDEO_SIDE = 64


def media_hashes(media: MediaStore, ref: MediaRef) -> tuple[int, ...] | None:
    """The perceptual hashes of a medium, those of pictures that show nothing left out.

    None when the file is not there, has changed on disk or cannot be decoded: it then counts for nothing here, and the
    page that shows it says what is wrong with it.
    """
    from annotation_store.duplicates.pictures import picture_hash

    try:
        path = media.verified_path(ref.digest)
        if ref.modality is Modality.IMAGE:
            with path.open("rb") as file:
                kind = identify(file.read(HEAD_BYTES))
            frames = images.read_still(path, kind, media.limits.max_image_pixels)
        else:
            facts = media.reader.probe(path)
            times = [facts.duration_s * (2 * at + 1) / (2 * FRAMES) for at in range(FRAMES)]
            frames = media.reader.read(path, times, (_VIDEO_SIDE, _VIDEO_SIDE)).frames
    except GuardroomError:
        return None
    found = [picture_hash(frame) for frame in frames]
    return tuple(each for each in found if each is not None)
