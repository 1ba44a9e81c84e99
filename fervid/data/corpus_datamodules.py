"""Datamodules of the corpora: a :class:`EmotionDataModule` for one corpus with its preparation settings."""

import inspect
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from fervid.corpora import ENTERFACE, ISED, RAVDESS, FERPlus, HFFaces, ImageFolder, VideoFolder
from fervid.corpora.corpus import Corpus
from fervid.data.corpus_source import CorpusSource
from fervid.data.datamodule import DEFAULT_CACHE, EmotionDataModule
from fervid.data.samples import Sample
from fervid.errors import InputError
from fervid.faces.detection import Detector
from fervid.prepare.prepared_corpus import PreparedCorpus
from fervid.prepare.prepared_features import PreparedFeatures
from fervid.prepare.prepared_folder import PreparedFolder
from fervid.prepare.prepared_sounds import PreparedSounds
from fervid.synthetic.corpus import RenderedSubjects

_LOADING = {name: each for name, each in inspect.signature(EmotionDataModule).parameters.items() if name != "sources"}


class CorpusDataModule(EmotionDataModule):
    """Serves the faces, sounds or features of a corpus of files, and prepares the corpus if necessary.

    Args:
        corpus: class of the corpus, or its full name such as ``fervid.corpora.RAVDESS``.
        name: name of a corpus of your own files, among several; other corpora keep their names.
        detector: see :class:`fervid.prepare.prepared_corpus.PreparedCorpus`, also for the following arguments.
        frame_stride: use every ``frame_stride``-th frame of a video.
        frames_per_clip: number of frames per clip, instead of ``frame_stride``.
        window: ``all`` or ``centre``.
        face_size: side of the face crops in pixels.
        margin: margin on each side of the face, as a fraction of its size.
        no_face: ``leave_out`` or ``whole``, for pictures in which no face is found.
        features_path: path of a feature table, or a folder with one table per clip, for samples with features: see
            :func:`fervid.corpora.feature_tables.read_features`.
        feature_columns: columns to use, names or patterns such as ``AU*_r``; None: all numeric columns.
        max_failures: maximum fraction of files that may fail.
        prepared_dir: folder of prepared corpora. Default: the folder ``prepared`` in the cache.
        cache_dir: see :class:`EmotionDataModule`.
        **options: arguments of :class:`EmotionDataModule`, and options of the corpus such as ``root``.

    Attributes:
        prepared: the corpus with its preparation settings, by modality.

    Raises:
        InputError: if a setting cannot be used, the corpus cannot be prepared, or an option of the corpus has the same
            name as a setting of every corpus.
    """

    def __init__(
        self,
        corpus: type[Corpus] | str,
        *,
        name: str | None = None,
        detector: Detector | None = None,
        frame_stride: int = 10,
        frames_per_clip: int | None = None,
        window: Literal["all", "centre"] = "all",
        face_size: int = 256,
        margin: float = 0.15,
        no_face: Literal["leave_out", "whole"] = "leave_out",
        features_path: str | Path | None = None,
        feature_columns: Sequence[str] | str | None = None,
        max_failures: float = 0.1,
        prepared_dir: str | Path | None = None,
        cache_dir: str | Path = DEFAULT_CACHE,
        **options: Any,
    ):
        found = _find(corpus)
        settings = {**_LOADING, **inspect.signature(CorpusDataModule).parameters}
        settings.pop("options", None)  # the variable keyword arguments
        parameters = inspect.signature(found).parameters.values()
        named = [parameter.name for parameter in parameters if parameter.kind is not inspect.Parameter.VAR_KEYWORD]
        if clashing := [option for option in named if option in settings]:
            raise InputError(
                f"{found.__name__} has an option {clashing[0]!r}, which is also the name of a setting of every corpus: "
                "rename the option."
            )
        loading = {option: options.pop(option) for option in _LOADING.keys() & set(options)}
        sample = loading.get("sample") or Sample()
        if (features_path is None) == ("features" in sample.modalities):
            raise InputError(
                "dataset.features_path=<table> and a sample with features (sample=features or sound_features) must be "
                "given together."
            )
        whole, options = (
            found(**options),
            {"max_failures": max_failures, "folder": prepared_dir or Path(cache_dir, "prepared")},
        )
        if name is not None and not whole.published:
            whole.name = name
        self.prepared: dict[str, PreparedFolder] = {}
        for modality in sample.modalities:
            if modality == "image":
                self.prepared[modality] = PreparedCorpus(
                    whole,
                    detector=detector,
                    frame_stride=frame_stride,
                    frames_per_clip=frames_per_clip,
                    window=window,
                    face_size=face_size,
                    margin=margin,
                    no_face=no_face,
                    **options,
                )
            elif modality == "sound":
                self.prepared[modality] = PreparedSounds(whole, **options)
            else:
                assert features_path is not None
                with_sound = "sound" in sample.modalities and not sample.shows_pictures
                self.prepared[modality] = PreparedFeatures(
                    whole.for_sound() if with_sound else whole, features_path, columns=feature_columns, **options
                )
        super().__init__([CorpusSource(self.prepared)], cache_dir=cache_dir, **loading)


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


class FERPlusDataModule(CorpusDataModule):
    """FER+ (options: :class:`fervid.corpora.ferplus.FERPlus` and :class:`CorpusDataModule`)."""

    def __init__(self, root: str | Path | None, **options: Any):
        super().__init__(FERPlus, root=root, **options)


class ImageFolderDataModule(CorpusDataModule):
    """A folder of pictures (options: :class:`fervid.corpora.labelled_folder.ImageFolder` and CorpusDataModule)."""

    def __init__(self, root: str | Path | None, **options: Any):
        super().__init__(ImageFolder, root=root, **options)


class VideoFolderDataModule(CorpusDataModule):
    """A folder of videos (options: :class:`fervid.corpora.labelled_folder.VideoFolder` and CorpusDataModule)."""

    def __init__(self, root: str | Path | None, **options: Any):
        super().__init__(VideoFolder, root=root, **options)


class SyntheticDataModule(EmotionDataModule):
    """Rendered subjects who talk with eight emotions (:class:`fervid.synthetic.corpus.RenderedSubjects`).

    Args:
        identities: number of subjects.
        clips: number of clips per subject and emotion.
        frames: number of frames per clip.
        render_seed: seed of the subjects' appearance.
        **options: arguments of :class:`EmotionDataModule`.

    Raises:
        InputError: if a number is out of range.
    """

    def __init__(self, *, identities: int = 24, clips: int = 3, frames: int = 4, render_seed: int = 0, **options: Any):
        super().__init__([RenderedSubjects(identities, clips, frames, render_seed)], **options)
