"""eNTERFACE'05: 44 subjects say five sentences in each of six emotions."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from fervid.corpora.corpus import Corpus
from fervid.corpora.inventory import Inventory, choose_subjects, note
from fervid.errors import InputError
from fervid.media.files import File, list_files
from fervid.media.formats import VIDEO_SUFFIXES
from fervid.schema.emotions import choose, shared_name

EMOTIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
SUBJECTS = tuple(range(1, 45))
SENTENCES = tuple(range(1, 6))
UNSEGMENTED = 6  # subject whose recordings are not segmented into sentences
TWO_HAPPY_CLIPS = 23  # subject with only two clips of happiness; their sentences are unknown
FOLDERS = {name: emotion for emotion in EMOTIONS for name in (emotion, shared_name(emotion))}
SUBJECT = re.compile(r"subject[ _]*(\d+)(\.zip)?", re.IGNORECASE)
SENTENCE = re.compile(r"sentence[ _]*(\d+)", re.IGNORECASE)
NAME = re.compile(r"s_?(\d+)_([a-z]{2})(?:_(\d))?(?:avi)?", re.IGNORECASE)


class ENTERFACE(Corpus):
    """The eNTERFACE'05 Audio-Visual Emotion Database (Martin, Kotsia, Macq & Pitas 2006).

    Subject, emotion and sentence are taken from the folders ``subject N/<emotion>/sentence K``, at any depth and in
    zips too. File names are not used, since they are not reliable: all files of subject 11 are named after subject 12.
    For subject 2 and anger, the folders of sentences 1 and 2 are swapped; this is corrected.

    Args:
        root: Path to the folder with the subject folders or zips of them.
        emotions: emotions to use; None: all six.
        subjects: numbers of the subjects to use; None: all 44.
        unsegmented: whether to include the clips of subject 6, which are not segmented into sentences.

    Raises:
        InputError: if an option is invalid or selects no clips.
    """

    name = "enterface"
    licence = "for research, from the authors (enterface.net); no redistribution"
    citation = (
        "O. Martin, I. Kotsia, B. Macq, I. Pitas: The eNTERFACE'05 Audio-Visual Emotion Database. "
        "ICDE Workshops, 2006. https://doi.org/10.1109/ICDEW.2006.145"
    )
    expressions = "are acted on request by people who are not actors, after hearing a story."

    def __init__(
        self,
        root: str | Path | None,
        *,
        emotions: Sequence[str] | None = None,
        subjects: Sequence[int] | None = None,
        unsegmented: bool = False,
    ):
        super().__init__(root)
        self.emotions = choose(emotions, EMOTIONS)
        self.subjects = choose_subjects(subjects, SUBJECTS)
        if subjects is not None and UNSEGMENTED in self.subjects and not unsegmented:
            raise InputError(
                f"dataset.subjects={subjects} includes subject 6, whose clips are not segmented into sentences: give "
                "dataset.unsegmented=true, or exclude subject 6."
            )
        self.unsegmented = unsegmented
        self.selected = {"emotions": sorted(self.emotions)} if emotions is not None else {}
        if subjects is not None:
            self.selected["subjects"] = [str(number) for number in sorted(self.subjects)]

    def choices(self) -> dict[str, Any]:
        return {
            "emotions": sorted(self.emotions),
            "subjects": sorted(self.subjects),
            "unsegmented": self.unsegmented,
        }

    def read(self) -> Inventory:
        """Parses the folders; if a clip is there twice (zipped and unpacked), the first one is used."""
        listing = list_files(self.root, VIDEO_SUFFIXES)
        videos: dict[tuple[str, ...], _Video] = {}
        misplaced: list[str] = []
        duplicates: list[str] = []
        for file in listing.files:
            video = _parse(file)
            if video is None:
                misplaced.append(file.path)
            else:
                duplicates += [file.path] if video.place in videos else []
                videos.setdefault(video.place, video)
        selected = [v for v in videos.values() if v.emotion in self.emotions and v.subject in self.subjects]
        used = [video for video in selected if self.unsegmented or video.sentence]
        if videos and not used:
            found = ", ".join(str(subject) for subject in sorted({video.subject for video in videos.values()}))
            raise InputError(
                f"{self.root} has {len(videos)} videos of subjects {found}, but none that dataset.emotions, subjects "
                "and unsegmented select: change these options."
            )
        used.sort(key=lambda video: (video.subject, video.emotion, video.sentence or 0, video.file.path))
        clips = pd.DataFrame(
            {
                "clip": [_name(video.subject, video.emotion, video.sentence) for video in used],
                "subject": [str(video.subject) for video in used],
                "emotion": [video.emotion for video in used],
                "sentence": pd.array([video.spoken for video in used], dtype="Int64"),
            }
        )
        names = set(clips["clip"])
        take = clips.groupby("clip").cumcount() + 1
        clips["clip"] = clips["clip"].where(take == 1, clips["clip"] + "-take" + take.astype(str))
        expected = [key for key in _complete(self.unsegmented) if key[0] in self.subjects and key[1] in self.emotions]
        second_takes = [video.file.path for video, number in zip(used, take, strict=True) if number > 1]
        listing.leave_out("not in a folder of a subject and an emotion", misplaced)
        listing.leave_out("duplicates", duplicates)
        listing.leave_out(
            "not segmented into sentences (dataset.unsegmented=true includes them)",
            [video.file.path for video in selected if not (self.unsegmented or video.sentence)],
        )
        notes = [
            *note(
                "named after another subject, emotion or sentence than their folders; the folders are used",
                [video.file.path for video in used if video.misnamed],
            ),
            *note(
                "in the folder of another sentence; corrected",
                [video.file.path for video in used if video.spoken != video.sentence],
            ),
            *note("further videos in the folder of a sentence; used as separate clips", second_takes),
        ]
        present = {video.subject for video in used}
        missing = [key for key in expected if _name(*key) not in names and key[:2] != (TWO_HAPPY_CLIPS, "happiness")]
        return Inventory(
            clips,
            [video.file for video in used],
            expected=dict(Counter(emotion for _, emotion, _ in expected)),
            expected_subjects=dict(Counter(str(subject) for subject, _, _ in expected)),
            selected=self.selected,
            missing=[_name(*key) for key in sorted(missing, key=lambda key: key[0] not in present)],
            notes=listing.notes + notes,
            left_out=listing.left_out,
        )


@dataclass(frozen=True)
class _Video:
    """A file with the subject, emotion and sentence of its folders."""

    file: File
    place: tuple[str, ...]  # path from the subject folder on, without suffix; equal for copies
    subject: int
    emotion: str
    sentence: int | None  # of the folder

    @property
    def spoken(self) -> int | None:
        """The sentence that is spoken, which may differ from that of the folder."""
        swapped = (self.subject, self.emotion) == (2, "anger") and self.sentence in (1, 2)
        return 3 - self.sentence if swapped and self.sentence else self.sentence

    @property
    def misnamed(self) -> bool:
        """Whether the file name disagrees with the folders."""
        name = NAME.fullmatch(self.file.stem)
        if name is None:
            return False
        subject, code, sentence = name.groups()
        return (int(subject), code.lower()) != (self.subject, self.emotion[:2]) or (
            sentence is not None and int(sentence) != self.sentence
        )


def _parse(file: File) -> _Video | None:
    """Parses the folders of a file; None if they name no subject or no emotion."""
    *folders, _ = re.split(r"[/\\]", file.path)  # zips packed on Windows may have backslashes
    at = [depth for depth, folder in enumerate(folders) if SUBJECT.fullmatch(folder)]
    if not at:
        return None
    subject = SUBJECT.fullmatch(folders[at[-1]])
    below = [folder.lower() for folder in folders[at[-1] + 1 :]]
    emotions = [FOLDERS[folder.strip()] for folder in below if folder.strip() in FOLDERS]
    sentences = [int(found[1]) for folder in below if (found := SENTENCE.fullmatch(folder.strip()))]
    if not subject or not emotions or int(subject[1]) not in SUBJECTS:
        return None
    place = (str(int(subject[1])), *below, file.stem.lower())
    return _Video(file, place, int(subject[1]), emotions[0], sentences[0] if sentences else None)


def _name(subject: int, emotion: str, sentence: int | None) -> str:
    """Returns the name of a clip, derived from its folders."""
    return f"s{subject}-{emotion}" + (f"-{sentence}" if sentence else "")


def _complete(unsegmented: bool) -> list[tuple[int, str, int | None]]:
    """Returns subject, emotion and sentence of all clips of the complete corpus."""
    clips: list[tuple[int, str, int | None]] = []
    for subject, emotion in product(SUBJECTS, EMOTIONS):
        if subject == UNSEGMENTED:
            clips += [(subject, emotion, None)] if unsegmented else []
        else:
            two_clips = (subject, emotion) == (TWO_HAPPY_CLIPS, "happiness")
            clips += [(subject, emotion, sentence) for sentence in (SENTENCES[:2] if two_clips else SENTENCES)]
    return clips
