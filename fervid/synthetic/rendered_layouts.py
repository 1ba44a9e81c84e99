"""Rendered faces in the folders, names, containers and annotation files of real corpora.

The corpora may not be passed on, so their readers are shown miniatures with the same layout, oddities
included. Every writer returns a table of what it wrote, one row a clip or picture, to hold against what a
reader finds: `path` relative to the root, `subject`, `emotion` in the corpus's own word, `sex`, and what else
the corpus knows.
Pictures are made by `fervid.synthetic.rendering`: the same arguments write the same pictures.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, product
from pathlib import Path
from typing import Any, cast

import av
import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from av.video.stream import VideoStream
from numpy.typing import NDArray
from scipy.io import savemat

from fervid.media.files import RENDERED
from fervid.schema.errors import InputError
from fervid.synthetic.rendering import Identity, RenderedClip, make_identity, render_clip, render_crops

RAVDESS_EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
ENTERFACE_EMOTIONS = {
    "anger": "an",
    "disgust": "di",
    "fear": "fe",
    "happiness": "ha",
    "sadness": "sa",
    "surprise": "su",
}
ISED_EMOTIONS = ("happiness", "surprise", "sadness", "disgust")
HF_EMOTIONS = ("anger", "content", "disgust", "fear", "happy", "neutral", "sad", "surprise")
_ACTED_AS = {
    "anger": "angry",
    "content": "calm",
    "fearful": "fear",
    "happiness": "happy",
    "sadness": "sad",
    "surprised": "surprise",
}
"""What the renderer calls an emotion, where a corpus uses another word."""

MPEG4_QUALITY = {"flags": "+qscale", "global_quality": str(4 * 118)}  # 4 of 1 (best) to 31, in units of 118
PICTURE_QUESTION = "What is the emotion of the person in the picture?"


@dataclass(frozen=True)
class _Camera:
    """What all videos of one corpus share; sizes in pixels."""

    width: int
    height: int
    fps: Fraction
    codec: str
    options: dict[str, str]

    def film(
        self, path: Path, who: Identity, emotion: str, take: int, intensity: str, frames: int, seed: int
    ) -> RenderedClip:
        """Render a clip, write it as a video, and return it as it was before compression."""
        clip = render_clip(
            who,
            _ACTED_AS.get(emotion, emotion),
            take=take,
            intensity=intensity,
            frames=frames,
            width=self.width,
            height=self.height,
            face_height=0.42 * self.height,
            fps=float(self.fps),
            seed=seed,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(path, "w") as container:
            stream = cast(VideoStream, container.add_stream(self.codec, rate=self.fps, options=self.options))
            stream.width, stream.height, stream.pix_fmt = self.width, self.height, "yuv420p"
            stream.thread_count = 1  # the bytes depend on the number of threads
            for image in clip.images:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
        return clip


def write_ravdess(
    root: str | Path,
    *,
    actors: Sequence[int] = (1, 2),
    emotions: Sequence[str] = RAVDESS_EMOTIONS,
    modalities: Sequence[str] = ("02",),
    channel: str = "01",
    intensities: Sequence[str] = ("01", "02"),
    statements: Sequence[str] = ("01",),
    repetitions: Sequence[str] = ("01",),
    frames: int = 30,
    width: int = 1280,
    height: int = 720,
    seed: int = 0,
) -> pd.DataFrame:
    """Write videos as RAVDESS has them: `Actor_XX/MM-VV-EE-II-SS-RR-AA.mp4`, H.264, 29.97 frames a second.

    Args:
        root: folder to write into; made if absent.
        actors: numbers of the actors, odd for men and even for women.
        emotions: some of `RAVDESS_EMOTIONS`.
        modalities: `"01"` (audio-video) and `"02"` (video-only); both of a recording hold the same pictures.
        channel: vocal channel, `"01"` speech or `"02"` song.
        intensities: `"01"` normal and `"02"` strong; neutral is never strong.
        statements: `"01"` and `"02"`.
        repetitions: `"01"` and `"02"`.
        frames: length of each video.
        width: of the picture in pixels, even.
        height: of the picture in pixels, even.
        seed: another seed gives other people.

    Returns:
        One row a video: `path, subject, emotion, sex, intensity, modality, channel, statement, repetition,
        frames`.

    Raises:
        InputError: if an emotion is not one of RAVDESS.
    """
    _check_emotions(emotions, RAVDESS_EMOTIONS)
    # With its macroblock tree x264 writes other bytes for the same pictures on some processors.
    options = {"crf": "18", "preset": "veryfast", "x264-params": "mbtree=0"}
    camera = _Camera(width, height, Fraction(30000, 1001), "libx264", options)
    rows = []
    for actor, emotion, strength, statement, repetition in product(
        actors, emotions, intensities, statements, repetitions
    ):
        if emotion == "neutral" and strength == "02":
            continue
        who = make_identity(actor, seed)
        intensity = "strong" if strength == "02" else "normal"
        code = f"{RAVDESS_EMOTIONS.index(emotion) + 1:02d}"
        first: Path | None = None
        for modality in modalities:
            parts = (modality, channel, code, strength, statement, repetition, f"{actor:02d}")
            path = f"Actor_{actor:02d}/{'-'.join(parts)}.mp4"
            if first is None:
                first = Path(root) / path
                camera.film(first, who, emotion, int(channel + statement + repetition), intensity, frames, seed)
            else:
                shutil.copyfile(first, Path(root) / path)
            rows.append(
                {
                    "path": path,
                    "subject": f"{actor:02d}",
                    "emotion": emotion,
                    "sex": who.sex,
                    "intensity": intensity,
                    "modality": modality,
                    "channel": channel,
                    "statement": statement,
                    "repetition": repetition,
                    "frames": frames,
                }
            )
    _mark(root)
    return pd.DataFrame(rows)


def write_enterface(
    root: str | Path,
    *,
    subjects: Sequence[int] = (1, 2),
    emotions: Sequence[str] = tuple(ENTERFACE_EMOTIONS),
    sentences: Sequence[int] = (1, 2, 3, 4, 5),
    oddities: bool = False,
    frames: int = 30,
    width: int = 720,
    height: int = 576,
    seed: int = 0,
) -> pd.DataFrame:
    """Write videos as eNTERFACE'05 has them: `subject N/<emotion>/sentence K/*.avi`, MPEG-4, 25 fps.

    Args:
        root: folder to write into; made if absent.
        subjects: numbers of the subjects.
        emotions: some of `ENTERFACE_EMOTIONS`.
        sentences: some of 1 to 5.
        oddities: whether to repeat the irregularities of the archive in the subjects that have them: subject
            6 has one clip an emotion and no sentence folders, files of subject 3 are called `s_3_xx_k`, those
            of subject 11 `s12_*`, one of subject 16 is `s16_su_3avi.avi`; sentences 1 and 2 of subject 2's
            anger lie in each other's folder, subject 23 has two clips of happiness; in every subject the first
            disgust sentence lies one folder deeper, and every emotion folder holds a `Thumbs.db`.
        frames: length of each video.
        width: of the picture in pixels, even.
        height: of the picture in pixels, even.
        seed: another seed gives other people.

    Returns:
        One row a video: `path, subject, emotion, sex, sentence, frames`, the sentence being the one that is
        said, wherever it lies; with `oddities` that of subject 6 is missing.

    Raises:
        InputError: if an emotion is not one of eNTERFACE'05.
    """
    _check_emotions(emotions, ENTERFACE_EMOTIONS)
    camera = _Camera(width, height, Fraction(25), "mpeg4", MPEG4_QUALITY)
    rows = []
    for subject, emotion, sentence in product(subjects, emotions, sentences):
        unsegmented = oddities and subject == 6
        if unsegmented and sentence != sentences[0]:
            continue
        if oddities and (subject, emotion) == (23, "happiness") and sentence not in sentences[:2]:
            continue
        swapped = oddities and (subject, emotion) == (2, "anger") and sentence in (1, 2)
        said = 3 - sentence if swapped else sentence
        folder = f"subject {subject}/{emotion}"
        name = f"s{subject}_{ENTERFACE_EMOTIONS[emotion]}_{sentence}.avi"
        if unsegmented:
            name = f"s6_{ENTERFACE_EMOTIONS[emotion]}.avi"
        else:
            folder += f"/sentence {sentence}"
        if oddities and not unsegmented:
            folder, name = _enterface_oddity(folder, name, subject, emotion, sentence, sentences[0])
        path = f"{folder}/{name}"
        who = make_identity(subject, seed)
        camera.film(Path(root) / path, who, emotion, said, "strong", frames, seed)
        if oddities:
            (Path(root) / f"subject {subject}/{emotion}/Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
        rows.append(
            {
                "path": path,
                "subject": str(subject),
                "emotion": emotion,
                "sex": who.sex,
                "sentence": pd.NA if unsegmented else said,
                "frames": frames,
            }
        )
    _mark(root)
    return pd.DataFrame(rows).astype({"sentence": "Int64"})


def _enterface_oddity(
    folder: str, name: str, subject: int, emotion: str, sentence: int, first_sentence: int
) -> tuple[str, str]:
    """Folder and name as the archive has them instead of as it should."""
    code = ENTERFACE_EMOTIONS[emotion]
    if subject == 3:
        name = f"s_3_{code}_{sentence}.avi"
    elif subject == 11:
        name = f"s12_{code}_{sentence}.avi"
    elif subject == 16 and (emotion, sentence) == ("surprise", 3):
        name = "s16_su_3avi.avi"
    if (emotion, sentence) == ("disgust", first_sentence):
        folder += f"/sentence {sentence}"
    return folder, name


def write_ised(
    root: str | Path,
    *,
    participants: Sequence[int] = (1, 2),
    emotions: Sequence[str] = ISED_EMOTIONS,
    clips: int = 1,
    frames: int = 30,
    width: int = 1920,
    height: int = 1080,
    seed: int = 0,
) -> pd.DataFrame:
    """Write videos, peak frames and annotations as ISED has them.

    `videos/PS <participant>/<clip>.avi`, `peakImages/<participant>_<clip>_<peak frame>.jpg`, and
    `ISED_details.mat` with one row of sixteen cells a clip; the peak frame counts from 1.

    Args:
        root: folder to write into; made if absent.
        participants: numbers of the participants, odd for men and even for women.
        emotions: some of `ISED_EMOTIONS`.
        clips: clips of each participant in each emotion.
        frames: length of each video.
        width: of the picture in pixels, even.
        height: of the picture in pixels, even.
        seed: another seed gives other people.

    Returns:
        One row a video: `path, subject, emotion, sex, intensity, spectacles, beard, peak_frame, peak_path,
        frames`, and `left_eye_x, left_eye_y, right_eye_x, right_eye_y` in the peak frame, left and right as
        the picture shows them.

    Raises:
        InputError: if an emotion is not one of ISED.
    """
    _check_emotions(emotions, ISED_EMOTIONS)
    camera = _Camera(width, height, Fraction(50), "mpeg4", MPEG4_QUALITY)
    rows, cells = [], []
    for participant in participants:
        who = make_identity(participant, seed)
        for number, (emotion, take) in enumerate(product(emotions, range(clips)), start=1):
            path = f"videos/PS {participant}/{number}.avi"
            clip = camera.film(Path(root) / path, who, emotion, take, "normal", frames, seed)
            peak = frames // 2
            peak_path = f"peakImages/{participant}_{number}_{peak + 1}.jpg"
            (Path(root) / peak_path).parent.mkdir(exist_ok=True)
            (Path(root) / peak_path).write_bytes(_jpeg(clip.images[peak]))
            left, right = clip.eyes[peak].astype(float)
            across = right - left
            nose = (left + right) / 2 + 0.6 * np.array([-across[1], across[0]])  # in eye distances below the eyes
            rows.append(
                {
                    "path": path,
                    "subject": str(participant),
                    "emotion": emotion,
                    "sex": who.sex,
                    "intensity": 1,
                    "spectacles": who.spectacles,
                    "beard": who.beard,
                    "peak_frame": peak + 1,
                    "peak_path": peak_path,
                    "frames": frames,
                    "left_eye_x": left[0],
                    "left_eye_y": left[1],
                    "right_eye_x": right[0],
                    "right_eye_y": right[1],
                }
            )
            annotated = (
                int(who.spectacles),
                int(who.beard),
                0,
                clip.boxes[peak].astype(float),
                left,
                right,
                nose,
            )
            label = ISED_EMOTIONS.index(emotion) + 1
            named = (participant, f"PS {participant}", number, peak + 1, path, peak_path, label, 1, who.sex)
            cells.append([*named, *annotated])
    table = np.empty((len(cells), 16), dtype=object)
    for row, values in enumerate(cells):
        for column, value in enumerate(values):
            table[row, column] = value
    savemat(Path(root) / "ISED_details.mat", {"ISED_details": table})
    _mark(root)
    return pd.DataFrame(rows)


def write_hf_parquet(
    path: str | Path,
    *,
    rows: int = 16,
    size: int = 96,
    text_qa: bool = False,
    bad_rows: bool = False,
    copies: int = 1,
    seed: int = 0,
) -> pd.DataFrame:
    """Write pictures as `tukey/human_face_emotions_roboflow` has them: a parquet file with `image` and `qa`.

    Args:
        path: file to write; its folder is made if absent.
        rows: good pictures, the classes of `HF_EMOTIONS` by turns.
        size: width and height of the pictures, in pixels.
        text_qa: write `qa` as text, by turns as JSON and as a Python tuple, instead of as a list of structs.
        bad_rows: add four rows nothing can be learned from: no picture, a broken picture, no answer, an
            unknown emotion.
        copies: write each picture so often, each copy mirrored or brighter as data exported after augmentation is.
        seed: another seed gives other people.

    Returns:
        One row a row of the file: `path` of the picture as the file names it, `emotion`, and `usable`.
    """
    written: list[dict[str, Any]] = []
    images: list[bytes] = []
    answers: list[str | None] = []
    for number, (take, emotion) in enumerate(islice(product(range(rows), HF_EMOTIONS), rows)):
        who = make_identity(1 + (number + number // len(HF_EMOTIONS)) % 24, seed)  # everyone acts every emotion
        clip = render_crops(
            who, _ACTED_AS.get(emotion, emotion), take=take, frames=30, size=size, seed=seed, times=[15]
        )
        for copy in range(copies):
            image = clip.images[0][:, ::-1] if copy % 2 else clip.images[0]
            images.append(_jpeg(cv2.convertScaleAbs(image, alpha=1 + 0.1 * (copy // 2))))
            # Answers are typed by people: some have capitals and blanks.
            answers.append(f" {emotion.capitalize()} " if number % 3 == 2 else emotion)
            written.append({"path": f"{len(written):04d}.jpg", "emotion": emotion, "usable": True})
    if bad_rows:
        good = images[0]
        for image, answer in (
            (b"", "happy"),
            (good[: len(good) // 50], "sad"),
            (good, None),
            (good, "confused"),
        ):
            images.append(image)
            answers.append(answer)
            written.append({"path": f"{len(written):04d}.jpg", "emotion": answer, "usable": False})
    asked = [[] if answer is None else [{"question": PICTURE_QUESTION, "answer": answer}] for answer in answers]
    qa_type = pa.list_(pa.struct([("question", pa.string()), ("answer", pa.string())]))
    qa = pa.array(asked, type=qa_type)
    if text_qa:
        texts = [json.dumps(pairs) if row % 2 == 0 else str(tuple(pairs)) for row, pairs in enumerate(asked)]
        qa = pa.array(texts, type=pa.string())
    image_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pictures = [{"bytes": image, "path": row["path"]} for image, row in zip(images, written, strict=True)]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": pa.array(pictures, type=image_type), "qa": qa}), path)
    _mark(Path(path).parent)
    return pd.DataFrame(written)


def _mark(folder: str | Path) -> None:
    (Path(folder) / RENDERED).write_text("These people do not exist: fervid rendered them.\n", encoding="utf-8")


def _check_emotions(emotions: Sequence[str], known: Sequence[str] | dict[str, str]) -> None:
    for emotion in emotions:
        if emotion not in known:
            raise InputError(f"there is no emotion {emotion!r} in this corpus: take some of {', '.join(known)}.")


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
