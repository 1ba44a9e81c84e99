"""tukey/human_face_emotions_roboflow: pictures of faces in eight emotions, as a Parquet file on Hugging Face."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fervid.corpora.corpus import Corpus
from fervid.corpora.inventory import Inventory
from fervid.errors import InputError, first_line
from fervid.media.files import File, Listing, list_files, stamp
from fervid.schema.emotions import shared_name

REPO = "tukey/human_face_emotions_roboflow"
COUNTS = {
    "surprise": 1238,
    "neutral": 1225,
    "sad": 1184,
    "fear": 1181,
    "anger": 1175,
    "disgust": 1165,
    "content": 1144,
    "happy": 1088,
}
NAMES = {shared_name(emotion): emotion for emotion in COUNTS}
BATCH_ROWS = 64  # rows in memory at once
BUFFER_BYTES = 2**20  # read at once


class HFFaces(Corpus):
    """The 9,400 pictures of ``tukey/human_face_emotions_roboflow`` on Hugging Face.

    Each row has a picture and questions with answers; the first answer is the emotion. Subjects are unknown.

    Args:
        root: Path to the Parquet file or to a folder with one or more of them; None: download it.
        repo: name of the dataset on Hugging Face to download.

    Raises:
        InputError: if there is no Parquet file, or it cannot be downloaded.
    """

    name = "hf_faces"
    licence = "not stated by its publisher"
    citation = f"{REPO}, Hugging Face. https://huggingface.co/datasets/{REPO}"
    expressions = (
        "come from a collection that does not state whether they are acted or spontaneous, which look different."
    )
    pictures = True

    def __init__(self, root: str | Path | None = None, *, repo: str = REPO):
        super().__init__(repo if root is None else root)
        self.repo = repo if root is None else None

    def read(self) -> Inventory:
        """Reads the labels and checks that each row has a picture; pictures are decoded later."""
        if self.repo:
            self.root = _download(self.repo)
        rows, files, dropped = [], [], []
        parquets = self._parquets()
        for parquet in parquets.files:
            for number, (size, qa) in enumerate(_read_labels(parquet.source)):
                path = f"{parquet.path}/{number}"
                try:
                    emotion = read_label(qa)
                    if not size:
                        raise ValueError("no picture")
                except ValueError as error:
                    dropped.append((path, first_line(error)))
                    continue
                rows.append({"clip": path, "subject": None, "emotion": emotion})
                files.append(File(path, parquet.source, parquet.stamp))
        return Inventory(
            pd.DataFrame(rows, columns=["clip", "subject", "emotion"]),
            files,
            expected=dict(COUNTS),
            notes=parquets.notes,
            left_out=parquets.left_out,
            dropped=pd.DataFrame(dropped, columns=["path", "reason"]),
        )

    def sources(self) -> Iterator[bytes]:
        """Yields the encoded pictures in the order of the rows, with a few in memory at a time."""
        used = {file.path for file in self.inventory.files}
        for parquet in self._parquets().files:
            for number, picture in enumerate(_read_pictures(parquet.source)):
                if f"{parquet.path}/{number}" in used:
                    yield picture.as_py()

    def _parquets(self) -> Listing:
        if self.root.is_file():
            return Listing([File(self.root.name, self.root, stamp(self.root))])
        listing = list_files(self.root, {".parquet"})
        # Zipped Parquet files could only be read as a whole.
        zipped = [file.path for file in listing.files if not isinstance(file.source, Path)]
        listing.files = [file for file in listing.files if isinstance(file.source, Path)]
        listing.leave_out("zipped (unpack them)", zipped)
        if not listing.files:
            raise InputError(
                f"dataset.root={self.root} has no .parquet file: give that of {REPO}. {' '.join(listing.notes)}".strip()
            )
        return listing


def read_label(qa: Any) -> str:
    """Returns the emotion from the questions and answers of a row.

    Args:
        qa: a list of questions with answers, each a dict or a pair; or a single one of them; or a dict of lists; or any
            of these as JSON or Python text.

    Returns:
        The first answer, in the corpus's spelling: ``happiness`` becomes ``happy``.

    Raises:
        ValueError: if there is no answer, or it is not one of the eight emotions.
    """
    match _plain(qa):
        case (
            {"answer": str(answer) | [str(answer), *_]}
            | [{"answer": str(answer) | [str(answer), *_]}, *_]
            | [[{"answer": str(answer)}, *_], *_]
            | [[str() | None, str(answer)], *_]
            | [str(), str(answer)]
        ) if answer.strip():
            emotion = NAMES.get(shared_name(answer))
            if emotion is None:
                raise ValueError(f"label {answer.strip()[:40]!r} is unknown")
            return emotion
        case None | "" | [] | [None | [] | "", *_] | {"answer": _} | [{"answer": _}, *_] | [[_, str() | None], *_]:
            raise ValueError("no answer")
        case _:
            raise ValueError("qa has no questions and answers")


def _plain(qa: Any) -> Any:
    """Converts text and arrays to the lists and dicts that they represent."""
    if isinstance(qa, np.ndarray):
        return _plain(qa.tolist())
    if isinstance(qa, bytes):
        return _plain(qa.decode(errors="replace"))
    if isinstance(qa, dict):
        return {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in qa.items()}
    if not isinstance(qa, str) or not qa.strip():
        return qa.strip() if isinstance(qa, str) else qa
    text = re.sub(r"^array\((.*?)(,\s*dtype=\w+)?\)$", r"\1", qa.strip(), flags=re.DOTALL)
    text = re.sub(r"\}\s+\{", "}, {", text)  # NumPy prints arrays without commas
    for parse in (json.loads, ast.literal_eval):
        try:
            return _plain(parse(text))
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    raise ValueError("qa cannot be parsed")


def _download(repo: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repo, repo_type="dataset", allow_patterns="*.parquet"))
    except Exception as error:  # the hub, its HTTP library and the disk raise different types
        raise InputError(
            f"{repo} cannot be downloaded from Hugging Face ({first_line(error)}): download its Parquet file on a "
            "machine with network access and give dataset.root=<file or folder>."
        ) from error


def _read_labels(path: Any) -> Iterator[tuple[int, Any]]:
    """Yields the number of bytes of the picture and the questions and answers of each row."""
    for batch in _batches(path, ["image", "qa"]):
        sizes = pc.fill_null(pc.binary_length(_bytes(batch.column("image"))), 0)
        yield from zip(sizes.to_pylist(), batch.column("qa").to_pylist(), strict=True)


def _read_pictures(path: Any) -> Iterator[pa.Scalar]:
    for batch in _batches(path, ["image"]):
        yield from _bytes(batch.column("image"))


def _bytes(image: pa.Array) -> pa.Array:
    return pc.struct_field(image, "bytes") if pa.types.is_struct(image.type) else image


def _batches(path: Any, columns: list[str]) -> Iterator[pa.RecordBatch]:
    try:
        # Without these options the whole file would be read ahead and kept in memory.
        with pq.ParquetFile(path, buffer_size=BUFFER_BYTES, pre_buffer=False) as file:
            _check(path, file.schema_arrow)
            yield from file.iter_batches(BATCH_ROWS, columns=columns, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"{path} cannot be read as Parquet ({first_line(error)}): download it again, or give another dataset.root."
        ) from error


def _check(path: Any, schema: pa.Schema) -> None:
    absent = [name for name in ("image", "qa") if name not in schema.names]
    if absent:
        raise InputError(
            f"{path} has the columns {', '.join(schema.names)}, but no {' and no '.join(absent)}: give the "
            f"Parquet file of {REPO}."
        )
    kind = schema.field("image").type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise InputError(
            f"{path} has the type {kind} in its column image: bytes, or a struct with bytes, are expected."
        )
