"""Synthesises the voices of the rendered subjects, so that everything about sound runs without data.

A subject (:class:`fervid.synthetic.identity.Identity`) speaks one of two sentences of vowels and consonants. Pulses of
the vocal folds and breath noise pass through four moving resonances (formants) of the vocal tract, as in formant
synthesis (Klatt 1980). The loudness follows the mouth of the rendered face, so that lips and sound match.

The emotions change the voice by rules that follow qualitative findings for acted speech (Banse & Scherer 1996; Juslin
& Laukka 2003): anger is loud, fast, bright and has steep onsets; happiness is high, wide in range and rather loud;
fear is high, fast, narrow and irregular; sadness is low, slow, quiet, dull and falling; disgust is low and slow. Calm
is spoken like tenderness in these studies: low, slow and soft. The creaky disgust and the rising surprise are our own
assumptions, and so are all numbers: they are not estimated from recordings.

As in recorded corpora, the subject confounds the emotion: subjects differ in their resting voices, in how strongly and
in which way they express an emotion, and the clips of one subject and emotion share the recording level and the
background noise. A model therefore scores higher on subjects from its training data than on new subjects.

>>> from fervid.synthetic.identity import make_identity
>>> speak(make_identity(1, seed=0), "happy", take=1, frames=60, seed=0).shape
(32000,)
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fervid.errors import InputError
from fervid.synthetic.curves import Array
from fervid.synthetic.expressions import EMOTIONS, EXPRESSIONS
from fervid.synthetic.identity import Identity
from fervid.synthetic.performance import UNITS, Performance

VOICE = 0x766F6963  # distinguishes the random numbers of voices from those of faces
MIN_RATE, MAX_RATE = 8_000, 192_000  # samples per second; a lower rate cannot represent the fourth formant
STEP = 0.005  # seconds between the points of all curves
HOP = 0.01  # seconds; sound is filtered in windows of two hops
MIN_SYLLABLE = 0.06  # seconds; a shorter half of an opening is not spoken as a syllable of its own
MIN_OPENING = 0.15  # openings of the mouth below this fraction are no syllables
FADE = 0.04  # seconds at both ends of a clip
MAX_PEAK = 0.9  # of full scale

# Formants in Hz of vowels of men (Peterson & Barney 1952); the fourth is about 3500 Hz for all.
VOWELS = {
    "ee": (270, 2290, 3010, 3500),
    "i": (390, 1990, 2550, 3500),
    "e": (530, 1840, 2480, 3500),
    "a": (730, 1090, 2440, 3500),
    "o": (570, 840, 2410, 3500),
    "oo": (300, 870, 2240, 3400),
    "u": (640, 1190, 2390, 3500),
    "er": (490, 1350, 1690, 3300),
}
NEUTRAL_VOWEL = (500.0, 1500.0, 2500.0, 3500.0)  # of a uniform tube of 17.5 cm
BANDWIDTHS = (70.0, 90.0, 130.0, 220.0, 300.0)  # of the formants in Hz
FIFTH = 4500.0  # fifth formant in Hz, the same for all vowels
# The first two formants in Hz, amplitudes of the voice and of the hiss relative to a vowel, and half the duration of
# the hiss in seconds.
CONSONANTS = {
    "m": (280.0, 1000.0, 0.45, 0.0, 0.03),
    "l": (350.0, 1200.0, 0.55, 0.0, 0.03),
    "d": (220.0, 1750.0, 0.03, 0.3, 0.010),
    "k": (220.0, 2100.0, 0.0, 0.4, 0.016),
    "s": (300.0, 1700.0, 0.0, 0.5, 0.035),
}
HELD = "-"  # in place of a consonant: the vowel before is held
SENTENCES = (
    (("k", "i"), ("d", "a"), ("l", "o"), ("m", "ee"), ("s", "e"), ("d", "u"), ("l", "er"), ("m", "oo")),
    (("d", "o"), ("s", "i"), ("m", "a"), ("k", "ee"), ("l", "u"), ("d", "e"), ("m", "o"), ("s", "er")),
)

CUES = {
    "pitch": 1.8,  # semitones
    "range": 0.3,  # octaves: 1 doubles the rises and falls
    "slope": 1.3,  # semitones from the beginning to the end
    "rate": 0.15,  # octaves: 1 doubles the number of syllables
    "level": 2.2,  # dB
    "brightness": 0.9,  # dB per octave
    "onset": 0.4,  # octaves: 1 halves the rise time of a syllable
    "breath": 3.0,  # dB
    "jitter": 0.45,  # octaves: 1 doubles the irregularity
    "creak": 0.08,  # 0 to 1
}
"""Properties of a voice, with the standard deviation of a subject's habits in expressing one emotion."""

