"""What a file is by its first bytes, and what to do with one that is no picture, or one of a kind that is not read."""

from __future__ import annotations

import re

HEAD = 4096
"""Bytes that ``explain`` wants to see."""

CONVERT = "convert it to JPEG or PNG"
_RAW = "camera raw is not read: export it as JPEG"
_VIDEO = "not a picture but a video: save frames of it as JPEG"

HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"mif2"}
AVIF_BRANDS = {b"avif", b"avis"}

# What stands at the start, or so many bytes behind it: what that is, and what to do. The first that fits is said.
_STARTS: tuple[tuple[int, bytes | tuple[bytes, ...], str], ...] = (
    (0, b"\xff\x0a", f"JPEG XL is not read: {CONVERT}"),
    (4, b"JXL \r\n\x87\n", f"JPEG XL is not read: {CONVERT}"),
    (4, b"jP  \r\n\x87\n", f"JPEG 2000 is not read: {CONVERT}"),
    (0, b"\xff\x4f\xff\x51", f"JPEG 2000 is not read: {CONVERT}"),
    (0, b"II\xbc", f"JPEG XR is not read: {CONVERT}"),
    (0, b"8BPS", "a Photoshop document is not read: export it as PNG or JPEG"),
    (0, b"gimp xcf", "a GIMP document is not read: export it as PNG or JPEG"),
    (0, (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb", b"\0MRM"), _RAW),
    (6, b"HEAPCCDR", _RAW),
    (4, b"ftypcrx ", _RAW),
    (0, b"\0\0\1\0", f"an icon (ICO) is not read: {CONVERT}"),
    (0, (b"\0\0\2\0\0\0\0\0", b"\0\0\x0a\0\0\0\0\0"), f"a TGA picture is not read: {CONVERT}"),
    (0, b"\n\5\1\x08", f"PCX is not read: {CONVERT}"),
    (0, b"\x01\xda", f"an SGI picture is not read: {CONVERT}"),
    (0, b"\0\0\2\0", f"a cursor is not read: {CONVERT}"),
    (0, b"icns", f"an icon (ICNS) is not read: {CONVERT}"),
    (0, b"DDS ", f"a DDS texture is not read: {CONVERT}"),
    (0, b"qoif", f"QOI is not read: {CONVERT}"),
    (0, b"\x76\x2f\x31\x01", f"OpenEXR is not read: {CONVERT}"),
    (0, b"#?RADIANCE", f"Radiance HDR is not read: {CONVERT}"),
    (0, b"SIMPLE  =", f"FITS is not read: {CONVERT}"),
    (0, b"\xd7\xcd\xc6\x9a", f"a Windows metafile is not read: {CONVERT}"),
    (40, b" EMF", f"a Windows metafile is not read: {CONVERT}"),
    (128, b"DICM", f"DICOM is not read: {CONVERT}"),
    (0, b"%PDF", "a PDF is not read: export its pages as PNG or JPEG"),
    (0, (b"%!PS", b"\xc5\xd0\xd3\xc6"), "PostScript is not read: export it as PNG or JPEG"),
    (0, b"version https://git-lfs", "not a picture but a Git LFS pointer: get the pictures with `git lfs pull`"),
    (0, b"PK\3\4", "not a picture but a ZIP archive: unpack it"),
    (0, b"PK\5\6", "not a picture but an empty ZIP archive"),
    (0, b"\x1f\x8b", "not a picture but a gzip archive: unpack it"),
    (0, b"7z\xbc\xaf\x27\x1c", "not a picture but a 7z archive: unpack it"),
    (0, b"Rar!\x1a\7", "not a picture but a RAR archive: unpack it"),
    (0, b"\xfd7zXZ\0", "not a picture but an xz archive: unpack it"),
    (0, b"BZh", "not a picture but a bzip2 archive: unpack it"),
    (0, b"\x28\xb5\x2f\xfd", "not a picture but a Zstandard archive: unpack it"),
    (257, b"ustar", "not a picture but a tar archive: unpack it"),
    (0, b"\0\5\x16\7", "not a picture but a side file of macOS (AppleDouble): delete it"),
    (0, (b"\x1aE\xdf\xa3", b"\0\0\1\xba", b"\0\0\1\xb3", b"FLV\1", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"), _VIDEO),
    (8, b"AVI LIST", _VIDEO),
    (4, (b"ftyp", b"moov", b"mdat", b"wide"), _VIDEO),
    (8, b"WAVEfmt ", "not a picture but sound"),
    (0, b"OggS", "not a picture but sound or a video"),
    (0, (b"fLaC", b"ID3"), "not a picture but sound"),
    (0, b"\x93NUMPY", "not a picture but a NumPy array: save it as PNG"),
    (0, b"\x89HDF\r\n\x1a\n", "not a picture but an HDF5 file"),
    (0, b"SQLite format 3\0", "not a picture but a database"),
    (0, b"\xd0\xcf\x11\xe0", "not a picture but an Office document"),
    (0, b"{\\rtf", "not a picture but a document"),
    (0, b"bplist00", "not a picture but a property list of macOS, as iCloud leaves: download the picture itself"),
    (0, b"L\0\0\0\1\x14\2\0", "not a picture but a shortcut of Windows: copy the file that it leads to"),
    (0, b"[InternetShortcut]", "not a picture but a shortcut to an address: download the picture itself"),
    (0, b"MZ", "not a picture but a Windows program"),
    (0, b"\x7fELF", "not a picture but a program"),
)
_PAGE = re.compile(rb"<(!doctype\s+html|html|head|body|script|title|meta)\b", re.IGNORECASE)
_DRAWING = re.compile(rb"<([a-z]+:)?svg[\s>]")
_MARKUP = re.compile(rb"\s*<[?!a-zA-Z]")
_BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_CONTROL = {*range(32)} - {9, 10, 12, 13, 27} | {127}


def family(head: bytes) -> str | None:
    """Return ``heic`` or ``avif`` for a file of the one or the other (ISO/IEC 23008-12), by its first bytes."""
    if head[4:8] != b"ftyp":
        return None
    length = min(int.from_bytes(head[:4]), len(head))
    brands = [head[8:12], *(head[place : place + 4] for place in range(16, length - 3, 4))]
    if any(brand in AVIF_BRANDS for brand in brands):
        return "avif"
    return "heic" if any(brand in HEIC_BRANDS for brand in brands) else None


def suffix(head: bytes) -> str | None:
    """Return the usual suffix of a picture's kind by its first bytes; None where it is none that is surely read."""
    for start, ending in ((b"\xff\xd8\xff", ".jpg"), (b"\x89PNG\r\n\x1a\n", ".png"), (b"GIF8", ".gif")):
        if head.startswith(start):
            return ending
    return ".webp" if head.startswith(b"RIFF") and head[8:12] == b"WEBP" else None


def explain(head: bytes) -> str | None:
    """Say in one line what a file is that is no picture, and what to do; None where its first bytes do not tell."""
    if family(head) is not None:
        return None
    if head and not head.strip(b"\0"):
        return "the file contains only zeros: copy or download it again"
    for place, start, line in _STARTS:
        if head.startswith(start, place):
            return line
    return _text(head)


def _text(head: bytes) -> str | None:
    for mark, encoding in _BOMS:
        if head.startswith(mark):
            head = head[len(mark) :].decode(encoding, "ignore").encode()
            break
    if not head.strip() or _CONTROL.intersection(head) or not _is_unicode(head):
        return None
    start = head.lstrip()
    if _DRAWING.search(head) and start.startswith(b"<"):
        return "an SVG drawing is not read: export it as PNG"
    if _MARKUP.match(head) and _PAGE.search(head):
        return "not a picture but a web page, from a failed download: download the picture itself"
    if start.startswith(b"data:image/"):
        return "not a picture but a data URL as text: decode its Base64 first"
    kind = "XML" if _MARKUP.match(head) else "JSON" if start[:1] in (b"{", b"[") else "text"
    return f"not a picture but {kind}"


def _is_unicode(head: bytes) -> bool:
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 3 and len(head) >= HEAD - 4  # cut inside a letter
    return True
