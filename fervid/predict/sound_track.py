"""The sound of a recording, decoded as far as it is needed, and forgotten afterwards."""

from collections import deque

import numpy as np

from fervid.errors import first_line
from fervid.media.clip_sounds import unusable
from fervid.media.decoding import NoStream
from fervid.media.sound import RATE, Sound, SoundPiece, SoundStream, as_integers
from fervid.media.sources import Source
from fervid.predict.pipeline import READING_ERRORS


class SoundTrack:
    """The sound of a recording, at the times at which it is played.

    Errors of the file end the sound; they are kept in :attr:`failure`, so that what precedes them can be used.

    Args:
        source: the sound file or video.
        min_samples: smallest number of samples of a part that can be used.

    Attributes:
        begin: time of the first sample in seconds, as the container counts; None if there is no sound.
        is_absent: whether the file has no sound track, as opposed to a damaged one.
        failure: why the sound has ended before its end; None if it has not.
        unusable: why a part of the sound could not be used; None if all could.
    """

    def __init__(self, source: Source, min_samples: int):
        self._stream = SoundStream(source, RATE)
        self._coming = iter(self._stream)
        self._pieces: deque[SoundPiece] = deque()
        self._min_samples = min_samples
        self._last = 0  # number of the sample after the last decoded one
        self._origin = 0  # number of the sample at which the recording begins
        self._has_ended = False
        self.is_absent = False
        self.failure: str | None = None
        self.unusable: str | None = None
        self._next()
        self.begin = self._pieces[0].start / RATE if self._pieces else None

    def start_at(self, origin: float) -> None:
        """Sets the time of the container at which the recording begins, from which all other times are counted."""
        self._origin = round(origin * RATE)

    @property
    def end(self) -> float | None:
        """Seconds until the end of the sound; None if it is not decoded to its end."""
        return (self._last - self._origin) / RATE if self._has_ended else None

    def read_to(self, time: float) -> None:
        """Decodes the sound beyond a time, or to its end."""
        while not self._has_ended and (self._last - self._origin) / RATE <= time:
            self._next()

    def between(self, start: float, end: float) -> np.ndarray | None:
        """Returns the sound of a part that has been decoded, int16 (N,), rounded as in prepared corpora.

        Gaps in it are closed, as in training.

        Returns:
            None if the part has no sound, or :attr:`unusable` sound.
        """
        first, last = round(start * RATE) + self._origin, round(end * RATE) + self._origin
        parts = [
            piece.samples[max(0, first - piece.start) : max(0, last - piece.start)]
            for piece in self._pieces
            if piece.start < last
        ]
        samples = np.concatenate([np.empty(0, np.float32), *parts])
        if not len(samples):
            return None
        stream = self._stream
        reason = unusable(Sound(samples, RATE, stream.channels, stream.source_rate, stream.peak, stream.clipped))
        if reason is None and len(samples) < self._min_samples:
            reason = f"only {len(samples) / RATE:.4f} s of sound"
        self.unusable = self.unusable or reason
        return None if reason else as_integers(samples)

    def forget(self, before: float) -> None:
        """Drops the samples before a time."""
        first = round(before * RATE) + self._origin
        while self._pieces and self._pieces[0].start + len(self._pieces[0].samples) <= first:
            self._pieces.popleft()

    def _next(self) -> None:
        try:
            piece = next(self._coming)
            self._pieces.append(piece)
            self._last = piece.start + len(piece.samples)
        except StopIteration:
            self._has_ended = True
        except READING_ERRORS as error:
            self._has_ended, self.is_absent = True, isinstance(error, NoStream)
            self.failure = getattr(error, "strerror", None) or first_line(error)