MANNERS: dict[str, dict[str, float]] = {
    "neutral": {},
    "calm": {"pitch": -1, "range": -0.5, "rate": -0.3, "level": -5, "brightness": -2.2, "onset": -0.6, "breath": 2.5},
    "happy": {"pitch": 4.5, "range": 1.1, "slope": 0.6, "rate": 0.25, "level": 5, "brightness": 1.4, "onset": 0.5},
    "sad": {
        "pitch": -1.5,
        "range": -1.0,
        "slope": -3.0,
        "rate": -0.6,
        "level": -7,
        "brightness": -2.4,
        "onset": -1.0,
        "breath": 3.5,
        "jitter": 0.5,
    },
    "angry": {"pitch": 3.2, "range": 0.7, "rate": 0.5, "level": 11, "brightness": 3.6, "onset": 1.4, "breath": -5},
    "fear": {"pitch": 6.5, "range": -0.5, "rate": 0.6, "level": 1, "brightness": -0.5, "breath": 3.5, "jitter": 2.0},
    "disgust": {"pitch": -3, "slope": -1.8, "rate": -0.5, "level": -0.6, "brightness": 0.5, "creak": 0.9},
    "surprise": {
        "pitch": 6,
        "range": 1.2,
        "slope": 12,
        "level": 3,
        "brightness": 1.2,
        "onset": 0.5,
        "breath": 3.5,
    },
}
"""Deviation of the properties of a voice from the subject's neutral speech at normal intensity."""

STRENGTH = {"normal": 1.0, "strong": 1.35}  # factors of the deviations by intensity


@dataclass(frozen=True)
class Voice:
    """The voice of a subject: all properties that are constant across clips.

    Attributes:
        pitch: mean pitch of neutral speech in Hz.
        tract: factor of all formants, near 1; shorter vocal tracts have higher formants.
        resting: properties of the neutral voice as deviations from an average voice, in the order of `CUES`.
        expressiveness: factor of the deviation by an emotion, in the same order.
    """

    pitch: float
    tract: float
    resting: tuple[float, ...]
    expressiveness: tuple[float, ...]


def make_voice(identity: Identity, seed: int) -> Voice:
    """Generates the voice of a subject from its sex, age, face and number; always the same for the same arguments.

    Args:
        identity: the subject.
        seed: random seed of the set of subjects.
    """
    rng = np.random.default_rng([seed, identity.number, VOICE])
    male = identity.sex == "male"
    # Within a sex, pitch and formants vary independently; a longer face has a longer vocal tract.
    pitch = (115.0 if male else 205.0) * 2 ** (rng.uniform(-3, 3) / 12)
    tract = (1.0 if male else 1.16) * rng.uniform(0.95, 1.05) / identity.face[3]
    spread = dict(zip(CUES, rng.uniform(-1, 1, len(CUES)), strict=True))
    resting = {
        "range": 0.3 * spread["range"],
        "slope": 1.0 * spread["slope"],
        "rate": 0.2 * spread["rate"],
        "level": 3.5 * spread["level"],
        "brightness": 1.5 * spread["brightness"] - (0.0 if male else 0.5),
        "onset": 0.3 * spread["onset"],
        "breath": 4.0 * spread["breath"] + (0.0 if male else 2.0),
        "jitter": 0.3 * spread["jitter"] + 0.8 * identity.age,
        "creak": max(0.0, 0.1 * spread["creak"]),
    }
    # Subjects who move their faces more also vary their voices more.
    lively = float(np.mean(identity.expressiveness)) + 0.25 * rng.uniform(-1, 1)
    return Voice(
        pitch=float(pitch),
        tract=float(tract),
        resting=tuple(float(resting.get(cue, 0.0)) for cue in CUES),
        expressiveness=tuple((lively * rng.uniform(0.75, 1.25, len(CUES))).tolist()),
    )


