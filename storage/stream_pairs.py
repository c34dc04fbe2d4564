"""Which stream of a result is which of its source's, also when one of several alike is missing."""

from __future__ import annotations

import numpy as np

from storage.media_index import MediaIndex, StreamIndex

_SAME_KIND, _SAME_CODEC, _SAME_LANGUAGE, _SAME_CONTENT = 1.0, 2.0, 4.0, 8.0
"""What makes two streams alike. The content tells most, but it may be what is damaged."""


def paired_streams(
    source: MediaIndex, result: MediaIndex, left_out: frozenset[int] = frozenset()
) -> list[tuple[StreamIndex, StreamIndex]]:
    """The streams besides the picture, each with what it became.

    As many as there should be are paired in their order. When some are missing, or too many, the others are found by
    what they are: the pairing in order in which the most is alike.

    Args:
        left_out: streams of the source, by index, that the result's container cannot hold.
    """
    before = [stream for stream in source.others if stream.index not in left_out]
    after = result.others
    if len(before) == len(after):
        return list(zip(before, after, strict=True))
    return _best_in_order(before, after)


def told_apart(stream: StreamIndex) -> str:
    """A stream by what tells it from others: `stream 2 (audio, aac, deu, 'Kommentar')`."""
    tags = {key.lower(): text for key, text in stream.metadata.items()}
    title = tags.get("title")
    more = [tags.get("language", ""), repr(title) if title else ""]
    return "".join([stream.name.removesuffix(")"), *(f", {each}" for each in more if each), ")"])


def _best_in_order(before: list[StreamIndex], after: list[StreamIndex]) -> list[tuple[StreamIndex, StreamIndex]]:
    """Dynamic programming over prefixes: `best[i, j]` is the most that the first i and the first j can be alike."""
    alike = np.array([[_likeness(left, right) for right in after] for left in before]).reshape(len(before), len(after))
    best = np.zeros((len(before) + 1, len(after) + 1))
    for i in range(1, len(before) + 1):
        for j in range(1, len(after) + 1):
            together = best[i - 1, j - 1] + alike[i - 1, j - 1] if alike[i - 1, j - 1] else 0.0
            best[i, j] = max(best[i - 1, j], best[i, j - 1], together)
    pairs = []
    i, j = len(before), len(after)
    while i and j:
        if best[i, j] == best[i - 1, j]:
            i -= 1
        elif best[i, j] == best[i, j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            pairs.append((before[i], after[j]))
    return pairs[::-1]


def _likeness(before: StreamIndex, after: StreamIndex) -> float:
    """How much two streams have in common; 0 when they cannot be the same."""
    if before.kind != after.kind:
        return 0.0
    languages = [stream.metadata.get("language", "und") for stream in (before, after)]
    return (
        _SAME_KIND
        + _SAME_CODEC * (before.codec == after.codec)
        + _SAME_LANGUAGE * (languages[0] == languages[1] != "und")
        + _SAME_CONTENT * _shared_content(before, after)
    )


def _shared_content(before: StreamIndex, after: StreamIndex) -> float:
    """Share of the first packets that both have, 0 to 1."""
    openings = [next(stream.packets.chunks(), None) for stream in (before, after)]
    if openings[0] is None or openings[1] is None:
        return 0.0
    left, right = (np.unique(opening["digest"]) for opening in openings if opening is not None)
    return len(np.intersect1d(left, right, assume_unique=True)) / min(len(left), len(right))
