"""The page of the demo: pictures, videos and the webcam in; faces, probabilities, heat maps and a timeline out.

What is shown is HTML with its pictures inside, so that nothing but an upload and an annotated video is ever a file.
"""

import base64
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from html import escape
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import cv2
import numpy as np
import pandas as pd

from fervid.explain.heat_maps import heat_maps
from fervid.figures import overlay, timeline
from fervid.figures.drawing import EMOTION_COLOURS
from fervid.media.decoding import read_picture
from fervid.media.formats import PICTURE_SUFFIXES, VIDEO_SUFFIXES
from fervid.predict.annotation import AnnotatedVideo, annotate
from fervid.predict.predictor import Predictor, SeenFace
from fervid.predict.records import records
from fervid.predict.video import watch
from fervid.runs.run import open_run
from fervid.schema.errors import InputError, first_line
from fervid.schema.predictions import probabilities

if TYPE_CHECKING:
    import gradio as gr
    from starlette.types import ASGIApp, Receive, Scope, Send

ADDRESS = "127.0.0.1"  # this machine alone, never a network
SHOWN = 1280  # pixels of the longer side of what is sent to the browser
MOST_CARDS = 12  # faces of a picture that are shown one by one
CAUTION = (
    "It reads faces, not feelings: the label says what a face looks like to this network, which is often wrong. "
    "Not for decisions about people."
)
NO_FACE = "No face was found. A face that looks into the camera, is well lit and fills a good part of it is found best."
STYLE = """
.gradio-container { max-width: 1180px !important; margin: 0 auto !important; }
.fervid { line-height: 1.5; }
.fervid h1 { font-size: 1.7rem; font-weight: 700; margin: .4rem 0 .2rem; }
.fervid .facts { margin: .1rem 0; }
.fervid .caution { margin: .1rem 0 .4rem; }
.fervid .hint { color: var(--body-text-color-subdued); margin: 0; }
.fervid .sentence { font-size: 1.1rem; margin: .6rem 0; }
.fervid img { border-radius: 8px; max-width: 100%; height: auto; display: block; }
.fervid .answer { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start; }
.fervid .whole { flex: 1 1 400px; min-width: 0; }
.fervid .whole img { max-height: 75vh; min-width: min(100%, 300px); object-fit: contain; margin: 0 auto; }
.fervid .cards { flex: 1 1 480px; display: grid; gap: .8rem; min-width: 0; }
.fervid .card { border: 1px solid var(--border-color-primary); border-radius: 10px; padding: .8rem;
  background: var(--block-background-fill); }
.fervid .card h3 { font-size: 1.05rem; margin: 0 0 .5rem; }
.fervid .card .parts { display: flex; flex-wrap: wrap; gap: .8rem; }
.fervid figure { margin: 0; width: 112px; }
.fervid figure img { width: 112px; }
.fervid figcaption { font-size: .78rem; color: var(--body-text-color-subdued); text-align: center; }
.fervid .bars { flex: 1 1 190px; display: grid; grid-template-columns: max-content 1fr 2.8em; gap: .12rem .5rem;
  align-items: center; align-content: start; font-size: .88rem; font-variant-numeric: tabular-nums; }
.fervid .bars > div { background: var(--border-color-primary); border-radius: 4px; height: .7em; overflow: hidden; }
.fervid .bars > div > div { height: 100%; opacity: .5; }
.fervid .bars .likeliest { font-weight: 700; }
.fervid .bars .likeliest > div { opacity: 1; }
.fervid .bars span:nth-child(3n) { text-align: right; }
.fervid .scroll { overflow-x: auto; margin-top: .6rem; max-width: calc(100vw - 5rem); }
.fervid table { border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap;
  border: 0 !important; }
.fervid th, .fervid td { text-align: left; padding: .25rem 1.2rem .25rem 0 !important; border: 0 !important; }
.fervid tr + tr td { border-top: 1px solid var(--border-color-primary) !important; }
.fervid .timeline { background: white; padding: .4rem; width: 100%; min-width: 620px; max-width: none; }
.video { max-width: 820px; margin: 0 auto; }
.video video { max-height: 60vh; }
"""