def speak(
    identity: Identity,
    emotion: str,
    *,
    take: int,
    intensity: str = "normal",
    frames: int,
    fps: float = 30.0,
    seed: int,
    rate: int = 16_000,
) -> NDArray[np.float32]:
    """Synthesises the sound of a rendered clip, from the same arguments as its pictures.

    Args:
        identity: the subject.
        emotion: one of :data:`fervid.synthetic.expressions.EMOTIONS`.
        take: number of the clip with otherwise equal arguments; takes differ in sentence, timing and emphasis.
        intensity: `"normal"` or `"strong"`.
        frames: length of the clip in frames.
        fps: frames per second.
        seed: random seed; another seed gives other subjects and clips.
        rate: samples per second.

    Returns:
        float32 (N,), mono, within -0.9 to 0.9, where N is `frames / fps * rate` rounded. Equal arguments give equal
        samples on one machine; between processors they may differ by rounding errors.

    Raises:
        InputError: if `emotion` or `intensity` is unknown, or `frames`, `fps` or `rate` is out of range.
    """
    if not fps > 0:
        raise InputError(f"fps={fps} is out of range: use a positive number.")
    if not MIN_RATE <= rate <= MAX_RATE:
        raise InputError(f"rate={rate} is out of range: use {MIN_RATE} to {MAX_RATE} samples per second.")
    act = Performance(identity, emotion, intensity, take, frames, fps, seed)
    session = np.random.default_rng([seed, identity.number, EMOTIONS.index(emotion), VOICE])
    rng = np.random.default_rng([*act.key, VOICE])
    voice = make_voice(identity, seed)
    cues = _cues(voice, emotion, STRENGTH[intensity], session, rng)
    utterance = _Utterance(_mouth(act, emotion), fps, voice, cues, rng)
    length = round(frames / fps * rate)
    # Random numbers of the samples are drawn last, so that the same words are spoken at every rate.
    sound = _filtered(_source(utterance, length, rate, rng), utterance, rate)
    envelope = utterance.at(utterance.envelope, length, rate)
    spoken = float(np.sqrt(np.sum(sound**2) / max(np.sum(envelope**2), 1e-9)))  # pauses do not count
    # The second difference of noise rises by 12 dB per octave, as the hiss of an s.
    hiss = np.diff(rng.standard_normal(length + 2), 2) / np.sqrt(6)
    sound += spoken * utterance.at(utterance.hiss, length, rate) * hiss
    return _recorded(sound / max(spoken, 1e-9), cues["level"], session, rng)


def _cues(
    voice: Voice, emotion: str, strength: float, session: np.random.Generator, rng: np.random.Generator
) -> dict[str, float]:
    """Returns the properties of the voice in a clip as deviations from an average neutral voice."""
    count, spread = len(CUES), np.array(list(CUES.values()))
    felt = strength * np.array([MANNERS[emotion].get(cue, 0.0) for cue in CUES])
    habit = spread * session.normal(0, 1, count)  # a subject repeats an emotion in much the same way
    values = np.array(voice.resting) + np.array(voice.expressiveness) * felt + habit
    values += 0.4 * spread * rng.normal(0, 1, count)
    return dict(zip(CUES, values.tolist(), strict=True))


def _mouth(act: Performance, emotion: str) -> Array:
    """Returns how far the talking mouth is opened in each frame, (T,) from 0 to 1.

    It is read from an action unit that the expression of the emotion does not use: its activity is that of the talking
    mouth plus a constant.
    """
    unit, share = next((unit, share) for unit, share in ((10, 0.1), (26, 0.18)) if unit not in EXPRESSIONS[emotion])
    activity = act.activity[:, UNITS.index(unit)]
    return np.clip((activity - activity.min()) / share, 0, 1)


