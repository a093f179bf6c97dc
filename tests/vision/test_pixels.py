"""What the numbers of an image file mean: as its format says, or it is refused by its name."""

import io
import struct
import subprocess
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from minissl.vision.images import load_image_files

RAMP = np.linspace(0, 1, 64).reshape(8, 8)
BYTES = np.rint(RAMP * 255).astype(np.uint8)


def read(tmp_path, image, name="a.png", channels=1, size=8, **options):
    """The image that comes back from a file (size, size, channels)."""
    path = tmp_path / name
    if isinstance(image, bytes):
        path.write_bytes(image)
    else:
        (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
    return load_image_files([path], size, channels)[0]


def refused(tmp_path, image, name, message, **options):
    with pytest.raises(ValueError, match=f"{name} cannot be read as an image: .*{message}"):
        read(tmp_path, image, name, **options)


# ---- grey of every depth -------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("name", "values", "step"),
    [
        ("a.png", BYTES, 1 / 255),
        ("a.tif", BYTES, 1 / 255),
        ("a.bmp", BYTES, 1 / 255),
        ("a.pgm", BYTES, 1 / 255),
        ("a.png", np.rint(RAMP * 65535).astype(np.uint16), 1 / 65535),
        ("a.tif", np.rint(RAMP * 65535).astype(np.uint16), 1 / 65535),
        ("a.tif", np.rint(RAMP * 65535).astype(">u2"), 1 / 65535),
        ("a.tif", RAMP.astype(np.float32), 1e-6),
        ("a.tif", RAMP > 0.5, 1),
        ("a.png", RAMP > 0.5, 1),
    ],
)
def test_grey_of_every_depth_is_what_it_means(tmp_path, name, values, step, channels):
    found = read(tmp_path, values, name, channels)
    expected = RAMP > 0.5 if values.dtype == bool else RAMP
    assert found.shape == (8, 8, channels)
    for channel in range(channels):
        np.testing.assert_allclose(found[..., channel], expected, atol=step)


def tiff(values, bits, kind=1, photometric=1, packed=None):
    """A TIFF of one strip, written by hand. kind: 1 unsigned, 2 signed, 3 floats."""
    data = values.tobytes() if packed is None else packed
    height, width = values.shape
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 8),
            (277, 1), (278, height), (279, len(data)), (339, kind)]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    begin = b"II*\0" + struct.pack("<I", 8 + len(data))
    return begin + data + struct.pack("<H", len(tags)) + entries + bytes(4)


def tiff_of_planes(colours, bits):
    """A TIFF of colours (height, width, 3) that lie one after the other, each in a strip."""
    height, width, _ = colours.shape
    planes = np.moveaxis(colours, -1, 0)
    after = 8 + planes.nbytes  # three numbers each: where the strips are, their sizes, the bits
    size = planes.nbytes // 3
    threes = struct.pack("<9I", *(8 + i * size for i in range(3)), *[size] * 3, *[bits] * 3)
    tags = [(256, 1, width), (257, 1, height), (258, 3, after + 24), (259, 1, 1), (262, 1, 2)]
    tags += [(273, 3, after), (277, 1, 3), (278, 1, height), (279, 3, after + 12), (284, 1, 2)]
    entries = b"".join(struct.pack("<HHII", tag, 4, count, value) for tag, count, value in tags)
    begin = b"II*\0" + struct.pack("<I", after + len(threes)) + planes.tobytes() + threes
    return begin + struct.pack("<H", len(tags)) + entries + bytes(4)


def test_colours_one_after_the_other_are_read_or_refused(tmp_path):
    colours = np.stack([RAMP, 1 - RAMP, RAMP / 2], axis=-1)
    shallow = np.rint(colours * 255).astype(np.uint8)
    found = read(tmp_path, tiff_of_planes(shallow, 8), "a.tif", 3)
    np.testing.assert_allclose(found, colours, atol=1 / 255)
    deep = np.rint(colours * 65535).astype("<u2")
    refused(tmp_path, tiff_of_planes(deep, 16), "a.tif", "one after the other")


def test_the_scale_of_a_file_of_floats_is_one(tmp_path):
    floats = RAMP.astype("<f4")[::-1].tobytes()  # from the lowest row
    found = read(tmp_path, b"Pf\n8 8\n-1.0\n" + floats, "a.pgm")
    np.testing.assert_allclose(found[..., 0], RAMP, atol=1e-6)
    refused(tmp_path, b"Pf\n8 8\n-255.0\n" + floats, "a.pgm", "multiplied by 255")


