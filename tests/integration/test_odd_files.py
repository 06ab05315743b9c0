"""Awkward files: read as a person sees them, or quarantined with a reason; the same pixels in every part."""

import io
import os
import socket
import struct
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.config.image import Decoding
from pipeline.data.curation import curate
from pipeline.data.inspection import Inspection, inspect
from pipeline.data.sources import list_images
from pipeline.inputs.decoding import decode, pixels
from tests.support.datasets import dataset

RED, BLUE = (230, 20, 30), (20, 40, 220)
SIZE = (40, 30)

# Corrupt metadata is remarked on by Pillow, and is part of the zoo.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def two_halves(size: tuple[int, int] = SIZE) -> Image.Image:
    """Red above, blue below, so that turns and wrong colours show."""
    image = Image.new("RGB", size, BLUE)
    image.paste(RED, (0, 0, size[0], size[1] // 2))
    return image


def saved(image: Image.Image, kind: str, **options) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def turned(orientation: int) -> bytes:
    """A file whose EXIF says how to turn what it holds into `two_halves`."""
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = two_halves()
    return saved(image.transpose(undo) if undo is not None else image, "JPEG", quality=95, subsampling=0, exif=exif)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(depth: int, colour: int, rows: list[bytes], *between: bytes, size: tuple[int, int] = SIZE) -> bytes:
    """A PNG file written by hand, for what Pillow does not write."""
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(between) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def png16(*values: int) -> bytes:
    return struct.pack(f">{len(values)}H", *values)


def palette_with_transparency() -> bytes:
    """Index 0 is red, index 1 blue, index 2 would be black, and is transparent."""
    image = Image.new("P", SIZE, 1)
    image.putpalette([*RED, *BLUE, 0, 0, 0])
    image.paste(0, (0, 0, SIZE[0], SIZE[1] // 2))
    image.paste(2, (0, 0, 5, 5))
    return saved(image, "PNG", transparency=2)


def with_alpha(mode: str) -> bytes:
    image = two_halves().convert(mode) if mode == "RGBA" else Image.new(mode, SIZE, (0, 255))
    alpha = Image.new("L", SIZE, 255)
    alpha.paste(0, (0, 0, 5, 5))
    image.putalpha(alpha)
    return saved(image, "PNG")


JPEG = saved(two_halves(), "JPEG", quality=95, subsampling=0)
PNG = saved(two_halves(), "PNG")
GREY16 = [png16(*([60000] * SIZE[0]))] * 15 + [png16(*([6000] * SIZE[0]))] * 15
RGB16 = [png16(*[v * 257 for v in RED] * SIZE[0])] * 15 + [png16(*[v * 257 for v in BLUE] * SIZE[0])] * 15
FRAMES = [two_halves(), Image.new("RGB", SIZE, "white")]

HALVES = (RED, BLUE)
WHITE_CORNER = "white corner"
# What a file holds, and the colours that a person sees at the top and at the bottom.
READABLE: dict[str, tuple[bytes, tuple]] = {
    "plain.jpg": (JPEG, HALVES),
    "plain.png": (PNG, HALVES),
    "plain.bmp": (saved(two_halves(), "BMP"), HALVES),
    "plain.gif": (saved(two_halves(), "GIF"), HALVES),
    "plain.webp": (saved(two_halves(), "WEBP", lossless=True), HALVES),
    **{f"turned-{each}.jpg": (turned(each), HALVES) for each in range(1, 9)},
    "progressive.jpg": (saved(two_halves(), "JPEG", quality=95, progressive=True), HALVES),
    "subsampled.jpg": (saved(two_halves(), "JPEG", quality=90, subsampling=2), HALVES),
    "cmyk.jpg": (saved(two_halves().convert("CMYK"), "JPEG", quality=95), HALVES),
    "grey.jpg": (saved(two_halves().convert("L"), "JPEG", quality=95), ((84,) * 3, (54,) * 3)),
    "grey.png": (saved(two_halves().convert("L"), "PNG"), ((84,) * 3, (54,) * 3)),
    "one-bit.png": (saved(Image.new("1", SIZE, 1), "PNG"), ((255,) * 3, (255,) * 3)),
    "grey16.png": (png(16, 0, GREY16), ((233,) * 3, (23,) * 3)),
    "rgb16.png": (png(16, 2, RGB16), HALVES),
    "palette.png": (saved(two_halves().quantize(4), "PNG"), HALVES),
    "palette.gif": (saved(two_halves().quantize(4), "GIF"), HALVES),
    "palette-transparent.png": (palette_with_transparency(), HALVES),
    "alpha.png": (with_alpha("RGBA"), HALVES),
    "grey-alpha.png": (with_alpha("LA"), ((0,) * 3, (0,) * 3)),
    "interlaced-names.PNG": (PNG, HALVES),
    "animated.gif": (saved(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:]), HALVES),
    "animated.webp": (saved(FRAMES[0], "WEBP", save_all=True, append_images=FRAMES[1:], lossless=True), HALVES),
    "animated.png": (saved(FRAMES[0], "PNG", save_all=True, append_images=FRAMES[1:]), HALVES),
    "several.jpg": (saved(FRAMES[0], "MPO", save_all=True, append_images=FRAMES[1:], quality=95), HALVES),
    "a-png-called.jpg": (PNG, HALVES),
    "a-tiff-called.png": (saved(two_halves(), "TIFF"), HALVES),
    "exif-nonsense.jpg": (saved(two_halves(), "JPEG", quality=95, exif=b"Exif\0\0II*\0\xff\xff\xff\xff"), HALVES),
    "orientation-99.jpg": (
        JPEG[:2]
        + b"\xff\xe1\x00\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0\0\0\0\0"
        + JPEG[2:],
        HALVES,
    ),
    "trailing-bytes.jpg": (JPEG + b"more" * 100, HALVES),
    "one-pixel.png": (saved(Image.new("RGB", (1, 1), RED), "PNG"), (RED, RED)),
    "a-line.png": (saved(Image.new("RGB", (3000, 1), RED), "PNG"), (RED, RED)),
    "new\nline.png": (PNG, HALVES),
    'quote"comma,semicolon;.png': (PNG, HALVES),
    "<script>.png": (PNG, HALVES),
    "ünï-日本-🐈.png": (PNG, HALVES),
    f"{'long' * 60}.png": (PNG, HALVES),
    " space .png": (PNG, HALVES),
}
# And why a person sees nothing.
UNREADABLE: dict[str, tuple[bytes, str]] = {
    "empty.jpg": (b"", "empty file"),
    "text.jpg": (b"no image at all", "not an image in a known format"),
    "page.png": (b"<!doctype html><title>404</title>", "not an image in a known format"),
    "cut.jpg": (JPEG[: len(JPEG) // 2], "damaged: .*[Tt]runcated"),
    "cut.png": (saved(Image.effect_noise((200, 200), 90), "PNG")[:9000], "damaged"),
    "cut.gif": (saved(Image.effect_noise((200, 200), 90), "GIF")[:9000], "damaged"),
    "cut.webp": (saved(Image.effect_noise((200, 200), 90).convert("RGB"), "WEBP")[:900], "damaged|not an image"),
    "header-only.png": (PNG[:20], "not an image|damaged"),
    "wrong-checksum.png": (PNG[:29] + b"\0\0\0\0" + PNG[33:], "damaged|not an image"),
    "bomb.png": (
        png(1, 0, [b"\0" * 1250] * 10, size=(10_000, 10_000)),
        r"10000x10000 are more than 89478485 pixels \(dataset\.max_pixels\)",
    ),
    "bomb.gif": (b"GIF89a\xff\xff\xff\xff\0\0\0", "65535x65535 are more than|damaged|not an image"),
    "floating.png": (saved(Image.new("F", SIZE, 0.5), "TIFF"), "floating-point"),
}


@pytest.fixture(scope="module")
def zoo(tmp_path_factory) -> Path:
    """All of them in one class, and plain images in another."""
    folder = tmp_path_factory.mktemp("zoo") / "images"
    (folder / "awkward" / "nested" / "deep").mkdir(parents=True)
    (folder / "plain").mkdir()
    for name, (data, _) in (READABLE | UNREADABLE).items():
        (folder / "awkward" / name).write_bytes(data)
    for number in range(8):
        Image.effect_noise((32, 32), 10 + 10 * number).save(folder / "plain" / f"{number}.png")
    awkward = folder / "awkward"
    (awkward / os.fsdecode(b"not-utf8-\xff.png")).write_bytes(PNG)
    (awkward / "link.png").symlink_to(awkward / "plain.png")
    (awkward / "broken-link.png").symlink_to(awkward / "nowhere.png")
    (awkward / "self-link.png").symlink_to(awkward / "self-link.png")
    (awkward / "loop").symlink_to(folder)
    (awkward / "nested" / "up").symlink_to(awkward)
    os.mkfifo(awkward / "pipe.jpg")
    (awkward / "folder.jpg").mkdir()
    (awkward / "nested" / "deep" / "down.png").write_bytes(PNG)
    (awkward / "locked.png").write_bytes(PNG)
    (awkward / "locked.png").chmod(0)
    (awkward / "notes.txt").write_text("not an image's ending")
    (awkward / ".hidden.png").write_bytes(PNG)
    return folder


@pytest.fixture(scope="module")
def inspected(zoo, tmp_path_factory) -> Inspection:
    config = dataset(zoo)
    return inspect(zoo, list_images(config).images, tmp_path_factory.mktemp("cache"), config.max_pixels)


@pytest.mark.parametrize("name", READABLE, ids=ascii)
def test_it_is_read_as_a_person_sees_it(zoo, inspected, name):
    _, (top, bottom) = READABLE[name]
    [row] = inspected.table[inspected.table["path"] == f"awkward/{name}"].to_dict("records")
    assert pd.isna(row["reason"])
    image = decode((zoo / "awkward" / name).read_bytes()).image
    assert (row["width"], row["height"]) == image.size
    assert image.mode == "RGB"
    if min(image.size) > 1:
        assert image.size == SIZE
    seen = np.asarray(image, int)
    for found, expected in (
        ((seen[2, -2:].mean(axis=0), top), (seen[-3, -2:].mean(axis=0), bottom))
        if len(seen) > 3
        else ((seen[0, 0], top),)
    ):
        assert np.abs(found - expected).max() <= 12, (found, expected)


@pytest.mark.parametrize("name", ["palette-transparent.png", "alpha.png", "grey-alpha.png"])
def test_what_is_transparent_lies_on_white(name):
    assert decode(READABLE[name][0]).image.getpixel((1, 1)) == (255, 255, 255)


@pytest.mark.parametrize("name", UNREADABLE)
def test_it_is_quarantined_with_its_reason(inspected, name):
    [row] = inspected.table[inspected.table["path"] == f"awkward/{name}"].to_dict("records")
    assert pd.Series([row["reason"]]).str.contains(UNREADABLE[name][1]).all(), row["reason"]
    assert len(row["sha256"]) == 64
    assert not inspected.hashes[inspected.table["path"] == f"awkward/{name}"].any()


def test_links_pipes_and_names(zoo, inspected):
    reasons = inspected.table.set_index("path")["reason"]
    assert pd.isna(reasons["awkward/link.png"])
    assert reasons["awkward/broken-link.png"] == "No such file or directory"
    assert reasons["awkward/self-link.png"] == "Too many levels of symbolic links"
    assert reasons["awkward/pipe.jpg"] == "not a regular file"
    assert reasons["awkward/not-utf8-\\udcff.png"] == "name is not UTF-8"
    assert pd.isna(reasons["awkward/nested/deep/down.png"])
    assert not any("loop" in path or "/up/" in path or "hidden" in path for path in reasons.index)
    if os.getuid():
        assert reasons["awkward/locked.png"] == "Permission denied"


def test_the_same_bytes_give_the_same_pixels_everywhere(zoo, inspected, tmp_path):
    """prepare's decoding, training's kept images, streamed ones, and a prediction from bytes."""
    from pipeline.inputs.images import DecodedImages
    from pipeline.storage.cache import Cache

    rows = inspected.table[inspected.table["reason"].isna()].reset_index(drop=True)
    everything = np.arange(len(rows))
    decoding, cache = Decoding(24), Cache(tmp_path / "cache")
    kept = DecodedImages(zoo, rows, decoding, cache, budget_gib=1.0, title="test").take(everything)
    streamed = DecodedImages(zoo, rows, decoding, cache, budget_gib=0.0, title="test").take(everything)
    predicted = np.stack([pixels((zoo / path).read_bytes(), decoding) for path in rows["path"]])
    assert np.array_equal(kept, streamed)
    assert np.array_equal(kept, predicted)
    same_bytes = pd.Series([frame.tobytes() for frame in kept]).groupby(rows["sha256"]).nunique()
    assert (same_bytes == 1).all()


def test_curation_of_the_zoo_ends(zoo, inspected):
    curated = curate(inspected, ["awkward", "plain"], dataset(zoo, "dataset.min_images_per_class=3"), 1)
    assert set(curated.manifest["path"]) == set(inspected.table.loc[inspected.table["reason"].isna(), "path"])
    # All that hold the bytes of one image are in one split.
    assert (curated.manifest.groupby("sha256")["split"].nunique() == 1).all()


def test_a_socket_is_no_picture(tmp_path, monkeypatch):
    from pipeline.data.inspection import _read

    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind("a.jpg")
        assert _read("a.jpg", 100)["reason"] == "not a regular file"
