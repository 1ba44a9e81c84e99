"""The page of the demo: shows faces, probabilities, heat maps and a timeline for pictures, videos and the webcam.

For runs of clips and sounds, :mod:`fervid.demo.recording_tabs` has the tabs.

Gradio stores uploads and the pictures it displays as files in its ``GRADIO_TEMP_DIR``. They are deleted after an hour,
and together with the folder when the page is closed.
"""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import gradio as gr
import numpy as np

from fervid.demo.recording_tabs import add_recording_tabs
from fervid.demo.recordings import RecordingView, show_recording
from fervid.demo.views import MAX_FACES, FaceView, PictureView, VideoView, about, show_frame, show_picture, show_video
from fervid.errors import first_line
from fervid.figures.drawing import pixels
from fervid.media.decoding import read_picture
from fervid.media.formats import PICTURE_SUFFIXES, VIDEO_SUFFIXES
from fervid.predict.predictor import Predictor
from fervid.predict.window_predictor import WindowPredictor
from fervid.schema.parts import EMOTION
from fervid.storage.escaping import markdown_text

MAX_PIXELS = 1280  # longer side of a picture sent to the browser
FACE_PIXELS = 256  # longer side of a displayed face; the crops for a network are often only about 50 pixels wide


class FaceCards:
    """One card per face of a picture: the network's input, the heat map of its prediction and the probabilities.

    Adding components to a page at run time is slow, so :data:`MAX_FACES` hidden cards are created in advance.
    """

    def __init__(self) -> None:
        self.components: list[Any] = []
        for _ in range(MAX_FACES):
            with gr.Group(visible=False) as card:
                title = gr.Markdown(padding=True)
                with gr.Row(equal_height=True):
                    picture, heat = _picture_box(min_width=130), _picture_box(min_width=130)
                    probabilities = gr.Label(min_width=220, scale=2, show_label=False)
                    bars = gr.HTML(min_width=220, padding=True)
            self.components += [card, title, picture, heat, probabilities, bars]

    def updates(self, faces: Sequence[FaceView]) -> list[Any]:
        """Returns the updates of :attr:`components` that show these faces, at most :data:`MAX_FACES`."""
        updates: list[Any] = []
        for face in faces:
            has_heat = face.heat is not None
            heat_title = f", and {markdown_text(face.heat_title)}" if has_heat else ""
            updates += [
                gr.Group(visible=True),
                f"**{face.title}**: the network's input{heat_title}",
                _resized(face.picture, FACE_PIXELS),
                gr.Image(_resized(face.heat, FACE_PIXELS), visible=has_heat),
                gr.Label(face.probabilities or None, visible=bool(face.probabilities)),
                gr.HTML(face.bars, visible=bool(face.bars)),
            ]
        missing = MAX_FACES - len(faces)
        return updates + [gr.Group(visible=False), "", None, None, None, ""] * missing


def build_page(
    predictor: Predictor | WindowPredictor,
    folder: Path,
    *,
    longest_video: float,
    frame_stride: int = 3,
    smoothing: float = 0.0,
    step: float = 0.5,
) -> gr.Blocks:
    """Builds the page, ready to be launched.

    Args:
        predictor: the trained run.
        folder: folder for annotated videos; Gradio must be allowed to serve it (its ``GRADIO_TEMP_DIR``).
        longest_video: maximum length of a video in seconds; the rest is ignored.
        frame_stride: every ``frame_stride``-th frame of a video is used by a run of single pictures.
        smoothing: time constant in seconds of the moving average of a person's probabilities, in such a run.
        step: time from a window to the next in seconds, in a run of clips or sounds.
    """
    lock = threading.Lock()  # OpenCV's detectors are not thread-safe
    with gr.Blocks(title="fervid", analytics_enabled=False, delete_cache=(60, 3600)) as page:
        gr.Markdown(about(predictor))
        if isinstance(predictor, WindowPredictor):
            _add_window_tabs(predictor, lock, folder, longest_video, step)
        else:
            _add_frame_tabs(predictor, lock, folder, longest_video, frame_stride, smoothing)
    return page


def _add_window_tabs(
    predictor: WindowPredictor, lock: threading.Lock, folder: Path, longest: float, step: float
) -> None:
    """Adds the tabs of a run of clips or sounds."""

    def recording(upload: str) -> RecordingView:
        with lock:
            return show_recording(predictor, Path(upload), folder, longest=longest, step=step)

    hears_alone = "sound" in predictor.modalities and predictor.can_answer(["sound"])
    add_recording_tabs(recording, predictor.modalities, longest, hears_alone=hears_alone)


