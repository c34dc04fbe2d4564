"""The baseline: a source frame at the result's size. Every pixel that no face was blended into is this, exactly."""

from __future__ import annotations

from fractions import Fraction

from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange

from actors.colour import SCALER, matrix_of
from storage.encoding import OutputPicture
from storage.probe import VideoProbe


def upscale(frame: VideoFrame, probe: VideoProbe, picture: OutputPicture) -> VideoFrame:
    """A new frame of the result's size and pixel format, bicubic in the source's own planes.

    Matrix and range stay the source's, and chroma keeps its depth. At scale 1 in the same format it is a copy.
    """
    scaled = frame.reformat(
        width=picture.width,
        height=picture.height,
        format=picture.pix_fmt,
        src_colorspace=matrix_of(probe),
        dst_colorspace=matrix_of(probe),
        src_color_range=ColorRange(probe.color_range),
        dst_color_range=ColorRange(probe.color_range),
        interpolation=SCALER,
    )
    if scaled is frame:  # at scale 1 there is nothing to do for the scaler, and it hands back what it was given
        scaled = _twin(frame)
    scaled.make_writable()
    scaled.pts, scaled.time_base, scaled.duration = frame.pts, probe.time_base, frame.duration
    return scaled


def _twin(frame: VideoFrame) -> VideoFrame:
    """Another frame of the same samples, properties and side data; they share memory until either is made writable."""
    graph = Graph()
    entrance = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1)
    )
    exit_ = graph.add("buffersink")
    entrance.link_to(exit_)
    graph.configure()
    entrance.push(frame)
    twin = exit_.pull()
    assert isinstance(twin, VideoFrame)
    return twin
