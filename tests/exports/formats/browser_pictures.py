"""Pictures of all kinds that browsers read, for the tests of the static page."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageDraw


def scene(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Soft colours with hard edges, so that both the decoder and the resizing show."""
    rng = np.random.default_rng((width, height))
    soft = Image.fromarray(rng.integers(0, 256, (height // 24 + 2, width // 24 + 2, 3), np.uint8))
    made = soft.resize((width, height), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(made)
    for _ in range(6):
        ends = rng.integers(-5, [width + 5, height + 5], (2, 2))
        pen.line([*map(tuple, ends.tolist())], tuple(rng.integers(0, 256, 3).tolist()), int(rng.integers(1, 6)))
    return made.convert(mode)


def see_through(width: int, height: int) -> Image.Image:
    made = scene(width, height, "RGBA")
    made.putalpha(scene(height, width, "L").transpose(Image.Transpose.TRANSPOSE))
    return made


def saved(picture: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def png(rows: Any, depth: int, color: int, *extra: tuple[bytes, bytes]) -> bytes:
    """Write the rows of a PNG as they are, for kinds that Pillow does not write."""
    height, width = rows.shape[:2]
    body = b"".join(b"\0" + row.astype(">u2" if depth == 16 else np.uint8).tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(body)), (b"IEND", b"")]
    packed = (struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def display_p3() -> bytes:
    """The sRGB profile with the primaries of Display P3, adapted to D50."""
    content = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    primaries = {b"rXYZ": (33759, 15807, -69), b"gXYZ": (19135, 45369, 2745), b"bXYZ": (10296, 4369, 51383)}
    for place in range(struct.unpack_from(">I", content, 128)[0]):
        name, offset, _ = struct.unpack_from(">4sII", content, 132 + 12 * place)
        if name in primaries:
            struct.pack_into(">3i", content, offset + 8, *primaries[name])
    return bytes(content)


def not_adobes(jpeg: bytes) -> bytes:
    """Take out the segment by which Adobe's JPEGs are known."""
    start = jpeg.index(b"\xff\xee")
    return jpeg[:start] + jpeg[start + 2 + int.from_bytes(jpeg[start + 2 : start + 4]) :]


def matrix_profile(curve: bytes, count: int) -> bytes:
    """Write a profile of the primaries of Adobe RGB (1998) and a curve of so many 16-bit values (ICC.1:2001, 6.5.3)."""
    points = {b"rXYZ": (39949, 20390, 1276), b"gXYZ": (13459, 40929, 3982), b"bXYZ": (9782, 4215, 48783)}
    parts = {name: b"XYZ " + bytes(4) + struct.pack(">3i", *value) for name, value in points.items()}
    parts |= {name: b"curv" + bytes(4) + struct.pack(">I", count) + curve for name in (b"rTRC", b"gTRC", b"bTRC")}
    parts[b"wtpt"] = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    table, body = b"", b""
    first = 128 + 4 + 12 * len(parts)
    for name, part in parts.items():
        table += struct.pack(">4sII", name, first + len(body), len(part))
        body += part + bytes(-len(part) % 4)
    head = struct.pack(">I4sI4s4s4s", first + len(body), b"lcms", 0x02100000, b"mntr", b"RGB ", b"XYZ ") + bytes(12)
    head += b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head + bytes(128 - len(head)) + struct.pack(">I", len(parts)) + table + body


def varied() -> dict[str, bytes]:
    """Make pictures of odd sizes, all orientations and all formats that browsers read."""
    made: dict[str, bytes] = {}
    for number, (width, height) in enumerate([(1, 1), (3, 250), (640, 427), (33, 31), (500, 7), (403, 301), (32, 32)]):
        form, suffix = [("JPEG", "jpg"), ("PNG", "png")][number % 2]
        made[f"{width}x{height}.{suffix}"] = saved(scene(width, height), form)
    for orientation in range(1, 9):
        for form, options in (("JPEG", {}), ("PNG", {}), ("WEBP", {"lossless": True})):
            content = saved(scene(97, 61), form, exif=turned(orientation), **options)
            made[f"turned{orientation}.{form.lower()}"] = content
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:Description tiff:Orientation="6"/></x:xmpmeta>'
    made["xmp.jpg"] = saved(scene(97, 61), "JPEG", xmp=xmp)
    for sampling in (0, 1, 2):
        made[f"sampling{sampling}.jpg"] = saved(scene(201, 133), "JPEG", subsampling=sampling, quality=60)
    made["progressive.jpg"] = saved(scene(201, 133), "JPEG", progressive=True)
    made["grey.jpg"] = saved(scene(120, 90, "L"), "JPEG")
    made["cmyk.jpg"] = saved(scene(120, 90, "CMYK"), "JPEG")
    made["p3.jpg"] = saved(scene(120, 90), "JPEG", icc_profile=display_p3())
    made["p3.png"] = saved(scene(120, 90), "PNG", icc_profile=display_p3())
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    adobe = matrix_profile(struct.pack(">H", 563), 1)
    steps = struct.pack(">33H", *(round(65535 * (place / 32) ** 1.8) for place in range(33)))
    made["adobe.jpg"] = saved(scene(120, 90), "JPEG", icc_profile=adobe)
    made["table.webp"] = saved(scene(120, 90), "WEBP", lossless=True, icc_profile=matrix_profile(steps, 33))
    made["grey-adobe.jpg"] = saved(scene(120, 90, "L"), "JPEG", icc_profile=adobe)
    made["grey-adobe.png"] = saved(scene(120, 90, "L"), "PNG", icc_profile=adobe)
    made["srgb.jpg"] = saved(scene(120, 90), "JPEG", icc_profile=srgb)
    made["alpha.png"] = saved(see_through(150, 99), "PNG")
    made["alpha.webp"] = saved(see_through(150, 99), "WEBP", lossless=True, exact=True)
    made["lossy.webp"] = saved(see_through(150, 99), "WEBP", quality=70)
    made["photo.webp"] = saved(scene(301, 207), "WEBP", quality=80)
    made["grey.png"] = saved(scene(90, 120, "L"), "PNG")
    made["grey-alpha.png"] = saved(see_through(90, 120).convert("LA"), "PNG")
    made["palette.png"] = saved(scene(90, 120).quantize(40), "PNG")
    made["palette-alpha.png"] = saved(scene(90, 120).quantize(40), "PNG", transparency=bytes(range(0, 240, 6)))
    made["bit.png"] = saved(scene(90, 120, "1"), "PNG")
    wide = np.asarray(scene(90, 120)).astype(np.uint16) * 257
    made["grey16.png"] = png(wide[..., 0], 16, 0)
    made["grey16-noise.png"] = png(wide[..., 0] ^ np.random.default_rng(1).integers(0, 256, (120, 90)), 16, 0)
    made["grey16-key.png"] = png(wide[..., 0], 16, 0, (b"tRNS", struct.pack(">H", wide[7, 7, 0])))
    made["grey16-filters.png"] = saved(Image.fromarray(wide[..., 0] ^ np.uint16(77)), "PNG")
    made["colour16.png"] = png(wide, 16, 2)
    made["alpha16.png"] = png(np.dstack([wide, wide[..., :1]]), 16, 6)
    made["gamma.png"] = png(np.asarray(scene(90, 120)), 8, 2, (b"gAMA", struct.pack(">I", 100_000)))
    key = tuple(int(value) for value in np.asarray(scene(90, 120))[5, 5])
    made["key.png"] = png(np.asarray(scene(90, 120)), 8, 2, (b"tRNS", struct.pack(">3H", *key)))
    frames = [scene(90, 120).quantize(60), scene(120, 90).resize((90, 120)).quantize(60)]
    made["moving.gif"] = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    made["clear.gif"] = saved(scene(61, 47).quantize(9), "GIF", transparency=3)
    made["moving.webp"] = saved(scene(90, 120), "WEBP", save_all=True, append_images=[scene(90, 121).resize((90, 120))])
    made["moving.png"] = saved(scene(90, 120), "PNG", save_all=True, append_images=[scene(90, 121).resize((90, 120))])
    made["plain.bmp"] = saved(scene(77, 53), "BMP")
    made["palette.bmp"] = saved(scene(77, 53).quantize(200), "BMP")
    made["grey.bmp"] = saved(scene(77, 53, "L"), "BMP")
    made["bit.bmp"] = saved(scene(77, 53, "1"), "BMP")
    return made
