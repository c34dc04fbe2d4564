"""What a worker is at, a line in its own log for each shard: `worker-*.err` in the folder of Ray's session.

    facemill 2025-11-25T20:30:12.123456+00:00 FaceDetector begins begin_12800 of "deep/talk.mp4"

The last line of a worker that died is what it died of. A shard that a stage begins twice is done twice.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal

from storage.catalogue import Source
from storage.shards import PtsRange

Event = Literal["begins", "commits"]


def tell(stage: str, event: Event, source: Source, part: PtsRange) -> None:
    """Write a line, at once: a killed process writes nothing more.

    Args:
        stage: class or task that works.
        part: of the source, ticks of its time base.
    """
    video = json.dumps(source.relative_path)  # whatever is in a name, it stays on its line
    with suppress(OSError):  # a full disk under the logs is no reason to lose a shard
        print(
            f"facemill {datetime.now(UTC).isoformat()} {stage} {event} {part} of {video}", file=sys.stderr, flush=True
        )