def about(predictor: Predictor) -> str:
    """HTML that says which run answers, what it was trained on and how far it can be believed."""
    run = open_run(predictor.folder)
    data, split = run.results["data"], str(run.setting("split") or "own").replace("_", " ")
    people = ", <b>rendered people, none of them real</b>" if data.get("rendered") else ""
    uar = run.metric("test/uar")
    # Of one's own files the name of the folder says more than that they lie in one.
    corpus = " and ".join(
        about["name"] if about["published"] or not about["root"] else Path(about["root"]).name for about in run.corpora
    )
    tested = escape(run.level.phrase)
    score = "it was never tested"
    if not np.isnan(uar):
        emotions = len(run.class_names)
        chance = f"a mean over {emotions} emotions (test UAR; guessing gives {1 / emotions:.0%})"
        score = f"it recognises <b>{uar:.0%}</b> of {tested}, {chance}"
    return _box(
        "<h1>What does this face show?</h1>"
        f"<p class='facts'>Run <b>{escape(predictor.folder.resolve().name)}</b>, trained on "
        f"{escape(corpus)}{people}; split {escape(split)} ({escape(run.level)}): {score}.</p>"
        f"<p class='caution'>{CAUTION}</p>"
    )


def show_picture(predictor: Predictor, source: Path | bytes) -> str:
    """HTML of a picture with its faces numbered, and of each what the network saw, how it answers and why.

    Args:
        predictor: the trained run.
        source: the picture file.
    """
    try:
        image = read_picture(source)
    except (ValueError, OSError) as error:
        return sentence(f"This picture cannot be read: {first_line(error)}. JPEG, PNG and WebP work.")
    found = sorted(predictor.picture(image), key=lambda seen: -seen.face.box[2] * seen.face.box[3])
    if not found:
        return _answer(image, "the picture", NO_FACE)
    shown = _numbered(found[:MOST_CARDS])
    notes = []
    if len(found) > MOST_CARDS:
        notes.append(f"{len(found)} faces were found; the {MOST_CARDS} largest are shown one by one.")
    try:
        heats = list(heat_maps(predictor.model, np.stack([seen.picture for seen in shown])))
    except InputError:  # a backbone without maps
        heats = [None] * len(shown)
        notes.append("This network has no maps from which it could be told where it looks.")
    cards = [_card(seen, predictor.class_names, heat) for seen, heat in zip(shown, heats, strict=True)]
    return _answer(annotate(image, [*shown, *found[MOST_CARDS:]]), "the picture with its faces", " ".join(notes), cards)


def show_frame(predictor: Predictor, image: np.ndarray) -> str:
    """HTML of one frame of a webcam, uint8 (H, W, 3) RGB, with its faces numbered and how the network answers."""
    faces = _numbered(predictor.picture(image))
    if not faces:
        return _answer(image, "the camera's picture", NO_FACE)
    cards = [_card(seen, predictor.class_names) for seen in faces[:MOST_CARDS]]
    return _answer(annotate(image, faces), "the camera's picture with its faces", "", cards)


def show_video(
    predictor: Predictor, source: Path, folder: Path, *, longest: float, every: int, smoothing: float
) -> tuple[Path | None, str]:
    """Watches a video and writes it with its faces marked.

    Args:
        predictor: the trained run.
        source: the video file.
        folder: where the annotated video goes.
        longest: seconds; what comes after is left out, and said so.
        every: each so manieth frame is looked at.
        smoothing: time constant in seconds of the moving average of a person's probabilities; 0: none.

    Returns:
        The annotated video, None if there is nothing to show, and HTML: a timeline and a table of the people.
    """
    rows: list[dict[str, Any]] = []
    times: list[float] = []
    target = folder / f"{uuid4().hex}.mp4"
    cut = False
    try:
        with AnnotatedVideo(target) as film:
            for frame, faces in watch(predictor, source, every=every, smoothing=smoothing):
                if frame.time > longest:
                    cut = True
                    break
                film.write(frame, faces)
                times.append(frame.time)
                rows += records(source.name, frame, faces, predictor.class_names)
    except (ValueError, OSError) as error:
        target.unlink(missing_ok=True)
        return None, sentence(f"This video cannot be read: {first_line(error)}. MP4, MOV, AVI and WebM work.")
    note = sentence(f"The video is longer than {longest:g} seconds: this is its beginning.") if cut else ""
    if not rows:
        return target, note + sentence(NO_FACE)
    table = pd.DataFrame(rows)
    figure = timeline(table, predictor.class_names, times)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    drawn = f"<img class='timeline' alt='timeline of the emotions' src='{_data_uri(buffer.getvalue(), 'png')}'>"
    return target, note + _box(
        f"<div class='scroll'>{_people(table, predictor.class_names)}</div><div class='scroll'>{drawn}</div>"
    )


