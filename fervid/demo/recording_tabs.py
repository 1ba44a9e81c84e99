"""The tabs of the page for a run of clips or sounds: files, the camera and the microphone."""

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from fervid.demo.recordings import RecordingView
from fervid.figures.drawing import pixels
from fervid.media.formats import SOUND_SUFFIXES, VIDEO_SUFFIXES
from fervid.storage.escaping import markdown_text

View = Callable[[str], RecordingView]


def add_recording_tabs(view_of: View, modalities: Sequence[str], longest: float, *, hears_alone: bool) -> None:
    """Adds the tabs to the current page.

    Args:
        view_of: returns the view of an uploaded or recorded file.
        modalities: modalities that the network is shown.
        longest: maximum length of a recording in seconds.
        hears_alone: whether the network answers from sound without pictures.
    """
    shows, hears = "image" in modalities, "sound" in modalities
    suffixes = VIDEO_SUFFIXES | (SOUND_SUFFIXES if hears_alone else set())
    limit = f"Only the first {longest:g} seconds are used."
    with gr.Tab("File"):
        gr.Markdown(f"A video{' or sound file' if hears_alone else ''}. {limit}")
        file = gr.File(show_label=False, file_types=sorted(suffixes), height=120)
        file.upload(*_answering(view_of, file), api_visibility="private")
    if hears_alone:
        with gr.Tab("Microphone"):
            gr.Markdown(f"Record some seconds of speech, and stop. {limit}")
            speech = gr.Audio(
                sources=["microphone"],
                type="filepath",  # decoded by fervid
                show_label=False,
                editable=False,
                buttons=[],
            )
            speech.stop_recording(*_answering(view_of, speech, keep=True), api_visibility="private")
    if shows:
        with gr.Tab("Camera"):
            gr.Markdown(f"Record some seconds{' of speech' if hears else ''}, and stop. {limit}")
            camera = gr.Video(
                sources=["webcam"],
                show_label=False,
                buttons=[],
                height=340,
                include_audio=True,  # without it, Gradio would call FFmpeg
                webcam_options=gr.WebcamOptions(mirror=False),
            )
            camera.stop_recording(*_answering(view_of, camera), api_visibility="private")


def _answering(view_of: View, given: Any, *, keep: bool = False) -> tuple[Callable[..., Any], Any, list[Any]]:
    """Adds the components with an answer; returns the function, input and outputs of the event that shows it.

    Args:
        view_of: returns the view of a file.
        given: component with the file, which is emptied afterwards.
        keep: whether ``given`` keeps the file, since it can play it.
    """
    note = gr.Markdown(visible=False)
    video = gr.Video(visible=False, show_label=False, autoplay=True, buttons=["download"], elem_classes="video")
    sound = gr.Audio(visible=False, show_label=False, interactive=False, buttons=["download"])
    timeline = gr.Image(show_label=False, interactive=False, buttons=[], format="jpeg", visible=False)
    answers = gr.Dataframe(
        visible=False,
        interactive=False,
        wrap=True,
        show_label=False,
        buttons=[],
        column_widths=["30%", "35%", "35%"],
    )

    def answer(path: str | None) -> list[Any]:
        view = RecordingView() if path is None else view_of(path)
        has_answer = view.answers is not None
        has_sound = view.sound is not None and not keep
        return [
            gr.skip() if keep else None,
            gr.Markdown(markdown_text(view.note), visible=bool(view.note)),
            gr.Video(str(view.video) if view.video else None, visible=view.video is not None),
            gr.Audio(str(view.sound) if has_sound else None, visible=has_sound),
            gr.Image(None if view.timeline is None else pixels(view.timeline), visible=has_answer),
            gr.Dataframe(view.answers, visible=has_answer),
        ]

    return answer, given, [given, note, video, sound, timeline, answers]
