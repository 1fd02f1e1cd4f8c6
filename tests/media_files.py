"""What the tests of media share: a checkpoint's wishes, a picture file, a look into the store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from core.media.store import MediaStore
from core.media.vision import VisionSpec
from core.types import Preprocessing

SPEC = VisionSpec(16, 2, 2, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
PREPROCESSING = Preprocessing("test", 1.0, 8, 3136, 8192, 3136, 65536)
X264 = {"threads": "1", "preset": "ultrafast"}


def picture_file(path: Path, form: str = "PNG", size: tuple[int, int] = (64, 48), mode: str = "RGB") -> Path:
    noise = np.random.default_rng(3).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(path, form)
    return path


def stored(store: MediaStore) -> list[Path]:
    return [path for path in store.root.rglob("*") if path.is_file()]
