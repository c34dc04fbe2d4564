"""What a camera, a screen share and a recorder do to a face before any codec: blur, resizing, noise, JPEG.

The order (blur, resize, noise, JPEG, codec, second resize) follows Zhang et al., BSRGAN (2021) and Wang et
al., Real-ESRGAN (2021), with a real video codec in the place of their last JPEG. Everything works at the low
resolution: sigmas are in low-resolution pixels and 8-bit grey levels, the units that a person sees in the
footage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from flows.training.codec import CodecName

Range = tuple[float, float]

_KERNELS = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)


@dataclass(frozen=True)
class DegradationRanges:
    """From where the degradations of one expert's training faces are drawn, uniformly within each range.

    Attributes:
        clean_share: share of faces that are reduced by area and nothing else.
        blur_share, blur_sigma: how often a face is blurred, and by what standard deviation in px.
        resize_share, resize_factor: how often it is stored at another size in between, and at which factor.
        noise_share, noise_sigma: how often it is noisy, standard deviation in grey levels.
        jpeg_share, jpeg_quality: how often it went through a JPEG, quality 0-100.
        codec_share, crf: how often a canvas goes through a video codec, and its constant rate factor.
    """

    clean_share: float
    blur_share: float
    blur_sigma: Range
    resize_share: float
    resize_factor: Range
    noise_share: float
    noise_sigma: Range
    jpeg_share: float
    jpeg_quality: Range
    codec_share: float
    crf: Range


BLURRED_FACES = DegradationRanges(
    clean_share=0.25,
    blur_share=0.85,
    blur_sigma=(0.3, 2.4),
    resize_share=0.25,
    resize_factor=(0.6, 1.3),
    noise_share=0.85,
    noise_sigma=(0.5, 10.0),
    jpeg_share=0.2,
    jpeg_quality=(40, 95),
    codec_share=0.9,
    crf=(22, 38),
)
"""Expert-T's range. Both reference conditions lie inside: medium (1.0, 4, CRF 28), hard (2.0, 8, CRF 35)."""

SHARPER_FACES = DegradationRanges(
    clean_share=0.3,
    blur_share=0.8,
    blur_sigma=(0.2, 2.2),
    resize_share=0.25,
    resize_factor=(0.7, 1.3),
    noise_share=0.8,
    noise_sigma=(0.5, 9.0),
    jpeg_share=0.2,
    jpeg_quality=(50, 95),
    codec_share=0.9,
    crf=(18, 37),
)
"""Expert-F's range: milder, since what the router sends it has passed a sharpness test; but noise passes that, too."""


@dataclass(frozen=True)
class Degradation:
    """One drawn degradation, up to the codec.

    Attributes:
        blur_kernel: (K, K) float32 summing to 1, or None.
        resize_factor: size in between relative to the low resolution; 1 is none.
        resize_kernels: OpenCV interpolation there and back.
        noise_sigma: standard deviation in grey levels at mid grey, 0 is none.
        noise_shot: share of the noise's variance that grows with brightness (photons), 0 to 1.
        noise_grey: whether the three channels share one noise field.
        jpeg_quality: 0-100, or None.
        coded: whether a codec may follow.
    """

    blur_kernel: NDArray[np.float32] | None = None
    resize_factor: float = 1.0
    resize_kernels: tuple[int, int] = (cv2.INTER_AREA, cv2.INTER_CUBIC)
    noise_sigma: float = 0.0
    noise_shot: float = 0.0
    noise_grey: bool = False
    jpeg_quality: int | None = None
    coded: bool = False


def draw_degradation(ranges: DegradationRanges, rng: np.random.Generator) -> Degradation:
    """Draw what happens to one face."""
    if rng.random() < ranges.clean_share:
        return Degradation()
    kernels = rng.choice(len(_KERNELS), size=2)
    return Degradation(
        blur_kernel=draw_blur(ranges.blur_sigma, rng) if rng.random() < ranges.blur_share else None,
        resize_factor=float(rng.uniform(*ranges.resize_factor)) if rng.random() < ranges.resize_share else 1.0,
        resize_kernels=(_KERNELS[kernels[0]], _KERNELS[kernels[1]]),
        noise_sigma=float(rng.uniform(*ranges.noise_sigma)) if rng.random() < ranges.noise_share else 0.0,
        noise_shot=float(rng.choice((0.0, rng.random()))),
        noise_grey=bool(rng.random() < 0.3),
        jpeg_quality=int(rng.uniform(*ranges.jpeg_quality)) if rng.random() < ranges.jpeg_share else None,
        coded=True,
    )


