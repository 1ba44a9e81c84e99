"""Shared by the writers: recording of videos and sound, JPEG pictures and the mark of a rendered corpus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray
from sound_files import add_sound, encode_sound

from fervid.errors import InputError
from fervid.media.files import RENDERED
from fervid.synthetic.rendering import Identity, RenderedClip, render_clip
from fervid.synthetic.voice import speak

ACTED_AS = {
    "anger": "angry",
    "content": "calm",
    "fearful": "fear",
    "happiness": "happy",
    "sadness": "sad",
    "surprised": "surprise",
}
"""The renderer's names of emotions that a corpus names differently."""

MPEG4_QUALITY = {"flags": "+qscale", "global_quality": str(4 * 118)}  # quality 4, from 1 (best) to 31, in units of 118


SOUND_RATE = 48_000  # samples per second of RAVDESS and eNTERFACE'05


@dataclass(frozen=True)
class Camera:
    """Format of all videos of one corpus; sizes in pixels."""

    width: int
    height: int
    fps: Fraction
    codec: str
    options: dict[str, str]

    def film(
        self, path: Path, who: Identity, emotion: str, take: int, intensity: str, frames: int, seed: int
    ) -> RenderedClip:
        """Render a clip, write it as a video, and return it uncompressed."""
        clip = render_clip(
            who,
            ACTED_AS.get(emotion, emotion),
            take=take,
            intensity=intensity,
            frames=frames,
            width=self.width,
            height=self.height,
            face_height=0.42 * self.height,
            fps=float(self.fps),
            seed=seed,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(path, "w") as container:
            stream = cast(VideoStream, container.add_stream(self.codec, rate=self.fps, options=self.options))
            stream.width, stream.height, stream.pix_fmt = self.width, self.height, "yuv420p"
            stream.thread_count = 1  # the bytes depend on the number of threads
            for image in clip.images:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
        return clip

    def record_sound(
        self, who: Identity, emotion: str, take: int, intensity: str, frames: int, seed: int
    ) -> NDArray[np.float32]:
        """Synthesise the sound of the clip that `film` renders from the same arguments, float32 (N,), 48 kHz."""
        return speak(
            who,
            ACTED_AS.get(emotion, emotion),
            take=take,
            intensity=intensity,
            frames=frames,
            fps=float(self.fps),
            seed=seed,
            rate=SOUND_RATE,
        )


def write_with_sound(silent: Path, path: Path, samples: NDArray[np.float32], codec: str) -> None:
    """Copy a video without decoding it and add a sound track from samples, (channels, N) at 48 kHz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(silent) as source, av.open(path, "w") as container:
        pictures = source.streams.video[0]
        video = container.add_stream_from_template(pictures)
        sound = add_sound(container, samples, SOUND_RATE, codec)
        for packet in source.demux(pictures):
            if packet.dts is not None:  # the last packet is empty
                packet.stream = video
                container.mux(packet)
        for packet in encode_sound(sound, samples, SOUND_RATE):
            container.mux(packet)


def mark(folder: str | Path) -> None:
    (Path(folder) / RENDERED).write_text("These people do not exist: they were rendered by fervid.\n", encoding="utf-8")


def check_emotions(emotions: Sequence[str], known: Sequence[str] | dict[str, str]) -> None:
    for emotion in emotions:
        if emotion not in known:
            raise InputError(f"there is no emotion {emotion!r} in this corpus: choose from {', '.join(known)}.")


def jpeg(image: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
