"""Decodes the sound of one clip and measures its levels. Runs in worker processes, so it imports little."""

from dataclasses import dataclass, field
from typing import Any

from fervid.errors import first_line
from fervid.media.sound import MAX_SECONDS, RATE, Sound, encode_wav, read_sound
from fervid.media.sources import Source, is_temporary

SILENT_DB = -60.0  # peak level below which a clip has no usable sound
MIN_SECONDS = 0.025  # one analysis window of a spectrogram


@dataclass(frozen=True)
class SoundTask:
    """One clip to decode the sound of.

    Attributes:
        row: row in the corpus's table of clips.
        source: the sound file or video.
    """

    row: int
    source: Source


@dataclass
class ClipSound:
    """Result of a task.

    Attributes:
        row: row in the corpus's table of clips.
        wav: a mono WAV file of 16 bits; empty if there is no usable sound.
        facts: ``seconds, peak_db, rms_db, clipped, channels, source_rate`` (see :mod:`fervid.schema.columns`).
        failure: why the clip has no usable sound; None if it has.
        temporary: whether the machine rather than the file caused the failure, so that a retry may succeed.
    """

    row: int
    wav: bytes = b""
    facts: dict[str, Any] = field(default_factory=dict)
    failure: str | None = None
    temporary: bool = False


def decode_sound(task: SoundTask) -> ClipSound:
    """Decodes the sound of one clip; errors of the file are returned in ``failure``."""
    try:
        sound = read_sound(task.source, RATE, MAX_SECONDS)
    except ValueError as error:
        return ClipSound(task.row, failure=first_line(error))
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        return ClipSound(task.row, failure=reason, temporary=is_temporary(error))
    if failure := unusable(sound):
        return ClipSound(task.row, failure=failure)
    facts = {
        "seconds": round(sound.seconds, 4),
        "peak_db": round(sound.peak_db, 2) + 0.0,  # 0 rather than -0
        "rms_db": round(sound.rms_db, 2) + 0.0,
        "clipped": round(sound.clipped, 6),
        "channels": sound.channels,
        "source_rate": sound.source_rate,
    }
    return ClipSound(task.row, encode_wav(sound.samples, sound.rate), facts)


def unusable(sound: Sound) -> str | None:
    """Returns why a sound cannot be used, because it is too short or silent; None if it can."""
    if sound.seconds < MIN_SECONDS:
        return f"only {sound.seconds:.4f} s of sound"
    if sound.peak_db >= SILENT_DB:
        return None
    if sound.channels > 1 and abs(sound.samples).max() < sound.peak / 10:
        return f"silent as the mean of its {sound.channels} channels, which cancel each other: keep one channel"
    return f"silent (peak {sound.peak_db:.0f} dB)"