def _add_frame_tabs(
    predictor: Predictor,
    lock: threading.Lock,
    folder: Path,
    longest_video: float,
    frame_stride: int,
    smoothing: float,
) -> None:
    """Adds the tabs of a run of single pictures."""

    def picture(upload: str) -> PictureView:
        # The upload is not deleted here: Gradio uses one file if several visitors upload the same picture.
        with lock:
            return show_picture(predictor, Path(upload))

    def video(upload: str) -> VideoView:
        with lock:
            return show_video(
                predictor, Path(upload), folder, longest=longest_video, frame_stride=frame_stride, smoothing=smoothing
            )

    def webcam(frame: str) -> PictureView:
        with lock:
            try:
                return show_frame(predictor, read_picture(Path(frame)))
            except (ValueError, OSError) as error:
                return PictureView(None, f"This picture cannot be read: {first_line(error)}.")

    with gr.Tab("Picture"):
        _add_picture_tab(picture)
    with gr.Tab("Video"):
        gr.Markdown(f"Only the first {longest_video:g} seconds of a video are used.")
        is_classifier = [part.name for part in predictor.parts] == [EMOTION]
        # Widths in pixels would not fit on a phone; other tasks have other columns.
        _add_video_tab(video, ["22%", "20%", "24%", "34%"] if is_classifier else None)
    with gr.Tab("Webcam"):
        gr.Markdown("Press Record to start the camera. Pictures are deleted after an hour or when the demo ends.")
        _add_webcam_tab(webcam)


def _add_picture_tab(view_of: Callable[[str], PictureView]) -> None:
    """Adds the components of the tab to the current page; ``view_of`` returns the view of an uploaded picture."""
    file = gr.File(show_label=False, file_types=sorted(PICTURE_SUFFIXES), height=120)
    note = gr.Markdown(visible=False)
    with gr.Row():
        with gr.Column(min_width=340):
            whole = _picture_box(visible=False)
        with gr.Column(min_width=340):
            cards = FaceCards()

    def picture(upload: str) -> list[Any]:
        view = view_of(upload)
        return [None, *_shown(view), *cards.updates(view.faces)]

    file.upload(picture, file, [file, note, whole, *cards.components], api_visibility="private")


def _add_video_tab(view_of: Callable[[str], VideoView], widths: list[str | int] | None) -> None:
    clip = gr.File(show_label=False, file_types=sorted(VIDEO_SUFFIXES), height=120)
    annotated = gr.Video(visible=False, show_label=False, autoplay=True, buttons=["download"], elem_classes="video")
    note = gr.Markdown(visible=False)
    persons = gr.Dataframe(
        visible=False,
        interactive=False,
        wrap=True,
        show_label=False,
        buttons=[],
        column_widths=widths,
    )
    timeline = _picture_box(visible=False)

    def video(upload: str) -> list[Any]:
        view = view_of(upload)
        has_persons = view.persons is not None
        return [
            None,
            gr.Video(str(view.file) if view.file else None, visible=view.file is not None),
            gr.Markdown(markdown_text(view.note), visible=bool(view.note)),
            gr.Dataframe(view.persons, visible=has_persons),
            gr.Image(None if view.timeline is None else pixels(view.timeline), visible=has_persons),
        ]

    clip.upload(video, clip, [clip, annotated, note, persons, timeline], api_visibility="private")


def _add_webcam_tab(view_of: Callable[[str], PictureView]) -> None:
    with gr.Row():
        with gr.Column(min_width=340):
            camera = gr.Image(
                sources=["webcam"],
                streaming=True,
                show_label=False,
                buttons=[],
                height=340,
                type="filepath",  # decoded by fervid; Gradio would allow every decoder of Pillow
                image_mode=None,  # type: ignore[arg-type]
            )
        with gr.Column(min_width=340):
            note = gr.Markdown(visible=False)
            annotated = _picture_box(visible=False)
            probabilities = gr.Label(visible=False)
            bars = gr.HTML(visible=False)

    def webcam(frame: str | None) -> list[Any]:
        view = PictureView(None) if frame is None else view_of(frame)
        if not view.faces:
            return [*_shown(view), gr.Label(visible=False), gr.HTML(visible=False)]
        first = view.faces[0]
        return [
            *_shown(view),
            gr.Label(first.probabilities or None, label=first.title, visible=bool(first.probabilities)),
            gr.HTML(first.bars, visible=bool(first.bars)),
        ]

    camera.stream(
        webcam,
        camera,
        [note, annotated, probabilities, bars],
        stream_every=0.25,
        time_limit=None,
        show_progress="hidden",
        trigger_mode="always_last",
        api_visibility="private",
    )


def _picture_box(**options: Any) -> gr.Image:
    return gr.Image(show_label=False, interactive=False, buttons=[], format="jpeg", **options)


def _shown(view: PictureView) -> list[Any]:
    """Returns the note and the picture of a view as components."""
    return [
        gr.Markdown(markdown_text(view.note), visible=bool(view.note)),
        gr.Image(_resized(view.image, MAX_PIXELS, enlarge=False), visible=view.image is not None),
    ]


def _resized(image: np.ndarray | None, side: int, *, enlarge: bool = True) -> np.ndarray | None:
    """Resizes a picture so that its longer side has ``side`` pixels."""
    if image is None or (not enlarge and max(image.shape) <= side):
        return image
    scale = side / max(image.shape[:2])
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=interpolation)
