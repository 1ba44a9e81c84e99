"""The page of the demo: pictures, videos and the webcam in; faces, probabilities, heat maps and a timeline out.

What Gradio shows of pictures are files in its ``GRADIO_TEMP_DIR``, as uploads are: they are deleted after an hour, and
with the folder when the page is closed.
"""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import gradio as gr
import numpy as np

from fervid.demo.views import MAX_FACES, FaceView, PictureView, VideoView, about, show_frame, show_picture, show_video
from fervid.errors import first_line
from fervid.figures.drawing import pixels
from fervid.media.decoding import read_picture
from fervid.media.formats import PICTURE_SUFFIXES, VIDEO_SUFFIXES
from fervid.predict.predictor import Predictor
from fervid.storage.escaping import markdown_text

MAX_PIXELS = 1280  # of the longer side of what is sent to the browser
FACE_PIXELS = 256  # of a face: networks see some 50 pixels, too few to look at


class FaceCards:
    """The faces of a picture, one by one: what the network saw, what speaks for its answer, and the probabilities.

    A page cannot grow components cheaply: there are :data:`MAX_FACES`, hidden until they are needed.
    """

    def __init__(self) -> None:
        self.components: list[Any] = []
        for _ in range(MAX_FACES):
            with gr.Group(visible=False) as card:
                title = gr.Markdown(padding=True)
                with gr.Row(equal_height=True):
                    seen, heat = _picture_box(min_width=130), _picture_box(min_width=130)
                    answer = gr.Label(min_width=220, scale=2, show_label=False)
            self.components += [card, title, seen, heat, answer]

    def updates(self, faces: Sequence[FaceView]) -> list[Any]:
        """What :attr:`components` become for some faces; no more than there are."""
        updates: list[Any] = []
        for face in faces:
            has_heat = face.heat is not None
            told = f", and {markdown_text(face.heat_title)}" if has_heat else ""
            updates += [
                gr.Group(visible=True),
                f"**{face.title}**: what the network saw{told}",
                _resized(face.picture, FACE_PIXELS),
                gr.Image(_resized(face.heat, FACE_PIXELS), visible=has_heat),
                face.probabilities,
            ]
        missing = MAX_FACES - len(faces)
        return updates + [gr.Group(visible=False), "", None, None, None] * missing


def build_page(
    predictor: Predictor, folder: Path, *, longest_video: float, frame_stride: int, smoothing: float
) -> gr.Blocks:
    """The page, ready to be launched.

    Args:
        predictor: the trained run.
        folder: for annotated videos; Gradio must be allowed to serve it (its ``GRADIO_TEMP_DIR``).
        longest_video: seconds of a video that are looked at.
        frame_stride: the frame stride in a video.
        smoothing: time constant in seconds of the moving average of a person's probabilities.
    """
    one_at_a_time = threading.Lock()  # OpenCV's detectors are not made for several threads

    def picture(upload: str) -> PictureView:
        # The upload stays: Gradio gives the same picture, asked for by several visitors at once, one file.
        with one_at_a_time:
            return show_picture(predictor, Path(upload))

    def video(upload: str) -> VideoView:
        with one_at_a_time:
            return show_video(
                predictor, Path(upload), folder, longest=longest_video, frame_stride=frame_stride, smoothing=smoothing
            )

    def webcam(frame: str) -> PictureView:
        with one_at_a_time:
            try:
                return show_frame(predictor, read_picture(Path(frame)))
            except (ValueError, OSError) as error:
                return PictureView(None, f"This picture cannot be read: {first_line(error)}.")

    with gr.Blocks(title="fervid", analytics_enabled=False, delete_cache=(60, 3600)) as page:
        gr.Markdown(about(predictor))
        with gr.Tab("Picture"):
            _add_picture_tab(picture)
        with gr.Tab("Video"):
            gr.Markdown(f"The first {longest_video:g} seconds of a video are watched.")
            _add_video_tab(video)
        with gr.Tab("Webcam"):
            gr.Markdown("Record starts reading your camera. Pictures are deleted after an hour, or when the demo ends.")
            _add_webcam_tab(webcam)
    return page


def _add_picture_tab(view_of: Callable[[str], PictureView]) -> None:
    """Adds the components of a tab to the page in work; what is uploaded there is shown as ``view_of`` says."""
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


def _add_video_tab(view_of: Callable[[str], VideoView]) -> None:
    clip = gr.File(show_label=False, file_types=sorted(VIDEO_SUFFIXES), height=120)
    film = gr.Video(visible=False, show_label=False, autoplay=True, buttons=["download"], elem_classes="video")
    said = gr.Markdown(visible=False)
    people = gr.Dataframe(
        visible=False,
        interactive=False,
        wrap=True,
        show_label=False,
        buttons=[],
        column_widths=["22%", "20%", "24%", "34%"],  # in pixels they would be wider than a phone
    )
    drawn = _picture_box(visible=False)

    def video(upload: str) -> list[Any]:
        view = view_of(upload)
        is_seen = view.people is not None
        return [
            None,
            gr.Video(str(view.file) if view.file else None, visible=view.file is not None),
            gr.Markdown(markdown_text(view.note), visible=bool(view.note)),
            gr.Dataframe(view.people, visible=is_seen),
            gr.Image(None if view.timeline is None else pixels(view.timeline), visible=is_seen),
        ]

    clip.upload(video, clip, [clip, film, said, people, drawn], api_visibility="private")


def _add_webcam_tab(view_of: Callable[[str], PictureView]) -> None:
    with gr.Row():
        with gr.Column(min_width=340):
            camera = gr.Image(
                sources=["webcam"],
                streaming=True,
                show_label=False,
                buttons=[],
                height=340,
                type="filepath",  # decoded here, not by Gradio with every decoder there is
                image_mode=None,  # type: ignore[arg-type]
            )
        with gr.Column(min_width=340):
            told = gr.Markdown(visible=False)
            seen = _picture_box(visible=False)
            answer = gr.Label(visible=False)

    def webcam(frame: str | None) -> list[Any]:
        view = PictureView(None) if frame is None else view_of(frame)
        if not view.faces:
            return [*_shown(view), gr.Label(visible=False)]
        return [*_shown(view), gr.Label(view.faces[0].probabilities, label=view.faces[0].title, visible=True)]

    camera.stream(
        webcam,
        camera,
        [told, seen, answer],
        stream_every=0.25,
        time_limit=None,
        show_progress="hidden",
        trigger_mode="always_last",
        api_visibility="private",
    )


def _picture_box(**options: Any) -> gr.Image:
    return gr.Image(show_label=False, interactive=False, buttons=[], format="jpeg", **options)


def _shown(view: PictureView) -> list[Any]:
    """The note and the picture of a view."""
    return [
        gr.Markdown(markdown_text(view.note), visible=bool(view.note)),
        gr.Image(_resized(view.image, MAX_PIXELS, enlarge=False), visible=view.image is not None),
    ]


def _resized(image: np.ndarray | None, side: int, *, enlarge: bool = True) -> np.ndarray | None:
    """The picture with its longer side of this many pixels."""
    if image is None or (not enlarge and max(image.shape) <= side):
        return image
    scale = side / max(image.shape[:2])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=how)