def sentence(text: str) -> str:
    """HTML of one sentence to the visitor."""
    return _box(f"<p class='sentence'>{escape(text)}</p>")


def build_page(
    predictor: Predictor, folder: Path, *, longest_video: float, every: int, smoothing: float
) -> "gr.Blocks":
    """The page, ready to be launched.

    Args:
        predictor: the trained run.
        folder: for annotated videos; Gradio must be allowed to serve it (its ``GRADIO_TEMP_DIR``).
        longest_video: seconds of a video that are looked at.
        every: each so manieth frame of a video is looked at.
        smoothing: time constant in seconds of the moving average of a person's probabilities.
    """
    import gradio as gr

    one_at_a_time = threading.Lock()  # OpenCV's detectors are not made for several threads

    def picture(upload: str) -> tuple[None, str]:
        # The upload stays: Gradio gives the same picture, asked for by several visitors at once, one file.
        with one_at_a_time:
            return None, show_picture(predictor, Path(upload))

    def video(upload: str) -> tuple[None, Any, str]:
        with one_at_a_time:
            target, html = show_video(
                predictor, Path(upload), folder, longest=longest_video, every=every, smoothing=smoothing
            )
        return None, gr.Video(str(target) if target else None, visible=target is not None), html

    def webcam(frame: str | None) -> str:
        if frame is None:
            return ""
        with one_at_a_time:
            try:
                return show_frame(predictor, read_picture(Path(frame)))
            except (ValueError, OSError) as error:
                return sentence(f"This picture cannot be read: {first_line(error)}.")

    with gr.Blocks(title="fervid", analytics_enabled=False, delete_cache=(60, 3600)) as page:
        gr.HTML(about(predictor))
        with gr.Tab("Picture"):
            file = gr.File(show_label=False, file_types=sorted(PICTURE_SUFFIXES), height=120)
            result = gr.HTML()
            file.upload(picture, file, [file, result], api_visibility="private")
        with gr.Tab("Video"):
            gr.HTML(_box(f"<p class='hint'>The first {longest_video:g} seconds of a video are watched.</p>"))
            clip = gr.File(show_label=False, file_types=sorted(VIDEO_SUFFIXES), height=120)
            film = gr.Video(visible=False, show_label=False, autoplay=True, buttons=["download"], elem_classes="video")
            summary = gr.HTML()
            clip.upload(video, clip, [clip, film, summary], api_visibility="private")
        with gr.Tab("Webcam"):
            gr.HTML(_box("<p class='hint'>Record starts reading your camera, frame by frame; nothing is recorded.</p>"))
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
                    seen = gr.HTML()
            camera.stream(
                webcam,
                camera,
                seen,
                stream_every=0.25,
                time_limit=None,
                show_progress="hidden",
                trigger_mode="always_last",
                api_visibility="private",
            )
    return page


class SameOriginMiddleware:
    """Refuses requests that a page of another origin makes; Gradio itself lets any page of this machine ask.

    Args:
        app: the application that answers all other requests.
    """

    def __init__(self, app: "ASGIApp"):
        self.app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answers with 403, or hands the request on."""
        from starlette.datastructures import Headers
        from starlette.responses import PlainTextResponse

        headers = Headers(scope=scope) if scope["type"] in ("http", "websocket") else {}
        origin = headers.get("origin")
        if origin is not None and origin != f"http://{headers.get('host')}":
            await PlainTextResponse("Only the page itself may ask.", status_code=403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


@asynccontextmanager
async def _guarded(app: Any) -> AsyncIterator[None]:
    """Puts the checks before all of Gradio's own middleware, which would answer for any host, as the server starts."""
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    app.middleware_stack = TrustedHostMiddleware(
        SameOriginMiddleware(app.middleware_stack), allowed_hosts=[ADDRESS, "localhost"], www_redirect=False
    )
    yield


