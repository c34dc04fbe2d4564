"""Picture tags in the header of an MP4: boxes that a demuxer turns into what any muxer then writes in its own way.

PyAV gives no access to a stream's side data (mastering display, cropping, 3-D, ...), but a stream made from a template
takes over the template's. So the template gets the boxes: ISO 14496-12 (clap, mdcv, clli, amve), and st3d, sv3d of
Google's Spherical Video V2.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import IO

from storage.errors import MediaError
from storage.mp4_boxes import box, full_box
from storage.mp4_boxes import boxes as boxes_between
from storage.picture_tags import Cropping, PictureTags

_PATH_TO_ENTRIES = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
_VERSION_AND_COUNT = 8
"""Bytes before the first sample entry."""
_STEREO_MODES = {(0, 0): 0, (2, 0): 1, (1, 0): 2}
"""(AVStereo3DType, flags) -> mode of st3d: flat, one above the other, side by side."""
_EQUIRECTANGULAR, _CUBEMAP, _EQUIRECTANGULAR_TILE = 0, 1, 2
"""AVSphericalProjection."""


def picture_boxes(tags: PictureTags, size: tuple[int, int]) -> bytes:
    """Boxes for the sample entry of a picture of `size` (width, height); empty when there is nothing to say.

    The display matrix is not among them: it stands in another header.
    """
    tags = tags.storable()
    boxes = [
        _mastering(tags),
        _content_light(tags),
        _ambient_light(tags),
        _clean_aperture(tags.cropping, size),
        _stereo(tags),
        _spherical(tags),
    ]
    return b"".join(boxes)


def with_boxes(segment: Path, boxes: bytes, target: Path) -> Path:
    """A copy of an MP4 whose first track's sample entry ends with `boxes`; the segment itself when there are none.

    The header must come after the samples, as FFmpeg writes it by default, so that they stay where it says they are.

    Raises:
        MediaError: the file is not laid out like that.
    """
    if not boxes:
        return segment
    content = bytearray(segment.read_bytes())
    with segment.open("rb") as file:
        chain = _boxes_down_to_entry(file, len(content), segment.name)
    end = chain[-1] + struct.unpack_from(">I", content, chain[-1])[0]
    content[end:end] = boxes
    for at in chain:
        struct.pack_into(">I", content, at, struct.unpack_from(">I", content, at)[0] + len(boxes))
    target.write_bytes(content)
    return target


def _boxes_down_to_entry(file: IO[bytes], size: int, name: str) -> list[int]:
    """Where each box begins from moov down to the first sample entry."""
    chain: list[int] = []
    begin, end = 0, size
    for wanted in _PATH_TO_ENTRIES:
        found = next((each for each in boxes_between(file, begin, end) if each.kind == wanted), None)
        if found is None:
            raise MediaError(f"{name}: has no {wanted.decode()} box, so it is no segment. Remove it and run again")
        chain.append(found.begin)
        begin, end = found.payload, found.end
    return [*chain, begin + _VERSION_AND_COUNT]


def _mastering(tags: PictureTags) -> bytes:
    display = tags.mastering_display
    if display is None:
        return b""
    red, green, blue = display.primaries
    return box(b"mdcv", struct.pack(">8H2I", *green, *blue, *red, *display.white_point, *display.luminance))


def _content_light(tags: PictureTags) -> bytes:
    return box(b"clli", struct.pack(">2H", *tags.content_light)) if tags.content_light else b""


def _ambient_light(tags: PictureTags) -> bytes:
    return box(b"amve", struct.pack(">I2H", *tags.ambient_light)) if tags.ambient_light else b""


def _clean_aperture(cropping: Cropping, size: tuple[int, int]) -> bytes:
    if cropping == Cropping():
        return b""
    width, height = size[0] - cropping.left - cropping.right, size[1] - cropping.top - cropping.bottom
    right_by, down_by = cropping.left - cropping.right, cropping.top - cropping.bottom  # of the centre, half pixels
    return box(b"clap", struct.pack(">4IiIiI", width, 1, height, 1, right_by, 2, down_by, 2))


def _stereo(tags: PictureTags) -> bytes:
    mode = _STEREO_MODES.get(struct.unpack_from("=2i", tags.stereo_3d)) if tags.stereo_3d else None
    return full_box(b"st3d", bytes([mode])) if mode is not None else b""


def _spherical(tags: PictureTags) -> bytes:
    if not tags.spherical:
        return b""
    projection, yaw, pitch, roll, left, top, right, bottom, padding = struct.unpack_from("=4i5I", tags.spherical)
    if projection in (_EQUIRECTANGULAR, _EQUIRECTANGULAR_TILE):
        shape = full_box(b"equi", struct.pack(">4I", top, bottom, left, right))
    elif projection == _CUBEMAP and padding == 0:  # padding counts pixels: scaled, it might be none
        shape = full_box(b"cbmp", struct.pack(">2I", 0, padding))
    else:
        return b""
    pose = full_box(b"prhd", struct.pack(">3i", yaw, pitch, roll))
    return box(b"sv3d", full_box(b"svhd", b"facemill\0") + box(b"proj", pose + shape))
