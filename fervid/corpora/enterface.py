"""eNTERFACE'05: 44 people who say five sentences in each of six emotions."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from fervid.corpora.corpus import Corpus
from fervid.corpora.inventory import Inventory, choose_people, note
from fervid.errors import InputError
from fervid.media.files import File, list_files
from fervid.media.formats import VIDEO_SUFFIXES
from fervid.schema.emotions import choose, shared_name

EMOTIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
SUBJECTS = tuple(range(1, 45))
SENTENCES = tuple(range(1, 6))
UNSEGMENTED = 6  # this subject's clips are not cut into sentences
FEW_HAPPY = 23  # this subject has two clips of happiness; which sentences they are is not known
FOLDERS = {name: emotion for emotion in EMOTIONS for name in (emotion, shared_name(emotion))}
SUBJECT = re.compile(r"subject[ _]*(\d+)(\.zip)?", re.IGNORECASE)
SENTENCE = re.compile(r"sentence[ _]*(\d+)", re.IGNORECASE)
NAME = re.compile(r"s_?(\d+)_([a-z]{2})(?:_(\d))?(?:avi)?", re.IGNORECASE)


class ENTERFACE(Corpus):
    """The eNTERFACE'05 Audio-Visual Emotion Database (Martin, Kotsia, Macq & Pitas 2006).

    Subject, emotion and sentence are those of the folders ``subject N/<emotion>/sentence K``, wherever these lie, in
    zips too; names of files are not to be trusted: all of subject 11's say 12. In subject 2's anger the folders of
    sentences 1 and 2 are swapped, which is put right.

    Args:
        root: the folder that holds the folders of the subjects or zips of them.
        emotions: some of the six; None: all.
        subjects: numbers of some subjects; None: all 44.
        unsegmented: take the clips of subject 6, which are not cut into sentences.

    Raises:
        InputError: if an option is unknown, or nothing of what it asks for is there.
    """

    name = "enterface"
    licence = "for research, from the authors (enterface.net); no redistribution"
    citation = (
        "O. Martin, I. Kotsia, B. Macq, I. Pitas: The eNTERFACE'05 Audio-Visual Emotion Database. "
        "ICDE Workshops, 2006. https://doi.org/10.1109/ICDEW.2006.145"
    )
    expressions = "are acted on request, by people who are no actors, after hearing a story."

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
        self.subjects = choose_people(subjects, SUBJECTS, "subjects")
        if subjects is not None and UNSEGMENTED in self.subjects and not unsegmented:
            raise InputError(
                f"dataset.subjects={subjects} asks for subject 6, whose clips are not cut into sentences: give "
                "dataset.unsegmented=true, or leave subject 6 out."
            )
        self.unsegmented = unsegmented
        self.named = {"emotions": sorted(self.emotions)} if emotions is not None else {}
        self.named |= {"subjects": [str(number) for number in sorted(self.subjects)]} if subjects is not None else {}

    def choices(self) -> dict[str, Any]:
        return {
            "emotions": sorted(self.emotions),
            "subjects": sorted(self.subjects),
            "unsegmented": self.unsegmented,
        }

    def read(self) -> Inventory:
        """Parses folders; of a clip that lies there twice (zipped and unpacked) the first is taken."""
        listing = list_files(self.root, VIDEO_SUFFIXES)
        videos: dict[tuple[str, ...], _Video] = {}
        stray: list[str] = []
        twice: list[str] = []
        for file in listing.files:
            video = _parse(file)
            if video is None:
                stray.append(file.path)
            else:
                twice += [file.path] if video.place in videos else []
                videos.setdefault(video.place, video)
        asked = [v for v in videos.values() if v.emotion in self.emotions and v.subject in self.subjects]
        wanted = [video for video in asked if self.unsegmented or video.sentence]
        if videos and not wanted:
            people = ", ".join(str(subject) for subject in sorted({video.subject for video in videos.values()}))
            raise InputError(
                f"{self.root} holds {len(videos)} videos of subjects {people}, but none that dataset.emotions, "
                "subjects and unsegmented ask for."
            )
        wanted.sort(key=lambda video: (video.subject, video.emotion, video.sentence or 0, video.file.path))
        clips = pd.DataFrame(
            {
                "clip": [_name(video.subject, video.emotion, video.sentence) for video in wanted],
                "subject": [str(video.subject) for video in wanted],
                "emotion": [video.emotion for video in wanted],
                "sentence": pd.array([video.said for video in wanted], dtype="Int64"),
            }
        )
        named = set(clips["clip"])
        take = clips.groupby("clip").cumcount() + 1
        clips["clip"] = clips["clip"].where(take == 1, clips["clip"] + "-take" + take.astype(str))
        expected = [key for key in _complete(self.unsegmented) if key[0] in self.subjects and key[1] in self.emotions]
        doubles = [video.file.path for video, number in zip(wanted, take, strict=True) if number > 1]
        listing.leave_out("in no folder of a subject and an emotion", stray)
        listing.leave_out("second copies", twice)
        listing.leave_out(
            "not cut into sentences (dataset.unsegmented=true takes them)",
            [video.file.path for video in asked if not (self.unsegmented or video.sentence)],
        )
        notes = [
            *note(
                "named after another subject, emotion or sentence than their folders, which are believed",
                [video.file.path for video in wanted if video.misnamed],
            ),
            *note(
                "in the folder of another sentence than is said, put right",
                [video.file.path for video in wanted if video.said != video.sentence],
            ),
            *note("second in the folder of a sentence, clips of their own", doubles),
        ]
        there = {video.subject for video in wanted}
        missing = [key for key in expected if _name(*key) not in named and key[:2] != (FEW_HAPPY, "happiness")]
        return Inventory(
            clips,
            [video.file for video in wanted],
            expected=dict(Counter(emotion for _, emotion, _ in expected)),
            expected_subjects=dict(Counter(str(subject) for subject, _, _ in expected)),
            named=self.named,
            missing=[_name(*key) for key in sorted(missing, key=lambda key: key[0] not in there)],
            notes=listing.notes + notes,
            left_out=listing.left_out,
        )


@dataclass(frozen=True)
class _Video:
    """A file, and what its folders say."""

    file: File
    place: tuple[str, ...]  # from the subject's folder on, without suffix: the same for a copy elsewhere
    subject: int
    emotion: str
    sentence: int | None  # as the folder has it

    @property
    def said(self) -> int | None:
        """The sentence that is really spoken."""
        swapped = (self.subject, self.emotion) == (2, "anger") and self.sentence in (1, 2)
        return 3 - self.sentence if swapped and self.sentence else self.sentence

    @property
    def misnamed(self) -> bool:
        """Whether the name of the file says something else."""
        name = NAME.fullmatch(self.file.stem)
        if name is None:
            return False
        subject, code, sentence = name.groups()
        return (int(subject), code.lower()) != (self.subject, self.emotion[:2]) or (
            sentence is not None and int(sentence) != self.sentence
        )


def _parse(file: File) -> _Video | None:
    """Reads the folders of a file; None if they name no subject or no emotion."""
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
    """Name of a clip, after its folders."""
    return f"s{subject}-{emotion}" + (f"-{sentence}" if sentence else "")


def _complete(unsegmented: bool) -> list[tuple[int, str, int | None]]:
    """Subject, emotion and sentence of all clips that there should be."""
    clips: list[tuple[int, str, int | None]] = []
    for subject, emotion in product(SUBJECTS, EMOTIONS):
        if subject == UNSEGMENTED:
            clips += [(subject, emotion, None)] if unsegmented else []
        else:
            few = (subject, emotion) == (FEW_HAPPY, "happiness")
            clips += [(subject, emotion, sentence) for sentence in (SENTENCES[:2] if few else SENTENCES)]
    return clips
