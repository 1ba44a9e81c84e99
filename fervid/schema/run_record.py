"""The entries of the results record of a run, ``results.json``, and their types."""

from typing import Any, NotRequired

# Not from typing: TypedDict of Python 3.11 does not support extra_items.
from typing_extensions import TypedDict

from fervid.schema.weights import WeightsRecord

Number = float  # includes whole numbers; never NaN or infinite, which JSON does not support


class SplitConfig(TypedDict):
    """The settings of a split that other commands read.

    Attributes:
        seed: random seed of the split.
        fold: fold of a cross-validation that is tested.
    """

    seed: NotRequired[int | None]
    fold: NotRequired[int | str | None]


class DatasetConfig(TypedDict):
    """The settings of a corpus that other commands read.

    Attributes:
        seed: random seed of the order of frames and of the augmentation.
        root: folder of the corpus.
        face_size: side of a face crop in pixels.
        margin: fraction of the face box added on each side of a crop.
        grayscale: whether faces are grayscale; ``auto`` if that depends on the corpora.
    """

    seed: NotRequired[int | None]
    root: NotRequired[str | None]
    face_size: NotRequired[int]
    margin: NotRequired[Number]
    grayscale: NotRequired[bool | str]


class FinetuneConfig(TypedDict):
    """The settings of training that a model card lists.

    Attributes:
        phases: the phases of training, in order.
    """

    phases: NotRequired[list[dict[str, Any]] | None]


class PaperConfig(TypedDict):
    """The paper that a run reproduces.

    Attributes:
        name: name of the paper, as in ``paper=<name>`` of ``fervid.report``.
    """

    name: NotRequired[str | None]


class Config(TypedDict):
    """The resolved configuration of a run; only the settings that other commands read are listed.

    Attributes:
        seed: random seed of the initial weights, the order of frames and the augmentation.
        split: the split rule.
        dataset: the corpus.
        detector: the face detector; null if there is none.
        sample: what the network is shown at once.
        backbone: the encoder of pictures; null if there is none.
        sound_encoder: the encoder of sounds; null if there is none.
        feature_encoder: the encoder of feature tables; null if there is none.
        head: the head.
        finetune: the phases of freezing and fine-tuning.
        optimizer: the optimizer.
        task: the task.
        paper: the paper that the run reproduces.
    """

    seed: NotRequired[int | None]
    split: NotRequired[SplitConfig | None]
    dataset: NotRequired[DatasetConfig | None]
    detector: NotRequired[dict[str, Any] | None]
    sample: NotRequired[dict[str, Any]]
    backbone: NotRequired[dict[str, Any] | None]
    sound_encoder: NotRequired[dict[str, Any] | None]
    feature_encoder: NotRequired[dict[str, Any] | None]
    head: NotRequired[dict[str, Any]]
    finetune: NotRequired[FinetuneConfig | None]
    optimizer: NotRequired[dict[str, Any] | None]
    task: NotRequired[dict[str, Any] | None]
    paper: NotRequired[PaperConfig | None]


class Counts(TypedDict):
    """Number of frames in each subset.

    Attributes:
        train: number of training frames.
        val: number of validation frames.
        test: number of test frames.
    """

    train: int
    val: int
    test: int


class Corpus(TypedDict):
    """Description of a corpus.

    Attributes:
        name: name of the corpus, as in the column ``corpus``.
        root: its folder; null if it is rendered.
        licence: its licence.
        citation: how to cite it.
        expressions: how its expressions were produced, in words.
        pictures: whether it consists of pictures rather than videos.
        published: whether subjects and clips have the same names in every copy of the corpus.
        rendered: whether its subjects are rendered.
    """

    name: str
    root: str | None
    licence: str
    citation: str
    expressions: str
    pictures: bool
    published: bool
    rendered: bool


