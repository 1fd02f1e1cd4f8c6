"""The media store: what is accepted, that it stays what it was, and what pixels come of it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.errors import MediaDamaged, MediaError
from core.media.limits import MediaLimits
from core.media.store import MediaStore, shown_name
from core.media.video import VideoReader
from core.types import MediaRef, Modality
from tests.media_files import PREPROCESSING, SPEC, picture_file, stored
from tests.video_files import make_video, plain_reading

# -- accepted ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "media_type"),
    [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp"), ("GIF", "image/gif"), ("BMP", "image/bmp")],
)
def test_pictures_are_known_by_their_bytes(store: MediaStore, tmp_path: Path, form: str, media_type: str) -> None:
    path = picture_file(tmp_path / "holiday.mp4", form)
    ref = store.accept(path)
    assert ref == MediaRef(ref.digest, media_type, Modality.IMAGE, path.stat().st_size, 64, 48)
    assert store.path(ref.digest).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("name", "codec", "media_type"),
    [
        ("a.mp4", "libx264", "video/mp4"),
        ("a.mov", "libx264", "video/quicktime"),
        ("a.mkv", "libx264", "video/x-matroska"),
        ("a.webm", "libvpx", "video/webm"),
        ("a.avi", "mpeg4", "video/x-msvideo"),
    ],
)
def test_videos_are_known_by_their_bytes(
    store: MediaStore, tmp_path: Path, name: str, codec: str, media_type: str
) -> None:
    path = make_video(tmp_path / name, codec=codec, frames=20).rename(tmp_path / "no-suffix")
    ref = store.accept(path)
    assert (ref.media_type, ref.modality, ref.width, ref.height) == (media_type, Modality.VIDEO, 96, 64)
    assert ref.frame_count == 20
    assert ref.duration_s == pytest.approx(2.0, abs=0.11)


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_a_picture_that_moves_is_a_video(store: MediaStore, tmp_path: Path, form: str) -> None:
    shades = [Image.new("RGB", (40, 30), (0, 60 * number, 0)) for number in range(4)]
    shades[0].save(tmp_path / "m", form, save_all=True, append_images=shades[1:], duration=500, lossless=True)
    ref = store.accept(tmp_path / "m")
    assert (ref.modality, ref.frame_count, ref.duration_s) == (Modality.VIDEO, 4, 2.0)
    decoded = store.decode(ref, PREPROCESSING, SPEC)
    assert decoded.timestamps == (0.0, 0.5, 1.0, 1.5)
    assert [int(frame[5, 5, 1]) for frame in decoded.frames] == [0, 60, 120, 180]


def test_the_same_bytes_are_kept_once_whatever_their_name(store: MediaStore, tmp_path: Path) -> None:
    first = store.accept(picture_file(tmp_path / "one.png"))
    again = store.accept(picture_file(tmp_path / "two.jpg"), file_name="../../etc/passwd")
    assert first == again
    assert stored(store) == [store.root / first.digest[:2] / first.digest]


def test_what_is_kept_outlives_the_file_that_was_handed_in(store: MediaStore, film: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(film.read_bytes())
    ref = store.accept(copy)
    copy.unlink()
    assert len(store.decode(ref, PREPROCESSING, SPEC).frames) == 6


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("cat.png", '"cat.png"'),
        ("/etc/../cat.png", '"cat.png"'),
        ("C:\\temp\\cat.png", '"cat.png"'),
        ("a\nb\x1b[31m.png", '"a\\x0ab\\x1b[31m.png"'),
        ("\u202egnp.exe", '"\\u202egnp.exe"'),
        ('say "hi".png', "\"say 'hi'.png\""),
        ("猫 é.png", '"猫 é.png"'),
        ("\udcff.png", '"\\udcff.png"'),
    ],
)
def test_names_are_shown_on_one_line_and_harmlessly(name: str, shown: str) -> None:
    assert shown_name(name) == shown


def test_long_names_are_shortened_with_their_ending() -> None:
    shown = shown_name("x" * 500 + ".mp4")
    assert len(shown) == 62
    assert shown.endswith('.mp4"')


# -- kept -------------------------------------------------------------------------------------------------------------


def test_a_flipped_bit_is_noticed_and_never_served(store: MediaStore, film: Path) -> None:
    ref = store.accept(film)
    place = store.path(ref.digest)
    data = bytearray(place.read_bytes())
    data[len(data) // 2] ^= 1
    place.write_bytes(data)
    with pytest.raises(MediaDamaged, match="has changed on disk"):
        store.verified_path(ref.digest)
    with pytest.raises(MediaDamaged, match="has changed on disk"):
        store.decode(ref, PREPROCESSING, SPEC)
    assert store.accept(film) == ref
    assert store.verified_path(ref.digest).read_bytes() == film.read_bytes()


@pytest.mark.parametrize("digest", ["", "..", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 65, "0" * 64 + "\n"])
def test_only_a_digest_is_ever_a_place(store: MediaStore, digest: str) -> None:
    with pytest.raises(MediaError, match="digest"):
        store.path(digest)


def test_what_is_not_kept_is_said(store: MediaStore) -> None:
    with pytest.raises(MediaError, match="not in the store"):
        store.verified_path("0" * 64)


def test_old_leftovers_of_a_crash_are_cleared(tmp_path: Path, reader: VideoReader) -> None:
    store = MediaStore(tmp_path / "media", MediaLimits(), reader)
    old, new = store.root / "incoming" / "old", store.root / "incoming" / "new"
    old.write_bytes(b"x")
    new.write_bytes(b"x")
    os.utime(old, (0, 0))
    MediaStore(tmp_path / "media", MediaLimits(), reader)
    assert not old.exists()
    assert new.exists()


# -- pixels -----------------------------------------------------------------------------------------------------------


def flat(store: MediaStore, path: Path) -> tuple[MediaRef, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    ref = store.accept(path)
    decoded = store.decode(ref, PREPROCESSING, SPEC)
    assert decoded.timestamps is None
    assert decoded.frames.shape[0] == 1
    return ref, decoded.frames[0]


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_photograph_is_set_upright(store: MediaStore, tmp_path: Path, turn: int) -> None:
    upright = Image.new("RGB", (96, 64), "black")
    upright.paste("red", (0, 0, 48, 32))
    backwards = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's transpositions that lead to each orientation
    lying = upright.transpose(Image.Transpose(backwards[turn])) if turn > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = turn
    lying.save(tmp_path / "photo.png", exif=exif)
    ref, pixels = flat(store, tmp_path / "photo.png")
    assert (ref.width, ref.height) == (96, 64)
    assert pixels.shape == (64, 96, 3)
    assert pixels[4:28, 4:44].min(axis=(0, 1)).tolist() == [255, 0, 0]
    assert pixels[36:].max() == 0


def test_transparency_is_laid_on_white(store: MediaStore, tmp_path: Path) -> None:
    Image.new("RGBA", (64, 64), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    Image.new("LA", (64, 64), (0, 0)).save(tmp_path / "grey.png")
    Image.new("RGB", (64, 64), (9, 9, 9)).save(tmp_path / "key.png", transparency=(9, 9, 9))
    palette = Image.new("P", (64, 64), 1)
    palette.putpalette([0, 0, 0, 10, 10, 10])
    palette.save(tmp_path / "palette.png", transparency=1)
    palette.save(tmp_path / "palette.gif", transparency=1)
    for name in ("clear.png", "grey.png", "key.png", "palette.png", "palette.gif"):
        assert flat(store, tmp_path / name)[1].min() == 255, name


def test_every_depth_and_colour_model_comes_out_as_eight_bit_rgb(store: MediaStore, tmp_path: Path) -> None:
    Image.fromarray(np.full((64, 64), 32768, np.uint16)).save(tmp_path / "deep.png")
    Image.new("1", (64, 64), 1).save(tmp_path / "bits.png")
    Image.new("L", (64, 64), 128).save(tmp_path / "grey.png")
    Image.new("CMYK", (64, 64), (0, 255, 255, 0)).save(tmp_path / "print.jpg", quality=100)
    colours = {"deep.png": (128, 128, 128), "bits.png": (255,) * 3, "grey.png": (128,) * 3, "print.jpg": (255, 0, 0)}
    for name, colour in colours.items():
        assert np.abs(flat(store, tmp_path / name)[1].astype(int) - colour).max() <= 3, name


def test_a_large_picture_is_shrunk_to_what_the_checkpoint_reads(store: MediaStore, tmp_path: Path) -> None:
    _, pixels = flat(store, picture_file(tmp_path / "large.png", size=(900, 600)))
    assert pixels.shape == (192, 288, 3)
    whole = Image.open(tmp_path / "large.png").resize((288, 192), Image.Resampling.BICUBIC)
    assert np.array_equal(pixels, np.asarray(whole))


def test_too_thin_a_picture_is_refused_in_a_sentence(store: MediaStore, tmp_path: Path) -> None:
    ref = store.accept(picture_file(tmp_path / "thread.png", size=(900, 2)))
    with pytest.raises(MediaDamaged, match=r"^A picture of 900 x 2 pixels is too thin"):
        store.decode(ref, PREPROCESSING, SPEC)


def test_a_video_is_decoded_as_sampled_frames_in_the_checkpoints_size(store: MediaStore, film: Path) -> None:
    decoded = store.decode(store.accept(film), PREPROCESSING, SPEC)
    whole, times = plain_reading(film)
    chosen = np.linspace(0, 59, 6).round().astype(int)
    assert decoded.timestamps == pytest.approx([times[index] for index in chosen])
    assert np.array_equal(decoded.frames, whole[chosen])  # 96 x 64 is within the range and of whole patches


def test_frames_beyond_what_memory_should_hold_are_mapped_from_a_file(
    store: MediaStore, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = store.accept(film)
    inside = store.decode(ref, PREPROCESSING, SPEC)
    monkeypatch.setattr("core.media.video.IN_MEMORY_BYTES", 1000)
    outside = store.decode(ref, PREPROCESSING, SPEC)
    assert isinstance(outside.frames, np.memmap)
    assert np.array_equal(inside.frames, outside.frames)
