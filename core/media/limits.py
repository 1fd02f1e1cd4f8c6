"""What is accepted at most, for media: one value that the store and the video reader share."""

from __future__ import annotations

from dataclasses import dataclass

LONG_VIDEO_S = 900.0
"""Reading takes longer the longer a video is: beyond this length the time limit grows with it."""


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """Everything beyond these is refused with a sentence, before it is decoded wherever the file's header tells."""

    max_bytes: int = 512 * 1024**2
    max_image_pixels: int = 64_000_000
    """Of a still image, and of one frame of a video."""
    max_video_seconds: float = 7200.0
    """One second more is let pass, so that a film of two hours is not refused for its last frame."""
    decode_timeout_s: float = 120.0
    """For reading a video of up to a quarter of an hour; see `read_timeout_s`."""
    decode_memory_bytes: int = 3 * 1024**3
    """Address space of the worker that reads videos (held on Linux; macOS does not enforce such a limit)."""
    max_frames: int = 4_000_000
    """Frames that a container may list: at two hours, 555 a second."""

    def read_timeout_s(self, duration_s: float) -> float:
        """Seconds that reading a video of this duration may take."""
        return self.decode_timeout_s * max(1.0, min(duration_s, self.max_video_seconds) / LONG_VIDEO_S)