def test_grey_that_is_multiplied_by_its_opacity(tmp_path):
    pairs = np.stack([np.full((8, 8), 50), np.full((8, 8), 100)], axis=-1).astype(np.uint8)
    tags = [(256, 8), (257, 8), (258, 8 | 8 << 16), (259, 1), (262, 1), (273, 8), (277, 2),
            (278, 8), (279, 128), (338, 1)]  # fmt: skip
    entries = b"".join(
        struct.pack("<HHII", tag, 3 if tag == 258 else 4, 2 if tag == 258 else 1, value)
        for tag, value in tags
    )
    begin = b"II*\0" + struct.pack("<I", 136) + pairs.tobytes()
    found = read(tmp_path, begin + struct.pack("<H", 10) + entries + bytes(4), "a.tif")
    np.testing.assert_allclose(found, (50 + 155) / 255, atol=1.5 / 255)


def test_the_tiff_written_by_hand_is_read(tmp_path):
    np.testing.assert_allclose(read(tmp_path, tiff(BYTES, 8), "a.tif")[..., 0], RAMP, atol=1 / 255)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.uint32])
@pytest.mark.parametrize("largest", [1, 255, 4095, 65535, 2**31 - 1])
def test_whole_numbers_without_a_range_are_refused(tmp_path, dtype, largest):
    values = (RAMP * min(largest, np.iinfo(dtype).max)).astype(dtype)
    kind = 2 if np.iinfo(dtype).min else 1
    refused(tmp_path, tiff(values, values.itemsize * 8, kind), "a.tif", "whole numbers")


@pytest.mark.parametrize("largest", [255, 1023, 4095, 16383])
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_few_bits_in_sixteen_are_refused_and_not_black(tmp_path, name, largest):
    refused(tmp_path, (RAMP * largest).astype(np.uint16), name, "their range|16 bits")


def png_of_16_bits(values):
    """A PNG (height, width, 2 to 4) of 16 bits, which Pillow cannot write."""
    height, width, channels = values.shape
    kind = {2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(name, data):
        end = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + end

    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    begin = b"\x89PNG\r\n\x1a\n"
    return begin + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_colour_of_sixteen_bits(tmp_path):
    colours = np.stack([RAMP, 1 - RAMP, RAMP / 2], axis=-1)
    deep = np.rint(colours * 65535).astype(np.uint16)
    found = read(tmp_path, png_of_16_bits(deep), channels=3)
    np.testing.assert_allclose(found, colours, atol=1 / 255)
    refused(tmp_path, png_of_16_bits(deep // 16), "a.png", "16 bits")
    opaque = np.full((8, 8, 1), 65535)
    dark = np.concatenate([deep // 16, opaque], axis=-1)
    refused(tmp_path, png_of_16_bits(dark), "a.png", "16 bits")


def test_twelve_bits_are_read_where_the_file_says_so(tmp_path):
    values = np.rint(RAMP * 4095).astype(int)
    first, second = values.reshape(-1, 2).T
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=-1)
    found = read(tmp_path, tiff(values, 12, packed=packed.astype(np.uint8).tobytes()), "a.tif")
    np.testing.assert_allclose(found[..., 0], RAMP, atol=1 / 4095)
    plain = b"P5 8 8 4095\n" + values.astype(">u2").tobytes()
    np.testing.assert_allclose(read(tmp_path, plain, "a.pgm")[..., 0], RAMP, atol=1 / 4095)
    plain = b"P5 8 8 65535\n" + values.astype(">u2").tobytes()
    refused(tmp_path, plain, "a.pgm", "16 bits")


def test_black_of_sixteen_bits_is_black(tmp_path):
    assert not read(tmp_path, np.zeros((8, 8), np.uint16)).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.001, 1.001, 255])
def test_floats_out_of_range_are_refused(tmp_path, bad):
    values = RAMP.astype(np.float32)
    values[3, 3] = bad
    refused(tmp_path, values, "a.tif", "floats from .* expected 0 to 1")


@pytest.mark.parametrize(
    ("values", "bits", "kind"),
    [(BYTES, 8, 1), (np.rint(RAMP * 65535).astype("<u2"), 16, 1), (RAMP.astype("<f4"), 32, 3)],
)
def test_where_zero_is_white(tmp_path, values, bits, kind):
    found = read(tmp_path, tiff(values, bits, kind, photometric=0), "a.tif")
    np.testing.assert_allclose(found[..., 0], 1 - RAMP, atol=1 / 255)


# ---- colours and what is transparent -------------------------------------------------------------


def test_cmyk_and_palettes(tmp_path):
    colours = np.zeros((8, 8, 3), np.uint8)
    colours[:4], colours[4:] = (255, 0, 0), (0, 0, 255)
    image = Image.fromarray(colours)
    for mode, name in (("CMYK", "a.tif"), ("P", "b.png"), ("P", "c.gif"), ("RGB", "d.webp")):
        options = {"lossless": True} if name == "d.webp" else {}
        found = read(tmp_path, image.convert(mode), name, channels=3, **options)
        np.testing.assert_allclose(found * 255, colours, atol=1)


def transparent(mode):
    """Black that is more and more opaque from the left, in a mode."""
    image = Image.new("RGBA", (8, 8))
    image.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, 8).astype(np.uint8), (8, 1))))
    return image.convert(mode)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("mode", "name"),
    [("RGBA", "a.png"), ("LA", "a.png"), ("RGBA", "a.tif"), ("RGBA", "a.webp"), ("LA", "a.tif")],
)
def test_what_is_transparent_is_seen_on_white(tmp_path, mode, name, channels):
    options = {"lossless": True, "exact": True} if name == "a.webp" else {}
    found = read(tmp_path, transparent(mode), name, channels, **options)
    np.testing.assert_allclose(
        found[0], np.repeat(np.linspace(1, 0, 8)[:, None], channels, 1), atol=1 / 255
    )


