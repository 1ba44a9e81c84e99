"""Writes sound files and videos with a sound track, shared by several tests."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}


def tone(seconds=1.0, rate=16_000, frequency=440.0, level=0.5, channels=1):
    """Returns a sine, float32 (channels, N)."""
    wave = level * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)
    return np.tile(wave.astype(np.float32), (channels, 1))


def write_sound(path, samples, rate=16_000, codec="pcm_s16le", pictures=False, container_format=None, gap=0.0):
    """Writes samples, float (channels, N), in the container that the suffix names.

    ``pictures`` adds a video track; ``gap`` is the number of seconds by which the time stamps jump in the middle.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format=container_format) as container:
        video = add_video(container) if pictures else None  # all streams are added before anything is written
        stream = add_sound(container, samples, rate, codec)
        packets = encode_sound(stream, samples, rate)
        for packet in packets[len(packets) // 2 :] if gap else []:
            packet.pts = packet.dts = packet.pts + round(gap / packet.time_base)
        for packet in packets:
            container.mux(packet)
        if video:
            write_pictures(container, video, samples.shape[1] / rate)
    return path


def add_sound(container, samples, rate, codec):
    """Adds a sound track for samples, float (channels, N), to a container."""
    return container.add_stream(codec, rate=rate, layout=LAYOUTS[len(samples)])


def encode_sound(stream, samples, rate):
    """Returns the packets of samples, float (channels, N) from -1 to 1."""
    layout = LAYOUTS[len(samples)]
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples, np.float32), format="fltp", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
    resampler = av.AudioResampler(
        format=stream.codec_context.format,
        layout=layout,
        rate=rate,
        frame_size=stream.codec_context.frame_size or 1024,  # PCM has no frames of its own
    )
    parts = [*resampler.resample(frame), *resampler.resample(None)]
    return [packet for part in [*parts, None] for packet in stream.encode(part)]


def add_video(container):
    stream = container.add_stream("mpeg4", rate=25)
    stream.width = stream.height = 64
    return stream


def write_pictures(container, stream, seconds):
    for _ in range(round(25 * seconds)):
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
    container.mux(stream.encode(None))


def write_silent_video(path, seconds=1.0):
    """Writes a video without a sound track."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        write_pictures(container, add_video(container), seconds)
    return path
