"""Which moments, frames and features of a clip speak for an emotion: occlusion (Zeiler and Fergus, ECCV 2014).

A part of the input is removed, and its relevance is the decrease of the logarithm of the probability of the emotion:
0.7 means that the probability is half as large without the part, and a negative relevance that the part speaks against
the emotion. Stretches of a sound are replaced by silence, frames and rows of a table are left out, and columns of a
table are set to their mean in the training subset. The network is only asked for answers, so that the method suits
every network.

With several modalities, the contribution of a modality is its Shapley value (Shapley 1953; Lundberg and Lee, NeurIPS
2017): the mean increase of the log-probability by the modality, over all orders in which the modalities are added, from
equal probabilities of all emotions. The contributions add up to the log-probability of the clip relative to chance. The
relevance of a part is the decrease of the contribution of its modality, thus a mean over answers with and without the
other modalities: next to a modality that is sure by itself, no part of another one would be relevant.

Limits: an input with a removed part is unlike those of training, and silence changes the loudness to which a network
may adapt; of two parts of a modality that say the same, neither is relevant; if an answer is nearly certain, few parts
are; and relevance tells what the network uses, not why. Answers without a modality mean little if the network was
trained neither with late fusion nor with modality dropout.
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

Vectors = tuple[Tensor, Tensor]  # of one modality, and those of mirrored pictures


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
    clip, chosen = _Clip(model, inputs), list(classes)
    answers = {names: clip.subset(names)[0] for size in range(len(inputs)) for names in combinations(inputs, size + 1)}
    moments, contributions, columns = {}, {}, None
    for name in inputs:
        contributions[name] = clip.contribution(name, clip.vectors[name])[0, chosen]

        def decrease(removed: Iterator[Vectors], name: str = name) -> Tensor | None:
            parts = [clip.contribution(name, vectors)[:, chosen] for vectors in removed]
            return contributions[name] - torch.cat(parts) if parts else None

        found = decrease(clip.occluded(name, window))
        if found is not None:
            moments[name] = (found[1:] + found[:-1]) / 2 if name == "sound" else found
        if name == Columns.modality:
            columns = decrease(clip.without_columns())
    shown = {names[0] if len(names) == 1 else "all": names for names in answers if len(names) in (1, len(inputs))}
    return ClipRelevance(
        {name: answers[names].exp().cpu().numpy() for name, names in shown.items()},
        {name: values.cpu().numpy() for name, values in moments.items()},
        None if columns is None else columns.cpu().numpy(),
        {name: values.cpu().numpy() for name, values in contributions.items()},
    )


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

    def _vectors(self, name: str, x: Tensor) -> Vectors:
        """Returns the vectors of inputs from :meth:`_tensor`, and those of the mirror images."""
        branch = self.model.network.branches[name]
        if name == Backbone.modality:  # a clip without some of its frames needs no new features
            return branch.pooling(x[:, :, 0]), branch.pooling(x[:, :, -1])
        vectors = branch(x)
        return vectors, vectors

    def subset(self, names: Sequence[str]) -> Tensor:
        """Returns the log-probabilities (1, C) from some modalities."""
        return self._joined({name: self.vectors[name] for name in names})

    def contribution(self, name: str, vectors: Vectors) -> Tensor:
        """Returns the Shapley value of a modality for each emotion, (V, C), for V vectors of the modality."""
        others = [other for other in self.vectors if other != name]
        count, total = len(vectors[0]), torch.zeros(())
        for size in range(len(others) + 1):
            share = math.factorial(size) * math.factorial(len(others) - size) / math.factorial(len(others) + 1)
            for names in combinations(others, size):
                given = {other: self.vectors[other] for other in names}
                wider = {n: tuple(x.expand(count, *x.shape[1:]) for x in pair) for n, pair in given.items()}
                answer = self._joined({**wider, name: vectors})  # type: ignore[dict-item]
                without = self._joined(given) if names else torch.full_like(answer, -math.log(answer.shape[1]))
                total = total.to(answer) + share * (answer - without)
        return total

    def _joined(self, vectors: Mapping[str, Vectors]) -> Tensor:
        outputs = self.model.network.join({name: own for name, (own, _) in vectors.items()})
        if self.model.test_flips:
            outputs = (outputs + self.model.network.join({name: flipped for name, (_, flipped) in vectors.items()})) / 2
        return outputs.float().log_softmax(1)

    def occluded(self, name: str, window: float) -> Iterator[Vectors]:
        """Yields batches of vectors of a modality, in each of which one part in time is removed."""
        x = self.inputs[name]
        lacking = _silenced(x[0], window) if name == "sound" else _shortened(x[0])
        for start in range(0, len(lacking), BATCH_SIZE):
            yield self._vectors(name, padded(lacking[start : start + BATCH_SIZE]))

    def without_columns(self) -> Iterator[Vectors]:
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