def launch(page: "gr.Blocks", port: int, largest_upload: float) -> None:
    """Serves the page in the background, to this machine alone: other host names and origins are refused.

    Args:
        page: of :func:`build_page`.
        port: of 127.0.0.1.
        largest_upload: megabytes.

    Raises:
        InputError: if the port is taken.
    """
    import gradio as gr

    system = ["system-ui", "Segoe UI", "DejaVu Sans", "sans-serif"]  # fonts from elsewhere would need a network
    try:
        page.launch(
            server_name=ADDRESS,
            server_port=port,
            share=False,
            prevent_thread_lock=True,
            quiet=True,
            inbrowser=False,
            footer_links=[],
            run_history=False,  # would be kept in the browser
            enable_monitoring=False,
            mcp_server=False,
            ssr_mode=False,
            pwa=False,
            max_file_size=f"{largest_upload}mb",
            app_kwargs={"lifespan": _guarded},
            theme=gr.themes.Soft(primary_hue="blue", font=system, font_mono=["ui-monospace", "monospace"]),
            css=STYLE,
        )
    except OSError as error:
        raise InputError(
            f"port={port} cannot be used: another demo may be open there; close it, or give another, port={port + 1}."
        ) from error


def _numbered(faces: Sequence[SeenFace]) -> list[SeenFace]:
    """The faces from left to right, counted."""
    in_order = sorted(faces, key=lambda seen: seen.face.box[0])
    return [replace(seen, person=number) for number, seen in enumerate(in_order, start=1)]


def _answer(image: np.ndarray, words: str, note: str, cards: Sequence[str] = ()) -> str:
    """A picture and beside it, on a phone below it, what there is to say."""
    note = f"<p class='sentence'>{escape(note)}</p>" if note else ""
    return _box(
        f"<div class='answer'><div class='whole'>{_picture(image, words)}</div>"
        f"<div class='cards'>{note}{''.join(cards)}</div></div>"
    )


def _card(seen: SeenFace, class_names: Sequence[str], heat: np.ndarray | None = None) -> str:
    seen_by = [_figure(seen.picture, "what the network saw")]
    if heat is not None:
        seen_by.append(_figure(overlay(seen.picture, heat), f"what speaks for {seen.emotion}"))
    bars = []
    for number, (name, probability) in enumerate(zip(class_names, seen.probabilities, strict=True)):
        mark = " class='likeliest'" if name == seen.emotion else ""
        colour = EMOTION_COLOURS[number % len(EMOTION_COLOURS)]  # that of its box and of the timeline
        bars.append(
            f"<span{mark}>{escape(name)}</span>"
            f"<div{mark}><div style='width:{100 * probability:.1f}%; background:{colour}'></div></div>"
            f"<span{mark}>{probability:.0%}</span>"
        )
    return (
        f"<div class='card'><h3>Face {seen.person}: {escape(seen.emotion)}, {seen.confidence:.0%}</h3>"
        f"<div class='parts'>{''.join(seen_by)}<div class='bars'>{''.join(bars)}</div></div></div>"
    )


def _people(table: pd.DataFrame, class_names: Sequence[str]) -> str:
    """A table of the people of a video: how long they were seen, and with which emotions."""
    rows = []
    for person, part in table.groupby("person"):
        mean = probabilities(part, class_names).mean(axis=0)
        first, second = np.argsort(mean)[::-1][:2]
        shares = part["emotion"].value_counts(normalize=True)
        shown = ", ".join(f"{escape(str(name))} {share:.0%}" for name, share in shares.head(3).items())
        rows.append(
            f"<tr><td>{person}</td><td>{part['time'].min():.1f} to {part['time'].max():.1f} s</td>"
            f"<td>{shown}</td><td><b>{escape(class_names[first])}</b> {mean[first]:.0%}, "
            f"{escape(class_names[second])} {mean[second]:.0%}</td></tr>"
        )
    return (
        "<table><tr><th>Person</th><th>Seen</th><th>Emotion, share of the frames</th>"
        f"<th>Mean probability</th></tr>{''.join(rows)}</table>"
    )


def _reduced(image: np.ndarray) -> np.ndarray:
    scale = SHOWN / max(image.shape[:2])
    return image if scale >= 1 else cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _figure(image: np.ndarray, caption: str) -> str:
    return f"<figure>{_picture(image, caption)}<figcaption>{escape(caption)}</figcaption></figure>"


def _picture(image: np.ndarray, words: str) -> str:
    content = cv2.imencode(".jpg", cv2.cvtColor(_reduced(image), cv2.COLOR_RGB2BGR))[1].tobytes()
    return f"<img alt='{escape(words, quote=True)}' src='{_data_uri(content, 'jpeg')}'>"


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _box(html: str) -> str:
    return f"<div class='fervid'>{html}</div>"
