"""Writes pictures and answers in the format of the Hugging Face faces."""

from __future__ import annotations

import json
from itertools import islice, product
from pathlib import Path
from typing import Any

import cv2
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from fervid.synthetic.rendering import make_identity, render_crops
from rendered_corpora.filming import ACTED_AS, jpeg, mark

HF_EMOTIONS = ("anger", "content", "disgust", "fear", "happy", "neutral", "sad", "surprise")
PICTURE_QUESTION = "What is the emotion of the person in the picture?"


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
    """Write pictures in the format of `tukey/human_face_emotions_roboflow`: a Parquet file with `image` and `qa`.

    Args:
        path: File to write; its folder is created if missing.
        rows: Number of valid pictures; the classes of `HF_EMOTIONS` alternate.
        size: Width and height of the pictures in pixels.
        text_qa: Whether to write `qa` as text, alternately as JSON and as a Python tuple, not as a list of structs.
        bad_rows: Whether to add four unusable rows: no picture, a broken picture, no answer, an unknown emotion.
        copies: Number of copies of each picture; copies are mirrored or brighter, like augmented data.
        seed: Random seed of the rendered subjects.

    Returns:
        One row per row of the file: `path` of the picture in the file, `emotion`, and `usable`.
    """
    written: list[dict[str, Any]] = []
    images: list[bytes] = []
    answers: list[str | None] = []
    for number, (take, emotion) in enumerate(islice(product(range(rows), HF_EMOTIONS), rows)):
        who = make_identity(1 + (number + number // len(HF_EMOTIONS)) % 24, seed)  # every subject has every emotion
        clip = render_crops(who, ACTED_AS.get(emotion, emotion), take=take, frames=30, size=size, seed=seed, times=[15])
        for copy in range(copies):
            image = clip.images[0][:, ::-1] if copy % 2 else clip.images[0]
            images.append(jpeg(cv2.convertScaleAbs(image, alpha=1 + 0.1 * (copy // 2))))
            # Answers were typed by people, so some have capitals and spaces.
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
    mark(Path(path).parent)
    return pd.DataFrame(written)
