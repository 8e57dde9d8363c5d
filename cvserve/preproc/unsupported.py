"""Names the formats of files that are not accepted, so that their owner knows what to convert."""

from __future__ import annotations


def describe(data: bytes) -> str:
    """Returns what the data are, by their first bytes: "is an AVIF image", "is text, not an image", "is empty", ...

    AVIF, HEIC, JPEG XL, JPEG 2000 and the like are refused on purpose, though OpenCV reads some of them: each decoder
    is one more that untrusted bytes reach, and none of their headers is read here.
    """
    if not data:
        return "is empty"
    brand = data[8:12] if data[4:8] == b"ftyp" else b""
    if brand in (b"avif", b"avis"):
        return "is an AVIF image"
    if brand in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"):
        return "is a HEIC image"
    if data[1:4] == b"PNG":
        return "is a PNG whose signature is damaged, as by a transfer in text mode"
    if data[:4] == b"\0\0\x01\0":
        return "is a Windows icon"
    if data[:1] == b"P" and data[1:2] in b"123456" and data[2:3].isspace():
        return "is a PPM image"
    if data[:12] == b"\0\0\0\x0cjP  \r\n\x87\n" or data[:4] == b"\xff\x4f\xff\x51":
        return "is a JPEG 2000 image"
    if data[:2] == b"\xff\x0a" or data[:8] == b"\0\0\0\x0cJXL ":
        return "is a JPEG XL image"
    if data[:5] == b"%PDF-":
        return "is a PDF document"
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<svg", b"<?xml")):
        return "is an SVG drawing or other XML"
    if start.startswith((b"<!doctype", b"<html")):
        return "is a web page"
    if b"\0" not in data[:512] and all(byte >= 32 or byte in b"\t\r\n\f" for byte in data[:512]):
        return "is text, not an image"
    return "is not an image of a known format"
