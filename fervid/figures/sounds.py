"""Figures of sounds: spectrograms."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps

from fervid.figures.drawing import MAX_CLASSES, Figure, not_shown, shortened

WINDOW_SECONDS, HOP_SECONDS = 0.025, 0.01  # usual for speech: fine enough for syllables and for formants
RANGE_DB = 70  # shown below the loudest value of each clip
MAX_SHOWN_SECONDS = 10.0


def spectrograms(
    sounds: Sequence[np.ndarray], rate: int, emotions: Sequence[str], titles: Sequence[str], left_out: int = 0
) -> Figure:
    """Draws spectrograms of clips of a corpus, one row per emotion, on one scale of time.

    Args:
        sounds: float (N,) each, mono, -1 to 1. The first 10 s are shown.
        rate: samples per second.
        emotions: label of each sound; the first :data:`MAX_CLASSES` emotions are shown.
        titles: title of each sound.
        left_out: number of further emotions without sounds here.
    """
    every = sorted(set(emotions))
    names = every[:MAX_CLASSES]
    left_out += len(every) - len(names)
    rows = {name: [number for number, emotion in enumerate(emotions) if emotion == name] for name in names}
    columns = max(map(len, rows.values()))
    shown = [sound[: int(MAX_SHOWN_SECONDS * rate)] for sound in sounds]
    end = max(len(sound) for sound in shown) / rate
    figure = Figure(figsize=(4.6 * columns + 0.6, 1.55 * len(names) + 0.5), layout="constrained")
    grid = figure.subplots(len(names), columns, squeeze=False, sharex=True, sharey=True)
    for line, (name, numbers) in zip(grid, rows.items(), strict=True):
        line[0].set_ylabel(f"{shortened(name, 18)}\nkHz")
        for axes, number in zip(line, numbers, strict=False):
            levels = spectrogram(shown[number], rate)
            extent = (0, len(shown[number]) / rate, 0, rate / 2000)
            axes.imshow(levels, origin="lower", aspect="auto", extent=extent, vmin=-RANGE_DB, vmax=0, cmap="magma")
            axes.set_title(shortened(titles[number]), fontsize=8)
        for axes in line[len(numbers) :]:
            axes.axis("off")
    for axes in grid[-1]:
        axes.set_xlim(0, end)
        axes.set_xlabel("seconds")
    if left_out:
        figure.supxlabel(not_shown(left_out))
    return figure


def spectrogram_picture(sound: np.ndarray, rate: int, size: int = 160) -> np.ndarray:
    """Draws the spectrogram of a sound as a picture, uint8 (size, size, 3) RGB; see :func:`spectrogram`."""
    levels = spectrogram(sound[: int(MAX_SHOWN_SECONDS * rate)], rate)[::-1]
    rows, columns = (np.linspace(0, length - 1, size).round().astype(int) for length in levels.shape)
    scaled = np.clip(levels[np.ix_(rows, columns)] / RANGE_DB + 1, 0, 1)
    return (255 * colormaps["magma"](scaled)[..., :3]).astype(np.uint8)


def spectrogram(sound: np.ndarray, rate: int) -> np.ndarray:
    """Computes the levels of a sound in dB below its loudest value, (frequencies, times), from 0 to half the rate.

    Args:
        sound: float (N,), mono; shorter sounds than one window are extended with zeros.
        rate: samples per second.
    """
    window, hop = round(WINDOW_SECONDS * rate), round(HOP_SECONDS * rate)
    sound = np.pad(sound, (0, max(0, window - len(sound))))
    frames = np.lib.stride_tricks.sliding_window_view(sound, window)[::hop] * np.hanning(window)
    power = np.abs(np.fft.rfft(frames, axis=1)).T ** 2
    return 10 * np.log10(np.maximum(power / max(power.max(), 1e-20), 1e-10))