class Data(TypedDict):
    """The data that a run was trained and tested on.

    Attributes:
        corpus: names of all corpora.
        corpora: description of each corpus.
        split: number of frames in each subset.
        fingerprint: digest of frames, labels, pictures and split; it does not depend on where the data are stored.
        places: absolute paths of the corpus files, by the setting that gives them.
        rendered: whether all subjects are rendered.
        frames: number of frames.
        clips: number of clips.
        subjects: number of subjects.
        unreadable: number of files that could not be used.
        image_size: side of the network's input in pixels.
        grayscale: whether pictures were converted to grayscale.
        corpus_by_split: number of frames of each corpus in each subset.
        label_map: of several corpora, each label of a corpus (``corpus``, ``label``) with the label that it was mapped
            to (``mapped_to``; null if its frames were dropped) and its number of frames (``frames``).
        features: names of the features, for samples with features.
        emotion_by_split: number of frames of each emotion in each subset.
    """

    corpus: str
    corpora: list[Corpus]
    split: Counts
    fingerprint: NotRequired[str | None]
    places: NotRequired[dict[str, str]]
    rendered: NotRequired[bool | None]
    frames: NotRequired[int]
    clips: NotRequired[int]
    subjects: NotRequired[int]
    unreadable: NotRequired[int]
    image_size: NotRequired[int | None]
    grayscale: NotRequired[bool]
    corpus_by_split: NotRequired[dict[str, Counts]]
    label_map: NotRequired[list[dict[str, Any]]]
    features: NotRequired[list[str]]
    emotion_by_split: NotRequired[dict[str, Counts]]


class Finding(TypedDict):
    """Items that are in more than one subset; a record has all of :class:`fervid.audit.leakage.Finding`.

    Attributes:
        count: number of items in more than one subset.
    """

    count: int


class Leakage(TypedDict):
    """What the split and the initial weights leak; a record has all of :class:`fervid.audit.leakage.Audit`.

    The level is the worse of those of the split and of the initial weights.

    Attributes:
        level: the leakage level.
        subjects: subjects in more than one subset.
        clips: clips in more than one subset.
        near_duplicates: pairs of clips in different subsets with near-duplicate pictures; null if not searched.
        people: names, or clips of unknown subjects, that face embeddings join to one person in several subsets; null if
            not searched.
        identity: threshold, error rates and weights of that search; null if not searched.
        seen_people: of an evaluation on another corpus, its subjects that match someone in the training data by face:
            ``kind`` (subjects or clips), ``count``, ``total``, ``expected_by_chance`` and ``examples``.
        subjects_clustered: whether the subjects are clusters of face embeddings.
        subjects_from: source of unverified subject names, such as the file names.
        doubts: reasons to doubt the subject names, one sentence each.
        weights: corpora of the run whose ``emotion_labels_of`` or ``subjects_of`` the initial weights were trained on;
            absent if there are none.
    """

    level: str
    subjects: NotRequired[Finding]
    clips: NotRequired[Finding]
    near_duplicates: NotRequired[Finding | None]
    people: NotRequired[Finding | None]
    identity: NotRequired[dict[str, Any] | None]
    seen_people: NotRequired[dict[str, Any]]
    subjects_clustered: NotRequired[bool]
    subjects_from: NotRequired[str | None]
    doubts: NotRequired[list[str]]
    weights: NotRequired[dict[str, list[str]]]


class Seconds(TypedDict):
    """Duration of the parts of a run, in seconds.

    Attributes:
        fit: seconds of training and validation.
        prepare: seconds of preparing the corpus.
        test: seconds of testing.
        by_phase: seconds of each phase.
        by_epoch: median seconds per epoch, by phase.
    """

    fit: Number
    prepare: NotRequired[Number]
    test: NotRequired[Number]
    by_phase: NotRequired[dict[str, Number]]
    by_epoch: NotRequired[dict[str, Number]]


class Parameters(TypedDict):
    """Numbers of parameters of a network.

    Attributes:
        total: all parameters.
        trainable: trainable parameters, by phase.
    """

    total: int
    trainable: NotRequired[dict[str, int]]


class Epoch(TypedDict, extra_items=Number | str | None):  # type: ignore[call-arg]  # mypy does not know it yet
    """An epoch of training; its scores are further entries, such as ``val/uar``.

    Attributes:
        epoch: number of the epoch, from 1.
        phase: name of the phase.
        seconds: duration in seconds.
    """

    epoch: int
    phase: str
    seconds: Number