class _Utterance:
    """Curves of an utterance at the times `seconds` (T,), in steps of `STEP`.

    Attributes:
        envelope: amplitude of the voice, 0 to 1.
        hiss: amplitude of consonant noise, 0 to 1.
        pitch: Hz.
        formants: Hz, (T, 5).
        cues: properties of the voice, see `CUES`.
    """

    def __init__(self, mouth: Array, fps: float, voice: Voice, cues: dict[str, float], rng: np.random.Generator):
        self.cues, end = cues, len(mouth) / fps
        self.seconds = np.arange(0, end + STEP, STEP)
        opening = np.interp(self.seconds, np.arange(len(mouth)) / fps, mouth)
        opening *= np.clip(np.minimum(self.seconds, end - self.seconds) / FADE, 0, 1)
        sentence = SENTENCES[rng.integers(len(SENTENCES))]
        syllables = _syllables(opening)
        self.envelope = opening ** (0.9 * 2 ** -cues["onset"])
        self.hiss = np.zeros_like(opening)
        semitones = np.full_like(opening, cues["pitch"]) + _tune(self.seconds / end, cues, syllables, rng)
        keys: list[tuple[float, Array]] = []
        spoken, joined = 0, False
        precision = float(np.clip(0.85 + 0.06 * cues["brightness"] - 0.15 * cues["rate"], 0.5, 1.1))
        for first, middle, last in syllables:
            # A faster speaker says two syllables in some openings of the mouth, a slower one holds its vowel.
            doubled = rng.uniform() < 1.4 * cues["rate"] and min(middle - first, last - middle) * STEP > MIN_SYLLABLE
            joined = rng.uniform() < -1.6 * cues["rate"] and spoken > 0 and not joined
            edges = self.seconds[[first, middle, last] if doubled else [first, last]].tolist()
            for begin, stop in itertools.pairwise(edges):
                consonant, vowel = sentence[spoken % len(sentence)]
                if joined:
                    consonant, vowel = HELD, sentence[(spoken - 1) % len(sentence)][1]
                else:
                    spoken += 1
                keys += self._articulate(begin, stop, consonant, vowel, precision)
        self.pitch = voice.pitch * 2 ** (semitones / 12)
        fifth = np.full((len(opening), 1), FIFTH)
        self.formants = np.hstack([_trajectories(self.seconds, keys), fifth]) * voice.tract

    def _articulate(
        self, begin: float, end: float, consonant: str, vowel: str, precision: float
    ) -> list[tuple[float, Array]]:
        """Adds a consonant to the curves and returns the times and formants of the syllable, Hz (4,)."""
        length = min(0.3 * (end - begin), 0.06)
        target = precision * np.array(VOWELS[vowel], float) + (1 - precision) * np.array(NEUTRAL_VOWEL)
        if consonant == HELD:
            bridge = np.exp(-(((self.seconds - begin) / 0.08) ** 2))
            self.envelope = np.maximum(self.envelope, 0.8 * bridge * self._around(begin, end))
            return [(begin, target), (end - 0.2 * (end - begin), target)]
        first, second, voiced, hiss, duration = CONSONANTS[consonant]
        near = np.exp(-(((self.seconds - begin) / (0.6 * length)) ** 2))
        # Nasals and liquids sound even while the mouth is closed; other consonants interrupt the voice.
        self.envelope = np.maximum(self.envelope * (1 - near), voiced * near * self._around(begin, end))
        late = np.exp(-(((self.seconds - begin - 0.3 * length) / duration) ** 2))
        self.hiss = np.maximum(self.hiss, hiss * late * self._around(begin, end))
        place = np.array([first, second, *VOWELS[vowel][2:]])
        return [(begin, place), (begin + length, target), (end - 0.2 * (end - begin), target)]

    def _around(self, begin: float, end: float) -> float:
        """Returns the largest amplitude of the voice in a syllable."""
        return float(self.envelope[(self.seconds >= begin) & (self.seconds <= end)].max(initial=0))

    def at(self, values: Array, count: int, rate: int) -> Array:
        """Interpolates a curve (T,) at the times of `count` samples."""
        return np.interp(np.arange(count) / rate, self.seconds, values)


def _syllables(opening: Array) -> list[tuple[int, int, int]]:
    """Returns the indices of the begin, the middle and the end of each opening of the mouth (T,)."""
    closed = np.flatnonzero((opening[1:-1] < opening[:-2]) & (opening[1:-1] <= opening[2:])) + 1
    edges = [0, *closed.tolist(), len(opening) - 1]
    found = []
    for first, last in itertools.pairwise(edges):
        middle = first + int(opening[first : last + 1].argmax())
        if opening[middle] > MIN_OPENING and last > first:
            found.append((first, middle, last))
    return found


def _tune(
    part: Array, cues: dict[str, float], syllables: list[tuple[int, int, int]], rng: np.random.Generator
) -> Array:
    """Returns the pitch in semitones above the mean at the times `part` (T,), 0 at the begin and 1 at the end."""
    wide = 2 ** cues["range"]
    # Speech falls slowly; questions and surprise rise mainly at the end.
    slope = cues["slope"] - 2.0
    tune = slope * (part - 0.5) if slope < 0 else slope * (part**2.5 - 1 / 3.5)
    accents = np.zeros_like(part)
    for number, (_, middle, last) in enumerate(syllables):
        height = (1.8 if number % 2 == 0 else -0.6) + rng.normal(0, 0.8)
        width = max(last - middle, 1) / len(part)
        accents += height * np.exp(-(((part - part[middle]) / width) ** 2))
    return tune + wide * (accents - accents.mean())


def _trajectories(seconds: Array, keys: list[tuple[float, Array]]) -> Array:
    """Interpolates formants between their values at key times; returns Hz (T, 4)."""
    if not keys:
        return np.tile(NEUTRAL_VOWEL, (len(seconds), 1))
    times, values = np.array([time for time, _ in keys]), np.array([value for _, value in keys])
    return np.stack([np.interp(seconds, times, column) for column in values.T], axis=1)