def draw_blur(sigma: Range, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw an isotropic (60 %), anisotropic (25 %) or motion (15 %) blur of a strength within ``sigma``."""
    strength = float(rng.uniform(*sigma))
    angle = float(rng.uniform(0, np.pi))
    kind: Literal["isotropic", "anisotropic", "motion"] = rng.choice(
        np.array(["isotropic", "anisotropic", "motion"]), p=(0.6, 0.25, 0.15)
    )
    if kind == "motion":
        # A box of length L has standard deviation L / sqrt(12).
        return motion_kernel(strength * 12**0.5, angle)
    ratio = 1.0 if kind == "isotropic" else float(rng.uniform(0.3, 0.8))
    return gaussian_kernel(strength, strength * ratio, angle)


def gaussian_kernel(sigma_along: float, sigma_across: float, angle: float) -> NDArray[np.float32]:
    """A Gaussian with an axis at ``angle`` radians, sigmas in px, cut at three sigmas; (K, K), sum 1."""
    reach = max(1, int(np.ceil(3 * max(sigma_along, sigma_across))))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float64)
    along = (x * np.cos(angle) + y * np.sin(angle)) / max(sigma_along, 1e-3)
    across = (y * np.cos(angle) - x * np.sin(angle)) / max(sigma_across, 1e-3)
    kernel = np.exp(-(along**2 + across**2) / 2)
    return (kernel / kernel.sum()).astype(np.float32)


def motion_kernel(length: float, angle: float) -> NDArray[np.float32]:
    """A straight streak of ``length`` px at ``angle`` radians, centred; (K, K), sum 1."""
    reach = max(1, int(np.ceil(length / 2)) + 1)
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float64)
    for step in np.linspace(-length / 2, length / 2, 8 * reach + 1):
        x, y = reach + step * np.cos(angle), reach + step * np.sin(angle)
        left, top = int(np.floor(x)), int(np.floor(y))
        for row, row_share in ((top, top + 1 - y), (top + 1, y - top)):
            for column, column_share in ((left, left + 1 - x), (left + 1, x - left)):
                kernel[row, column] += row_share * column_share
    return (kernel / kernel.sum()).astype(np.float32)


def soften(face_rgb: NDArray[np.uint8], degradation: Degradation) -> NDArray[np.uint8]:
    """Blur, then store at another size: what is the same in every frame of a shot.

    Args:
        face_rgb: (H, W, 3) uint8 at the low resolution.
        degradation: what was drawn.

    Returns:
        (H, W, 3) uint8. The second resize, back to the low resolution, is :func:`unresize`, after the codec.
    """
    if degradation.blur_kernel is not None:
        blurred = cv2.filter2D(face_rgb, -1, degradation.blur_kernel, borderType=cv2.BORDER_REFLECT_101)
        face_rgb = np.asarray(blurred, np.uint8)
    if degradation.resize_factor != 1.0:
        height, width = face_rgb.shape[:2]
        size = (round(width * degradation.resize_factor), round(height * degradation.resize_factor))
        face_rgb = np.asarray(cv2.resize(face_rgb, size, interpolation=degradation.resize_kernels[0]), np.uint8)
    return face_rgb


def unresize(face_rgb: NDArray[np.uint8], degradation: Degradation, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The second resize: back to ``size`` = (height, width)."""
    if face_rgb.shape[:2] == size:
        return face_rgb
    return np.asarray(cv2.resize(face_rgb, size[::-1], interpolation=degradation.resize_kernels[1]), np.uint8)


def corrupt(face_rgb: NDArray[np.uint8], degradation: Degradation, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Sensor noise, then JPEG: what differs from frame to frame; (H, W, 3) uint8 -> the same."""
    if degradation.noise_sigma > 0:
        face_rgb = add_noise(face_rgb, degradation, rng)
    if degradation.jpeg_quality is not None:
        face_rgb = jpeg(face_rgb, degradation.jpeg_quality)
    return face_rgb


def add_noise(face_rgb: NDArray[np.uint8], degradation: Degradation, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Add Gaussian noise, a share of whose variance grows with brightness as photon noise does."""
    height, width, _ = face_rgb.shape
    field = rng.standard_normal((height, width, 1 if degradation.noise_grey else 3), dtype=np.float32)
    image = face_rgb.astype(np.float32)
    if degradation.noise_shot > 0:
        field = field * np.sqrt(1 - degradation.noise_shot + degradation.noise_shot * image / 127.5)
    return np.clip(np.rint(image + degradation.noise_sigma * field), 0, 255).astype(np.uint8)


def jpeg(face_rgb: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Encode as JPEG (4:2:0) at a quality of 0-100 and decode again."""
    _, encoded = cv2.imencode(".jpg", face_rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded_bgr = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(decoded_bgr[..., ::-1])


@dataclass(frozen=True)
class Condition:
    """A fixed degradation to measure under: after reduction by area, blur, then noise, then H.264.

    Attributes:
        name: what tables call it.
        blur_sigma: px of the low resolution.
        noise_sigma: grey levels.
        crf: of H.264 by x264.
    """

    name: str
    blur_sigma: float
    noise_sigma: float
    crf: float
    codec: CodecName = "h264"


CLEAN = Condition("clean", 0.0, 0.0, 0.0)
MEDIUM = Condition("medium", 1.0, 4.0, 28.0)
HARD = Condition("hard", 2.0, 8.0, 35.0)