class Probe(TypedDict):
    """The regularisation of a linear probe.

    Attributes:
        strength: chosen inverse regularisation strength C; smaller values regularise more.
        scores: validation ``loss`` and ``uar`` of each strength.
    """

    strength: Number
    scores: dict[str, dict[str, Number]]


class BatchInvariance(TypedDict):
    """Comparison of outputs in normal batches with those in shuffled batches and of single pictures.

    Attributes:
        holds: whether the difference is within the tolerance.
        pictures: number of pictures compared.
        difference: largest difference of a probability; null if a single picture cannot be computed.
        tolerance: largest difference that rounding explains.
    """

    holds: bool
    pictures: int
    difference: Number | None
    tolerance: Number


class Results(TypedDict):
    """The results record. It may contain further entries.

    Attributes:
        choices: the option chosen in each configuration group.
        config: the resolved configuration.
        task: name of the task.
        data: the corpora and their sizes.
        leakage: what the split and the initial weights leak.
        metrics: every score by its name, such as ``test/uar``; null if it is undefined.
        seconds: duration of the parts of the run.
        seed: random seed of the initial weights, the order of frames and the augmentation.
        class_names: the classes, in the order of the network's outputs.
        parts: the names of each part of the task (:mod:`fervid.schema.parts`), for tasks other than classification.
        recall: recall of each class on test frames.
        precision: precision of each class on test frames.
        confusion: number of test frames by label (rows) and prediction (columns).
        warnings: every warning of the run.
        overrides: the settings given on the command line.
        versions: versions of fervid, Python and the main libraries.
        git_revision: git commit of fervid, with ``+changes`` if files were modified; null if it is not a git checkout.
        epochs: number of epochs trained.
        best_epoch: the epoch whose weights were tested, from 1.
        best_score: validation score of that epoch (``finetune.monitor``).
        history: the epochs, in order.
        parameters: number of parameters.
        weights: source of the initial weights, their SHA-256, their data and their licence.
        device: device that the run was trained on.
        trainer_precision: precision of the trainer, such as ``32-true``.
        evaluated: folder of the tested run, or table of posteriors, if ``fervid.evaluate`` wrote the record.
        batch_invariance: whether outputs depend on the batch, as checked by ``fervid.evaluate``.
        adaptation: ``method`` and settings of an adaptation by ``fervid.evaluate``, and what it found.
        ensemble: the members, their weights and how they are combined, if the record is that of an ensemble.
        probe: the regularisation of a linear probe, by modality.
        encoder_settings: settings of encoders that were read from the files of the initial weights, by group.
        modality_weights: weights of the modalities in a late fusion, if they were fitted.
    """

    choices: dict[str, str | None]
    config: Config
    task: str
    data: Data
    leakage: Leakage
    metrics: dict[str, Number | None]
    seconds: Seconds
    seed: NotRequired[int | None]
    class_names: NotRequired[list[str]]
    parts: NotRequired[dict[str, list[str]]]
    recall: NotRequired[dict[str, Number | None]]
    precision: NotRequired[dict[str, Number | None]]
    confusion: NotRequired[list[list[int]]]
    warnings: NotRequired[list[str]]
    overrides: NotRequired[list[str]]
    versions: NotRequired[dict[str, str] | None]
    git_revision: NotRequired[str | None]
    epochs: NotRequired[int | None]
    best_epoch: NotRequired[int | None]
    best_score: NotRequired[Number | None]
    history: NotRequired[list[Epoch]]
    parameters: NotRequired[Parameters]
    weights: NotRequired[WeightsRecord | None]
    device: NotRequired[str | None]
    trainer_precision: NotRequired[str | None]
    evaluated: NotRequired[str]
    batch_invariance: NotRequired[BatchInvariance | None]
    adaptation: NotRequired[dict[str, Any]]
    ensemble: NotRequired[dict[str, Any]]
    probe: NotRequired[dict[str, Probe]]
    modality_weights: NotRequired[dict[str, Number]]
    encoder_settings: NotRequired[dict[str, dict[str, Any]]]
