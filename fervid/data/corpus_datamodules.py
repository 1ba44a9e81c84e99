"""The datamodules of the corpora: each is a :class:`FrameDataModule` of one corpus and the settings that prepare it."""

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from fervid.corpora import ENTERFACE, ISED, RAVDESS, HFFaces, ImageFolder, VideoFolder
from fervid.corpora.corpus import Corpus
from fervid.data.frame_datamodule import DEFAULT_CACHE, FrameDataModule
from fervid.errors import InputError
from fervid.faces.detection import Detector
from fervid.prepare.prepared_corpus import PreparedCorpus
from fervid.synthetic.corpus import RenderedSubjects

_LOADING = {name: each for name, each in inspect.signature(FrameDataModule).parameters.items() if name != "sources"}


class CorpusDataModule(FrameDataModule):
    """Serves the faces of a corpus of videos or pictures, which it prepares when that has not been done.

    Args:
        corpus: the class of the corpus, or its full name such as ``fervid.corpora.RAVDESS``.
        detector: see :class:`fervid.prepare.prepared_corpus.PreparedCorpus`.
        frame_stride: likewise, as the following ones.
        frames_per_clip: frames per clip, instead of ``frame_stride``.
        window: ``all`` or ``centre``.
        face_size: side of the crops in pixels.
        margin: share of the bare face added on each side.
        max_failures: share of the files that may fail.
        prepared_dir: where prepared corpora lie; ``prepared`` in the cache unless given.
        cache_dir: see :class:`FrameDataModule`.
        **options: those of :class:`FrameDataModule`; all others are the corpus's own, such as ``root``.

    Attributes:
        prepared: the corpus with these settings.

    Raises:
        InputError: if a setting cannot be used, the corpus cannot be prepared, or an option of its own has the name of
            one of the settings above.
    """

    def __init__(
        self,
        corpus: type[Corpus] | str,
        *,
        detector: Detector | None = None,
        frame_stride: int = 10,
        frames_per_clip: int | None = None,
        window: Literal["all", "centre"] = "all",
        face_size: int = 256,
        margin: float = 0.15,
        max_failures: float = 0.1,
        prepared_dir: str | Path | None = None,
        cache_dir: str | Path = DEFAULT_CACHE,
        **options: Any,
    ):
        found = _find(corpus)
        settings = {**_LOADING, **inspect.signature(CorpusDataModule).parameters}
        settings.pop("options", None)  # no setting, but all others
        own = inspect.signature(found).parameters
        if taken := [name for name in own if name in settings and own[name].kind is not inspect.Parameter.VAR_KEYWORD]:
            raise InputError(
                f"{found.__name__} has an option {taken[0]!r}, which would never reach it, as a setting of every "
                "corpus has that name: rename the option."
            )
        loading = {name: options.pop(name) for name in _LOADING.keys() & set(options)}
        self.prepared = PreparedCorpus(
            found(**options),
            detector=detector,
            frame_stride=frame_stride,
            frames_per_clip=frames_per_clip,
            window=window,
            face_size=face_size,
            margin=margin,
            max_failures=max_failures,
            folder=prepared_dir or Path(cache_dir, "prepared"),
        )
        super().__init__([self.prepared], cache_dir=cache_dir, **loading)


def _find(corpus: type[Corpus] | str) -> type[Corpus]:
    if not isinstance(corpus, str):
        return corpus
    module, _, name = corpus.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"dataset.corpus={corpus} cannot be imported: {error}.") from error
    if not (isinstance(found, type) and issubclass(found, Corpus)):
        raise InputError(f"dataset.corpus={corpus} is not a corpus: give a subclass of fervid.corpora.corpus.Corpus.")
    return found


class RAVDESSDataModule(CorpusDataModule):
    """RAVDESS (options: :class:`fervid.corpora.ravdess.RAVDESS` and :class:`CorpusDataModule`)."""

    def __init__(self, root: str | Path | None, **options: Any):
        super().__init__(RAVDESS, root=root, **options)


class ENTERFACEDataModule(CorpusDataModule):
    """eNTERFACE'05 (options: :class:`fervid.corpora.enterface.ENTERFACE` and :class:`CorpusDataModule`)."""

    def __init__(self, root: str | Path | None, **options: Any):
        super().__init__(ENTERFACE, root=root, **options)


class ISEDDataModule(CorpusDataModule):
    """ISED (options: :class:`fervid.corpora.ised.ISED` and :class:`CorpusDataModule`)."""

    def __init__(self, root: str | Path | None, **options: Any):
        super().__init__(ISED, root=root, **options)


class HFFacesDataModule(CorpusDataModule):
    """Hugging Face faces (options: :class:`fervid.corpora.hf_faces.HFFaces` and :class:`CorpusDataModule`)."""

    def __init__(self, root: str | Path | None = None, **options: Any):
        super().__init__(HFFaces, root=root, **options)


class ImageFolderDataModule(CorpusDataModule):
    """One's own pictures (options: :class:`fervid.corpora.labelled_folder.ImageFolder` and CorpusDataModule)."""

    def __init__(self, root: str | Path | None, **options: Any):
        super().__init__(ImageFolder, root=root, **options)


class VideoFolderDataModule(CorpusDataModule):
    """One's own videos (options: :class:`fervid.corpora.labelled_folder.VideoFolder` and CorpusDataModule)."""

    def __init__(self, root: str | Path | None, **options: Any):
        super().__init__(VideoFolder, root=root, **options)


class SyntheticDataModule(FrameDataModule):
    """Rendered subjects who act eight emotions while they talk (:class:`fervid.synthetic.corpus.RenderedSubjects`).

    Args:
        identities: how many subjects.
        clips: clips of each subject in each emotion.
        frames: frames of each clip.
        render_seed: another seed draws other subjects.
        **options: those of :class:`FrameDataModule`.

    Raises:
        InputError: if a number is out of range.
    """

    def __init__(self, *, identities: int = 24, clips: int = 3, frames: int = 4, render_seed: int = 0, **options: Any):
        super().__init__([RenderedSubjects(identities, clips, frames, render_seed)], **options)