def test_one_transparent_colour_is_seen_on_white(tmp_path):
    stripes = np.tile(np.uint8([0, 0, 0, 0, 1, 1, 1, 1]), (8, 1))
    palette = Image.fromarray(stripes, "P")
    palette.putpalette([0, 0, 0, 255, 0, 0])
    for name in ("a.png", "a.gif"):
        found = read(tmp_path, palette, name, 3, transparency=0)
        np.testing.assert_allclose(found[0, 0], 1, atol=1 / 255)
        np.testing.assert_allclose(found[0, -1], [1, 0, 0], atol=1 / 255)
    found = read(tmp_path, palette, "a.png", 3, transparency=bytes([255, 0]))
    np.testing.assert_allclose(found[0, -1], 1)
    grey = np.where(stripes, 200, 0).astype(np.uint8)
    found = read(tmp_path, grey, "a.png", 1, transparency=0)
    np.testing.assert_allclose(found[0, :, 0], [1] * 4 + [200 / 255] * 4)
    deep = np.where(stripes, 51400, 0).astype(np.uint16)
    info = Image.fromarray(deep)
    found = read(tmp_path, info, "a.png", 1, transparency=0)
    np.testing.assert_allclose(found[0, :, 0], [1] * 4 + [200 / 255] * 4, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_every_depth_is_turned_upright(tmp_path, dtype):
    lying = np.zeros((4, 8), dtype)
    lying[0] = 1 if dtype == np.float32 else np.iinfo(dtype).max
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[0x0112] = 8
    found = read(tmp_path, lying, "a.tif", size=4, tiffinfo=info)
    assert found[:, 0].mean() > 0.4
    np.testing.assert_array_equal(found[:, 2:], 0)


# ---- files that do harm --------------------------------------------------------------------------


def test_large_images_are_refused_before_they_are_decoded(tmp_path):
    for side in (8200, 10_000, 20_000, 2_000_000_000):
        head = f"P5 {side} {side} 255\n".encode()
        tracemalloc.start()
        refused(tmp_path, head + b"x", "a.pgm", "pixels|exceed")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        tracemalloc.stop()


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"


@pytest.mark.parametrize("suffix", ["gif", "png", "jpg", "tif", "bmp", "webp", "pgm"])
def test_no_program_is_started(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(subprocess, "Popen", None)
    refused(tmp_path, EPS, f"a.{suffix}", "it is none of BMP, GIF")


def test_what_pillow_warns_of_names_the_file(tmp_path):
    file = io.BytesIO()
    Image.fromarray(BYTES).save(file, "TIFF")
    entry = struct.pack("<HHI", 278, 4, 1)  # the rows of a strip
    assert file.getvalue().count(entry) == 1
    data = file.getvalue().replace(entry, struct.pack("<HHI", 278, 3, 2))
    with pytest.warns(UserWarning, match=r"a.tif: Metadata Warning"):
        read(tmp_path, data, "a.tif")
