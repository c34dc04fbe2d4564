"""What untrusted files may not do: name other files and addresses, or ask for more than the limits."""

from __future__ import annotations

import io
import socket
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from storage import limits
from storage.assembly import assemble_video
from storage.containers import choose_container
from storage.errors import SourceError
from storage.opening import open_container
from storage.probe import probe_video
from storage.reader import ReadingLosses, read_frames
from storage.store import Store
from tests.media import Clip, decoded_by_pyav, encode_segments, make_video, shards_of, whole
from tests.zoo.specimen import remuxed


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


def test_a_large_frame_that_only_its_packet_tells_of_takes_no_memory(tmp_path: Path) -> None:
    """FFmpeg decodes the first frame of a PNG to learn its format, before anybody can ask for its size."""
    side = 9000
    path = tmp_path / "a.mov"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = side, side, "gray"
        out.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((side, side), np.uint8), format="gray")))
        out.mux(stream.encode(None))
    program = (
        "import resource\nfrom storage.errors import SourceError\nfrom storage.probe import probe_video\n"
        "from storage.store import Store\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"try:\n    probe_video({str(path)!r}, Store())\nexcept SourceError as error:\n    print(error)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    refusal, megabytes = told.stdout.splitlines()
    assert "67 million pixels" in refusal
    assert int(megabytes) < side**2 / 1e6 / 2


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


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", "h264"), ("libx265", "hevc")])
@pytest.mark.parametrize("ticks_a_second", ["1/5000000", "1/400"], ids=["months a frame", "minutes a frame"])
def test_a_rate_that_no_timestamp_bears_out_is_not_believed(
    ticks_a_second: str, codec: str, suffix: str, tmp_path: Path
) -> None:
    good = make_video(tmp_path / f"good.{suffix}", Clip(50, codec=codec, b_frames=2))
    rated = {"bsf:v": f"{'h264' if suffix == 'h264' else 'hevc'}_metadata=tick_rate={ticks_a_second}"}
    shards = [whole(path) for path in (good, remuxed(good, tmp_path / f"a.{suffix}", **rated))]
    before, after = ([frame.pts for frame in read_frames(shard, Store())] for shard in shards)
    assert after == before
    assert not shards[0].probe.timeline.remarks
    assert "frames a second, and it has no timestamps: 25 were taken" in shards[1].probe.timeline.remarks[0]


@pytest.mark.parametrize("suffix", ["flv", "ts"])
def test_a_rate_that_the_timestamps_contradict_is_not_believed(suffix: str, tmp_path: Path) -> None:
    """FFmpeg guesses the packets' durations by it, the last one's too."""
    good = make_video(tmp_path / f"good.{suffix}", Clip(50, b_frames=2))
    path = remuxed(good, tmp_path / f"a.{suffix}", **{"bsf:v": "h264_metadata=tick_rate=1/5000000"})
    shard = whole(path)
    assert shard.probe.seconds == pytest.approx(2)
    assert shard.probe.frame_ticks * shard.probe.time_base == Fraction(1, 25)
    assert [frame.pts for frame in read_frames(shard, Store())] == [pts for pts, _ in decoded_by_pyav(path)]
    segments = encode_segments(shards_of(path, Fraction(1, 2)), tmp_path / "segments")
    choice = choose_container(shard.probe, path.name, "h264")
    report = assemble_video(str(path), path.name, shard.probe, segments, tmp_path / "b", choice)
    assert (report.frames, report.frames_not_decoded) == (50, 0)


def test_a_span_beyond_the_limit_is_refused_before_it_is_cut_into_shards(tmp_path: Path) -> None:
    path = make_video(
        tmp_path / "a.mkv", Clip(pts=(0, 1, 25 * (limits.MAX_SECONDS + 60)), codec="mjpeg", pix_fmt="yuvj420p")
    )
    with pytest.raises(SourceError, match=r"span 100 hours, more than the 100"):
        probe_video(str(path), Store())


class Counting(io.BytesIO):
    """Bytes that tell how many of them were read."""

    read_so_far = 0

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        self.read_so_far += len(content)
        return content


def test_what_is_in_a_file_is_learnt_from_its_first_megabytes(tmp_path: Path) -> None:
    """A transport stream never says that it has told of all its streams: left alone, one could look on to its end."""
    nothing = b"\x47\x1f\xff\x10" + b"\xff" * 184
    content = make_video(tmp_path / "a.ts").read_bytes() + nothing * (80_000_000 // len(nothing))
    source = Counting(content)
    with open_container(source, name="x") as container:
        assert len(container.streams.video) == 1
    assert 0 < source.read_so_far < 40_000_000  # the beginning, and for the duration some of the end
