"""Predicts the windows of a video or a sound file one after the other."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Literal

from fervid.media.sources import Source
from fervid.predict.face_track import FaceTrack
from fervid.predict.pipeline import grouped, in_background
from fervid.predict.sound_track import SoundTrack
from fervid.predict.window_predictor import WindowPredictor
from fervid.predict.windows import TOLERANCE, Window, WindowInput, WindowPrediction, number_of_windows

BATCH_WINDOWS = 8  # windows that are classified together, while the next ones are decoded


class Recording:
    """A video or sound file that a run of clips or sounds predicts, window by window.

    Times are seconds after the begin of the recording: that of its first frame or of its first sample, whichever is
    earlier. Pictures and sound belong to the windows in which they are shown and played. Only the current windows are
    in memory.

    Args:
        predictor: a trained run.
        source: the video or sound file.
        seconds: length of a window; None: see :meth:`fervid.predict.window_predictor.WindowPredictor.window_seconds`.
        step: time from the begin of a window to that of the next.
        faces: ``all`` people; or ``one``, whoever has the most prominent face, searched for near its last position as
            in the preparation of training videos.
        has_pictures: whether pictures are read; a sound file may contain that of its cover.

    Attributes:
        sound: the sound; None if the network is not shown sound.
        faces: the faces; None if the network is not shown pictures, or there are none.
        answered: number of windows with an answer so far.

    Raises:
        InputError: if the length of the window is out of range.
    """

    def __init__(
        self,
        predictor: WindowPredictor,
        source: Source | str,
        *,
        seconds: float | None = None,
        step: float = 0.5,
        faces: Literal["all", "one"] = "all",
        has_pictures: bool = True,
    ):
        source = Path(source) if isinstance(source, str) else source
        self.predictor, self.seconds, self.step = predictor, predictor.window_seconds(seconds), step
        is_shown = "image" in predictor.modalities and has_pictures
        self.sound = SoundTrack(source, predictor.min_samples) if "sound" in predictor.modalities else None
        self.faces = FaceTrack(predictor, source, faces) if is_shown else None
        self.answered = 0
        self._lacking: tuple[str, ...] = ()
        begins = [track.begin for track in (self.sound, self.faces) if track and track.begin is not None]
        self._is_empty = not begins
        if self.sound and begins:
            self.sound.start_at(min(begins))
        if self.faces and begins:
            self.faces.start_at(min(begins), self.seconds, step)

    @property
    def has_sound(self) -> bool:
        """Whether the network hears the recording, and it has sound."""
        return self.sound is not None and self.sound.begin is not None

    def __iter__(self) -> Iterator[tuple[Window, list[WindowPrediction]]]:
        """Yields each window with its predictions: one per visible person, or one for the sound alone.

        There is no prediction if the modalities that the network needs are missing.

        Raises:
            ValueError: at the end, if the file is damaged or truncated, or if no window could be predicted because of
                its sound.
        """
        jobs = (
            ([(window, len(given)) for window, given in group], [each for _, given in group for each in given])
            for group in grouped(self._inputs(), BATCH_WINDOWS)
        )
        for windows, predictions in in_background(self.predictor.classify, jobs):
            remaining = iter(predictions)
            for window, people in windows:
                self.answered += people > 0
                yield window, [next(remaining) for _ in range(people)]
        if reason := self._failure():
            raise ValueError(reason)

    def _inputs(self) -> Iterator[tuple[Window, list[WindowInput]]]:
        """Yields each window with what the network is shown of it."""
        for number in count() if not self._is_empty else ():
            start = number * self.step
            end = start + self.seconds
            for track in (self.sound, self.faces):
                if track:
                    track.read_to(end + TOLERANCE)
            duration = self._duration()
            is_last = duration is not None and number + 1 >= number_of_windows(duration, self.seconds, self.step)
            end = max(duration, start) if is_last and duration is not None else end
            yield Window(start, end), self._of_window(Window(start, end), number)
            if is_last:
                return
            for track in (self.sound, self.faces):
                if track:
                    track.forget(start + self.step)

    def _of_window(self, window: Window, number: int) -> list[WindowInput]:
        sound = self.sound.between(*window) if self.sound else None
        persons = self.faces.between(*window, number) if self.faces else {}
        given = [
            WindowInput(window, person, len(pictures), self.predictor.choose(pictures), sound)
            for person, pictures in sorted(persons.items())
        ]
        given = given or [WindowInput(window, sound=sound)]
        if not self.predictor.can_answer(given[0].modalities):
            self._lacking = given[0].modalities or self._lacking
            return []
        return given

    def _duration(self) -> float | None:
        """Returns the length of the recording in seconds; None if it is not known yet."""
        ends = [track.end for track in (self.sound, self.faces) if track]
        return None if None in ends else max(end for end in ends if end is not None)

    def _failure(self) -> str | None:
        """Returns why the recording could not be predicted to its end; None if it could."""
        tracks = [track for track in (self.sound, self.faces) if track]
        damaged = [track.failure for track in tracks if track.failure and not track.is_absent]
        if damaged or self.answered:
            return "; ".join(dict.fromkeys(damaged)) or None
        reasons = [track.failure for track in tracks if track.failure]
        if self.sound and self.sound.unusable:
            reasons.append(self.sound.unusable)
        if self.faces and not self.faces.failure and self.sound and not self.faces.boxes:
            reasons.append("no face found")
        if self._lacking:
            needed = " and ".join(self.predictor.needed)
            reasons.append(f"the network needs {needed} together, since it was trained without fusion.modality_dropout")
        return "; ".join(reasons) or None
