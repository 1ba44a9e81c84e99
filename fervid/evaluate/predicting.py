"""Predicts the samples of an evaluation with a run, as trained or adapted to them."""

from functools import partial
from typing import Any

from omegaconf import DictConfig

from fervid.evaluate.adaptation import Adaptation
from fervid.evaluate.member_network import MemberNetwork
from fervid.evaluate.members import Member
from fervid.evaluate.network_adaptation import (
    ENTROPY_BATCH,
    STATISTICS_BATCH,
    check_batch_norm,
    learned_batch_norms,
    minimise_entropy,
    replace_statistics,
    shuffled_parts,
)
from fervid.schema.emotions import merge_classes, shared_name


def predict_member(member: Member, config: DictConfig, own_corpus: bool) -> None:
    """Predicts the frames of a member: sets its ``probabilities``, ``classes``, ``batches`` and ``adapted``.

    Args:
        member: the member; if it has an adaptation that changes the network, a copy of its network is adapted first.
        config: configuration composed from ``conf/evaluate.yaml``.
        own_corpus: whether classes keep the names that the run uses, instead of their shared names.
    """
    network = MemberNetwork(member, config.device, config.trust)
    if member.adaptation is not None:
        member.adapted = _adapt(network, member.adaptation)
    probabilities = network.predict()
    network.check_batches(probabilities)
    names = [name if own_corpus else shared_name(name) for name in member.class_names]
    member.probabilities, member.classes = merge_classes(probabilities, names)


def _adapt(network: MemberNetwork, adaptation: Adaptation) -> dict[str, Any]:
    """Adapts a network to the samples, and returns what was done."""
    samples, model, settings = len(network.rows), network.model, adaptation.settings
    run = network.member.run
    if adaptation.method == "batch_norm":
        check_batch_norm(run, model)
    batch_norms = learned_batch_norms(run, model)
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
