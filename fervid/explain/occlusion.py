"""Which moments, frames and features of a clip speak for an emotion: occlusion (Zeiler and Fergus, ECCV 2014).

A part of the input is removed, and its relevance is the decrease of the logarithm of the probability of the emotion:
0.7 means that the probability is half as large without the part, and a negative relevance that the part speaks against
the emotion. Stretches of a sound are replaced by silence, frames and rows of a table are left out, and columns of a
table are set to their mean in the training subset. The network is only asked for answers, so that the method suits
every network.

Limits: an input with a removed part is unlike those of training, and silence changes the loudness to which a network
may adapt; of two parts that say the same, neither is relevant; and relevance tells what the network uses, not why.

The contribution of a modality is its Shapley value (Shapley 1953; Lundberg and Lee, NeurIPS 2017): the mean increase of
the log-probability by the modality, over all orders in which the modalities are added, from equal probabilities of all
emotions. The contributions add up to the log-probability of the clip relative to chance.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from fervid.models.backbone import Backbone
from fervid.models.feature_encoder import Columns
from fervid.models.log_mel import RATE
from fervid.models.sequences import padded
from fervid.tasks.classification import EmotionClassifier

BATCH_SIZE = 16  # occluded inputs per forward pass
MAX_PARTS = 60  # parts of a clip in time, for each modality; of longer clips they are longer
FADE_SECONDS = 0.01  # from sound to silence and back, since a sudden end sounds like a click


@dataclass(frozen=True)
class ClipRelevance:
    """What speaks for some emotions in a clip.

    Attributes:
        answers: probabilities of all emotions, (C,), by modality, and with several modalities of ``all`` of them.
        moments: for each modality that has several moments, the relevance of its P parts of equal length in the order
            of time for K emotions, (P, K).
        columns: relevance of the F columns of a table, (F, K); None without a table.
        contributions: contribution of each modality, (K,).
    """

    answers: dict[str, np.ndarray]
    moments: dict[str, np.ndarray]
    columns: np.ndarray | None
    contributions: dict[str, np.ndarray]


@torch.inference_mode()
def clip_relevance(
    model: EmotionClassifier, inputs: Mapping[str, np.ndarray], classes: Sequence[int], *, window: float
) -> ClipRelevance:
    """Computes what speaks for some emotions in a clip.

    Args:
        model: a classifier of clips.
        inputs: input of each modality: ``image`` uint8 (T, 3, H, W), ``sound`` float32 (S,), ``features`` (R, F).
        classes: k numbers of emotions.
        window: seconds of sound that are silenced at once. Each part is half as long and in two windows.
    """
    clip = _Clip(model, inputs)
    chosen = list(classes)
    given = clip.log_probabilities({})[0]
    moments = {}
    for name in clip.inputs:
        lacking = [clip.log_probabilities({name: vectors}) for vectors in clip.occluded(name, window)]
        if lacking:
            drops = (given - torch.cat(lacking))[:, chosen]
            moments[name] = ((drops[1:] + drops[:-1]) / 2 if name == "sound" else drops).cpu().numpy()
    without = [clip.log_probabilities({"features": vectors}) for vectors in clip.without_columns()]
    columns = (given - torch.cat(without))[:, chosen].cpu().numpy() if without else None
    answers = {names: clip.subset(names)[0] for size in range(len(inputs)) for names in combinations(inputs, size + 1)}
    alone = {
        names[0] if len(names) == 1 else "all": answers[names] for names in answers if len(names) in (1, len(inputs))
    }
    return ClipRelevance(
        {name: answer.exp().cpu().numpy() for name, answer in alone.items()},
        moments,
        columns,
        _shapley_values({names: answer[chosen].cpu().numpy() for names, answer in answers.items()}, len(given)),
    )


def _shapley_values(values: Mapping[tuple[str, ...], np.ndarray], classes: int) -> dict[str, np.ndarray]:
    """Returns the Shapley value of each modality from the log-probabilities (K,) with each subset of them."""
    names = max(values, key=len)
    values = {(): np.full_like(values[names], -math.log(classes)), **values}
    found = {}
    for name in names:
        others = [other for other in names if other != name]
        found[name] = np.zeros_like(values[names])
        for size in range(len(names)):
            share = math.factorial(size) * math.factorial(len(others) - size) / math.factorial(len(names))
            for subset in combinations(others, size):
                joined = tuple(other for other in names if other in (*subset, name))
                found[name] += share * (values[joined] - values[subset])
    return found


class _Clip:
    """The answers of a classifier to a clip of which parts are removed."""

    def __init__(self, model: EmotionClassifier, inputs: Mapping[str, np.ndarray]):
        self.model = model
        self.inputs = {name: self._tensor(name, x) for name, x in inputs.items()}
        self.vectors = {name: self._vectors(name, x) for name, x in self.inputs.items()}

    def _tensor(self, name: str, x: np.ndarray) -> Tensor:
        """Returns the input (1, ...) of a sequence, or the features (1, T, ...) of each frame and its mirror image."""
        tensor = torch.from_numpy(np.ascontiguousarray(x)).to(self.model.device)
        if name != Backbone.modality:
            return tensor[None]
        branch, pictures = self.model.network.branches[name], tensor.float() / 255
        both = [pictures, pictures.flip(-1)] if self.model.test_flips else [pictures]
        return torch.stack([branch.reduce(branch.encoder(shown)) for shown in both], dim=1)[None]

    def _vectors(self, name: str, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the vectors of inputs from :meth:`_tensor`, and those of the mirror images."""
        branch = self.model.network.branches[name]
        if name == Backbone.modality:  # a clip without some of its frames needs no new features
            return branch.pooling(x[:, :, 0]), branch.pooling(x[:, :, -1])
        vectors = branch(x)
        return vectors, vectors

    def log_probabilities(self, replaced: Mapping[str, tuple[Tensor, Tensor]]) -> Tensor:
        """Returns the log-probabilities (V, C) for V vectors of some modalities, with the clip's own of the others."""
        count = next((len(own) for own, _ in replaced.values()), 1)
        given = {name: replaced.get(name, own) for name, own in self.vectors.items()}
        return self._joined(
            {name: tuple(x.expand(count, *x.shape[1:]) for x in pair) for name, pair in given.items()}  # type: ignore[misc]
        )

    def subset(self, names: Sequence[str]) -> Tensor:
        """Returns the log-probabilities (1, C) from some modalities."""
        return self._joined({name: self.vectors[name] for name in names})

    def _joined(self, vectors: Mapping[str, tuple[Tensor, Tensor]]) -> Tensor:
        outputs = self.model.network.join({name: own for name, (own, _) in vectors.items()})
        if self.model.test_flips:
            outputs = (outputs + self.model.network.join({name: flipped for name, (_, flipped) in vectors.items()})) / 2
        return outputs.float().log_softmax(1)

    def occluded(self, name: str, window: float) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields batches of vectors of a modality, in each of which one part in time is removed."""
        x = self.inputs[name]
        lacking = _silenced(x[0], window) if name == "sound" else _shortened(x[0])
        for start in range(0, len(lacking), BATCH_SIZE):
            yield self._vectors(name, padded(lacking[start : start + BATCH_SIZE]))

    def without_columns(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields batches of vectors of a table, in each of which one column is replaced by its training mean."""
        encoder = self.model.network.encoders.get(Columns.modality)
        if not isinstance(encoder, Columns):
            return
        x, means = self.inputs[Columns.modality], encoder.standardise.mean
        for start in range(0, len(means), BATCH_SIZE):
            numbers = torch.arange(start, min(start + BATCH_SIZE, len(means)), device=x.device)
            replaced = torch.nn.functional.one_hot(numbers, len(means)).bool()[:, None]
            yield self._vectors(Columns.modality, torch.where(replaced, means, x))


def _silenced(sound: Tensor, window: float) -> list[Tensor]:
    """Returns P + 1 copies of a sound (S,) of P parts, in which one or two neighbouring parts are silent."""
    part = max(window / 2 * RATE, len(sound) / MAX_PARTS)
    parts = max(2, round(len(sound) / part))
    part = len(sound) / parts
    positions, fade = torch.arange(len(sound), device=sound.device), FADE_SECONDS * RATE
    copies = []
    for first in range(-1, parts):
        inside = torch.minimum(positions - first * part, (first + 2) * part - positions)
        copies.append(sound * (1 - (inside / fade).clamp(0, 1)))
    return copies


def _shortened(sequence: Tensor) -> list[Tensor]:
    """Returns copies of a sequence (T, ...) in which one of its parts is left out; none if there is only one part."""
    parts = np.array_split(np.arange(len(sequence)), min(len(sequence), MAX_PARTS))
    if len(parts) < 2:
        return []
    return [torch.cat([sequence[: part[0]], sequence[part[-1] + 1 :]]) for part in parts]
