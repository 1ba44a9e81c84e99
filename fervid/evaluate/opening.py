"""Opens and aligns the members of an evaluation, before anything is predicted."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from fervid.data.datamodule import EmotionDataModule
from fervid.errors import InputError
from fervid.evaluate.members import Member, align, leakage, leave_out_seen, open_members
from fervid.evaluate.posteriors import PosteriorTable
from fervid.evaluate.seen_people import find_seen_people
from fervid.evaluate.table_members import TableMember, keep_covered, open_tables
from fervid.runs.load import reopen_corpus
from fervid.runs.run import Run


@dataclass(frozen=True)
class Opened:
    """Members that will predict the same frames.

    Attributes:
        members: the members that are runs, with their leakage.
        tables: the members that are tables of posteriors.
        base: number of the member whose frames are the rows of the predictions.
        left_out: number of frames that were left out because they were seen in training.
        sentences: sentences on how the members were matched.
    """

    members: list[Member]
    tables: list[TableMember]
    base: int
    left_out: int
    sentences: list[str]


def open_aligned(runs: Sequence[Run], posteriors: Sequence[PosteriorTable], config: DictConfig) -> Opened:
    """Opens the corpus of each run, selects the frames to predict, and audits what each member has seen of them.

    Args:
        runs: stored runs.
        posteriors: tables of posteriors.
        config: configuration composed from ``conf/evaluate.yaml``.

    Raises:
        InputError: if a corpus or a setting cannot be used, or the members cannot be matched.
    """
    own_corpus = config.get("dataset") is None
    has_identity = config.get("identity") is not None
    if has_identity and own_corpus:
        raise InputError(
            "identity finds people of another corpus in the training data: give dataset=<corpus>. For the run's own "
            "corpus, use python -m fervid.audit with identity."
        )
    if config.root is not None and not own_corpus and not has_identity:
        raise InputError(
            f"root={config.root} is the folder of the run's own corpus: give dataset.root for another corpus."
        )
    identity = instantiate(config.get("identity"), _convert_="all")
    # Opened before the other corpus is prepared, which may take hours.
    own_corpora = [_reopened(run, config) for run in runs] if has_identity else []
    members = open_members(runs, config)
    alignment = align(members, own_corpus)
    sentences = alignment.sentences([member.name for member in members])
    tables = open_tables(posteriors, members, own_corpus)
    sentences += keep_covered(tables, members, alignment.base)
    for member, own in zip(members, own_corpora, strict=False):  # none without identity
        member.seen_people = find_seen_people(own, member.datamodule, member.frames, identity)
    left_out = leave_out_seen(members) if config.subjects == "unseen" else 0
    for member in members:
        member.leakage = leakage(member, own_corpus, left_out)
    return Opened(members, tables, alignment.base, left_out, sentences)


def _reopened(run: Run, config: DictConfig) -> EmotionDataModule:
    """The corpus of a run; ``root`` is used for the runs whose corpus is no longer where it was."""
    places = [corpus["root"] for corpus in run.corpora if corpus["root"] is not None]
    is_moved = any(not Path(str(place)).expanduser().exists() for place in places)
    return reopen_corpus(
        run.folder,
        run.results,
        config.cache_dir,
        config.root if is_moved else None,
        features_path=config.features_path,
        trust=config.trust,
    )