def _source(utterance: _Utterance, length: int, rate: int, rng: np.random.Generator) -> Array:
    """Returns pulses of the vocal folds and breath noise, (length,)."""
    cues = utterance.cues
    cycles = np.concatenate([[0.0], np.cumsum(utterance.pitch[:-1] * STEP)])
    count = max(1, int(cycles[-1]))
    jitter = min(0.006 * 2 ** cues["jitter"], 0.05)
    creak = float(np.clip(cues["creak"], 0, 1)) ** 1.5
    # Creaky voice alternates between long and short, strong and weak periods.
    alternate = creak * np.where(np.arange(count) % 2 == 0, 1.0, -1.0)
    numbers = np.arange(count) + 0.5 + jitter * rng.standard_normal(count) + 0.16 * alternate
    times = np.interp(numbers, cycles, utterance.seconds)
    strength = np.interp(times, utterance.seconds, utterance.envelope)
    strength *= np.maximum(0.2, 1 + 3 * jitter * rng.standard_normal(count) + 0.4 * alternate)
    # The power of a pulse train grows with its number of pulses.
    strength /= np.sqrt(np.interp(times, utterance.seconds, utterance.pitch))
    source = np.zeros(length + 16)
    # A pulse lies between samples: rounding its time would add noise to high voices.
    position = times * rate
    nearest = np.floor(position).astype(int)
    for offset in range(-3, 5):
        distance = nearest + offset - position
        window = np.cos(np.pi * distance / 9) ** 2
        np.add.at(source, np.clip(nearest + offset + 4, 0, length + 15), strength * np.sinc(distance) * window)
    # More samples per second lower the power of pulses, not of noise.
    breath = 0.005 * 10 ** (cues["breath"] / 20) * np.sqrt(16_000 / rate)
    noise = np.diff(rng.standard_normal(length + 1))
    return source[4 : length + 4] + breath * utterance.at(utterance.envelope, length, rate) * noise


def _filtered(source: Array, utterance: _Utterance, rate: int) -> Array:
    """Returns the source (N,) after the moving resonances of the vocal tract and the spectral slope of the voice."""
    hop = round(HOP * rate)
    size, total = 2 * hop, 4 * hop  # the resonances ring after the end of a window
    count = len(source) // hop + 2
    padded = np.zeros((count + 1) * hop)
    padded[hop : hop + len(source)] = source
    # Windows overlap by half and add up to 1.
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    windows = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop] * window
    spectrum = np.fft.rfft(windows, total, axis=1)
    spectrum *= _response(utterance, np.arange(len(windows)) * hop / rate, np.fft.rfftfreq(total, 1 / rate), rate)
    pieces = np.fft.irfft(spectrum, total, axis=1)
    sound = np.zeros((len(windows) + 4) * hop)
    for start in range(0, total, hop):
        part = pieces[:, start : start + hop]
        sound[start : start + len(windows) * hop] += part.ravel()
    return sound[hop : hop + len(source)]


def _response(utterance: _Utterance, seconds: Array, hertz: Array, rate: int) -> Array:
    """Returns the response of the vocal tract, complex (times, frequencies)."""
    delay = np.exp(-2j * np.pi * hertz / rate).astype(np.complex64)
    delay2 = delay**2
    slope = -5.0 + utterance.cues["brightness"]  # dB per octave above 500 Hz
    response = np.tile(((1 + (hertz / 500) ** 2) ** (slope / 12.04)).astype(np.complex64), (len(seconds), 1))
    response *= 1 - np.exp(-((hertz / 60) ** 2)).astype(np.float32)  # lips do not radiate the lowest frequencies
    for number, bandwidth in enumerate(BANDWIDTHS):
        track = np.interp(seconds, utterance.seconds, utterance.formants[:, number])
        centre = np.minimum(track, 0.46 * rate)
        radius = float(np.exp(-np.pi * bandwidth / rate))
        swing = (2 * radius * np.cos(2 * np.pi * centre / rate)).astype(np.float32)
        gain = (1 - swing + radius**2)[:, None]
        response *= gain / (1 - swing[:, None] * delay + np.float32(radius**2) * delay2)
    return response


def _recorded(
    sound: Array, level: float, session: np.random.Generator, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Scales the sound (N,) to its level in dB and adds the background noise of the recording session."""
    sound = sound * 10 ** ((-31 + level + session.normal(0, 1.0)) / 20)
    noise, dark = rng.standard_normal(len(sound) + 1), session.uniform(0, 0.9)
    sound += 10 ** (session.uniform(-74, -64) / 20) * (noise[1:] + dark * noise[:-1])
    return (sound * min(1.0, MAX_PEAK / max(float(np.abs(sound).max(initial=0)), 1e-9))).astype(np.float32)
