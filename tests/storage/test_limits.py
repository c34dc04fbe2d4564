"""What untrusted files may not do: name other files and addresses, or ask for more than the limits."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from storage import limits
from storage.errors import SourceError
from storage.probe import open_container, probe_video
from storage.reader import ReadingLosses, read_frames
from storage.store import Store
from tests.media import Clip, make_video, whole


@pytest.fixture
def address() -> Iterator[tuple[str, socket.socket]]:
    """A listening socket, and the URL of a file that it would be asked for."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield f"http://127.0.0.1:{server.getsockname()[1]}/a.ts", server


def playlists(target: str) -> dict[str, str]:
    """Texts that FFmpeg, left to itself, takes for a video whose content is `target`."""
    return {
        "an HLS playlist": f"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n{target}\n#EXT-X-ENDLIST\n",
        "a list for FFmpeg's concat": f"ffconcat version 1.0\nfile {target}\n",
    }


@pytest.mark.parametrize("kind", playlists(""))
@pytest.mark.parametrize("binary", [False, True], ids=["by path", "as from S3"])
def test_a_list_of_other_files_opens_none_of_them(kind: str, binary: bool, tmp_path: Path) -> None:
    make_video(tmp_path / "a.ts")
    listed = tmp_path / "list.m3u8"
    listed.write_text(playlists("a.ts")[kind])
    with av.open(str(listed)) as followed:
        assert followed.streams.video, "FFmpeg would follow it"
    source = io.BytesIO(listed.read_bytes()) if binary else str(listed)
    with pytest.raises(SourceError, match=f"x: is {kind}, not a video"), open_container(source, name="x"):
        pass


@pytest.mark.parametrize("binary", [False, True], ids=["by path", "as from S3"])
def test_no_address_in_a_file_is_ever_asked(binary: bool, address: tuple[str, socket.socket], tmp_path: Path) -> None:
    url, server = address
    listed = tmp_path / "list.m3u8"
    listed.write_text(playlists(url)["an HLS playlist"])
    source = io.BytesIO(listed.read_bytes()) if binary else str(listed)
    with pytest.raises(SourceError), open_container(source, name="x"):
        pass
    with pytest.raises(BlockingIOError):
        server.accept()


def test_more_streams_than_the_limit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as out:
        for _ in range(limits.MAX_STREAMS + 1):
            stream = out.add_stream("pcm_s16le", rate=8000)
        sound = av.Packet(bytes(16))
        sound.stream, sound.pts, sound.time_base = stream, 0, Fraction(1, 8000)
        out.mux_one(sound)
    with pytest.raises(SourceError, match=f"{limits.MAX_STREAMS + 1} streams"):
        probe_video(str(path), Store())


def test_a_frame_size_beyond_the_limit_is_refused_before_a_frame_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.y4m"
    path.write_bytes(b"YUV4MPEG2 W9000 H9000 F25:1 Ip C420jpeg\nFRAME\n" + bytes(1000))
    with pytest.raises(SourceError, match="frames of 9000x9000, more than the 67 million"):
        probe_video(str(path), Store())


def test_a_frame_that_grows_beyond_the_limit_midway_costs_itself_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = av.VideoFrame.from_ndarray(np.zeros((480, 640, 3), np.uint8), format="rgb24")
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 640, 480, "yuvj420p", Fraction(1, 25)
    content = b"".join(bytes(packet) for packet in [*encoder.encode(large), *encoder.encode(None)])
    source = make_video(tmp_path / "a.mkv", Clip(frames=10, codec="mjpeg", pix_fmt="yuvj420p"))
    path = tmp_path / "grown.mkv"
    with av.open(str(source)) as template, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(template.streams.video[0])
        for number, packet in enumerate(packet for packet in template.demux() if packet.size):
            copy = av.Packet(content) if number == 4 else packet
            copy.pts, copy.dts, copy.time_base, copy.is_keyframe = packet.pts, packet.dts, packet.time_base, True
            copy.stream = stream
            out.mux_one(copy)
    shard = whole(path)
    assert sum(1 for _ in read_frames(shard, Store())) == 10
    monkeypatch.setattr(limits, "MAX_PIXELS", 64 * 1024)
    losses = ReadingLosses()
    assert sum(1 for _ in read_frames(shard, Store(), losses=losses)) == 9
    assert losses.corrupt_packets == 1


def test_a_span_beyond_the_limit_is_refused_before_it_is_cut_into_shards(tmp_path: Path) -> None:
    path = make_video(
        tmp_path / "a.mkv", Clip(pts=(0, 1, 25 * (limits.MAX_SECONDS + 60)), codec="mjpeg", pix_fmt="yuvj420p")
    )
    with pytest.raises(SourceError, match=r"span 100 hours, more than the 100"):
        probe_video(str(path), Store())
