"""Predicts the samples of an evaluation with a run, as trained or adapted to them."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from omegaconf import DictConfig

from fervid.evaluate.adaptation import Adaptation
from fervid.evaluate.member_network import MemberNetwork
from fervid.evaluate.members import Member
from fervid.evaluate.network_adaptation import (
    ENTROPY_BATCH,
    STATISTICS_BATCH,
    check_layers,
    learned_batch_norms,
    minimise_entropy,
    replace_statistics,
    shuffled_parts,
)
from fervid.runs.load import load_classifier
from fervid.runs.run import Run
from fervid.runs.trust import Trust
from fervid.schema.emotions import merge_classes, shared_name
from fervid.schema.parts import EMOTION


def check_adaptable(run: Run, adaptations: Sequence[Adaptation], trust: Trust) -> None:
    """Checks that the network of a run can be adapted, before its corpus is opened and predicted.

    Args:
        run: the run.
        adaptations: the adaptations.
        trust: packages whose classes the run may use.

    Raises:
        InputError: if its network lacks the layers.
    """
    methods = [each.method for each in adaptations if each.changes_network]
    if not methods:
        return
    model = load_classifier(run.folder, trust=trust, of_pictures=False)
    for method in methods:
        check_layers(method, run, model)


def predict_member(member: Member, config: DictConfig, own_corpus: bool) -> None:
    """Predicts the frames of a member: sets its ``probabilities``, ``classes``, ``batches`` and ``adapted``.

    Args:
        member: the member; if it has an adaptation that changes the network, a copy of its network is adapted first.
        config: configuration composed from ``conf/evaluate.yaml``.
        own_corpus: whether classes keep the names that the run uses, instead of their shared names.
    """
    model = load_classifier(member.run.folder, trust=config.trust, of_pictures=member.shows_frames)
    network = MemberNetwork(member, model, config.device)
    if member.adaptation is not None:
        member.adapted = _adapt(network, member.adaptation)
    probabilities = network.answers()[EMOTION]
    network.check_batches(probabilities)
    names = [name if own_corpus else shared_name(name) for name in member.class_names]
    member.probabilities, member.classes = merge_classes(probabilities, names)


def _adapt(network: MemberNetwork, adaptation: Adaptation) -> dict[str, Any]:
    """Adapts a network to the samples, and returns what was done."""
    samples, model, settings = len(network.rows), network.model, adaptation.settings
    batch_norms = learned_batch_norms(network.member.run, model)
    found: dict[str, Any] = {"samples": samples}
    if adaptation.method == "entropy":
        seeds = range(settings["seed"], settings["seed"] + settings["passes"])
        passes = [
            partial(network.batches, "adapting to", shuffled_parts(samples, ENTROPY_BATCH, seed)) for seed in seeds
        ]
        found |= minimise_entropy(model, batch_norms, passes, lr=settings["lr"])
    if batch_norms:
        parts = shuffled_parts(samples, STATISTICS_BATCH, settings["seed"])
        replaced = replace_statistics(model, batch_norms, network.batches("statistics of", parts))
        found.setdefault("layers", replaced["layers"])
    return found
