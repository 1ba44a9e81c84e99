"""Videos whose frames encode their number as brightness."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from fervid.media.decoding import Frame


def write_video(
    path: Path,
    codec: str = "libx264",
    frames: int = 40,
    size: tuple[int, int] = (96, 64),
    aspect: Fraction | None = None,
    **options: Any,
) -> Path:
    """A video at 25 frames per second whose frame number n is gray 5 n, with a white upper left corner."""
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=Fraction(25), options={key: str(v) for key, v in options.items()})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        if codec.startswith("mpeg"):
            stream.bit_rate = 2_000_000
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        for number in range(frames):
            picture = np.full((size[1], size[0], 3), 5 * number, np.uint8)
            picture[:16, :16] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def grays(frames: Iterable[Frame]) -> list[int]:
    """Brightness of each frame away from its white corner."""
    return [round(float(frame.image[32:, 32:].mean())) for frame in frames]
