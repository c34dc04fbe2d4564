"""What colour codes are called: FFmpeg's words, as its command line and `ffprobe` have them."""

from __future__ import annotations

_RANGES = {0: "unspecified", 1: "limited", 2: "full"}
_PRIMARIES = {
    1: "bt709",
    2: "unspecified",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "film",
    9: "bt2020",
    10: "smpte428",
    11: "smpte431",
    12: "smpte432",
    22: "ebu3213",
}
_TRANSFERS = {
    1: "bt709",
    2: "unspecified",
    4: "gamma22",
    5: "gamma28",
    6: "smpte170m",
    7: "smpte240m",
    8: "linear",
    9: "log100",
    10: "log316",
    11: "iec61966-2-4",
    12: "bt1361e",
    13: "iec61966-2-1",
    14: "bt2020-10",
    15: "bt2020-12",
    16: "smpte2084",
    17: "smpte428",
    18: "arib-std-b67",
}
_MATRICES = {
    0: "rgb",
    1: "bt709",
    2: "unspecified",
    4: "fcc",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "ycgco",
    9: "bt2020nc",
    10: "bt2020c",
    11: "smpte2085",
    12: "chroma-derived-nc",
    13: "chroma-derived-c",
    14: "ictcp",
    15: "ipt-c2",
    16: "ycgco-re",
    17: "ycgco-ro",
}
_NAMES = {
    "colour range": _RANGES,
    "colour primaries": _PRIMARIES,
    "transfer characteristics": _TRANSFERS,
    "colour matrix": _MATRICES,
}


def colour_name(what: str, code: int) -> str:
    """The name of a code.

    Args:
        what: `colour range` (AVColorRange), or `colour primaries`, `transfer characteristics` or `colour matrix` (ITU-T
            H.273).
        code: one that is reserved is called by its number.
    """
    return _NAMES[what].get(code, f"code {code}")
