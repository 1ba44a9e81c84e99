"""Fusion: from the vectors of several modalities to the outputs of the network.

A modality may be missing, for all samples (no entry) or for some (their vector is NaN). Modality dropout removes
modalities at random during training, so that the network learns to answer without them (Neverova et al., ModDrop,
TPAMI 2016).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fervid.errors import InputError
from fervid.models.heads import Head
from fervid.models.pooling import Mean
from fervid.models.sequences import filled, valid_positions

MakeHead = Callable[[Sequence[int]], Head]  # shape of the features -> head


class Fusion(nn.Module):
    """Base class of all fusions; subclasses implement :meth:`combine`.

    Args:
        widths: number of features F (or D, see :attr:`over_time`) of each modality.
        modality_dropout: probability with which a modality of a training sample is removed; one always remains.

    Attributes:
        over_time: whether the fusion needs the sequence (B, T, D) of each modality instead of its vector (B, F).

    Raises:
        InputError: if the probability is out of range.
    """

    over_time: ClassVar[bool] = False

    def __init__(self, widths: Mapping[str, int], *, modality_dropout: float = 0.0):
        super().__init__()
        if not 0 <= modality_dropout < 1:
            raise InputError(f"fusion.modality_dropout={modality_dropout} is out of range: give 0 to below 1.")
        self.widths, self.modality_dropout = dict(widths), modality_dropout

    def combine(self, vectors: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        """Returns the outputs.

        Args:
            vectors: vector of each modality, with zeros where it is missing.
            present: whether the modality is present in each sample, bool (B,).
        """
        raise NotImplementedError

    def forward(self, vectors: Mapping[str, Tensor]) -> Tensor:
        """Returns the outputs (B, ...) for the vector of each modality.

        Raises:
            ValueError: if there is no modality at all.
        """
        if not vectors:
            raise ValueError("no modality is given")
        known = next(iter(vectors.values()))
        given: dict[str, Tensor] = {}
        present: dict[str, Tensor] = {}
        for name, width in self.widths.items():
            shape = (len(known), 1, width) if self.over_time else (len(known), width)
            given[name] = vectors.get(name, known.new_full(shape, torch.nan))
            present[name] = ~given[name].flatten(1)[:, 0].isnan()
        present = self._dropped(present)
        return self.combine({name: self._without(x, present[name]) for name, x in given.items()}, present)

    def _without(self, x: Tensor, present: Tensor) -> Tensor:
        absent = ~present.view(-1, *[1] * (x.dim() - 1))
        return x.masked_fill(absent, torch.nan if self.over_time else 0.0)

    def _dropped(self, present: dict[str, Tensor]) -> dict[str, Tensor]:
        """Removes modalities at random during training."""
        if not self.training or not self.modality_dropout:
            return present
        there = torch.stack(list(present.values()), dim=1)
        draws = torch.rand(there.shape, device=there.device)
        kept = there & (draws >= self.modality_dropout)
        # If all are drawn, the one with the largest draw remains.
        last = F.one_hot(draws.masked_fill(~there, -1.0).argmax(1), there.shape[1]).bool()
        kept = torch.where(kept.any(1, keepdim=True), kept, last & there)
        return dict(zip(present, kept.unbind(1), strict=True))


class LateFusion(Fusion):
    """Each modality has its own head; the probabilities of the classes are combined.

    Args:
        widths: see :class:`Fusion`.
        make_head: makes the head of a modality from the shape (F,) of its vector.
        rule: ``product``: weighted geometric mean of the probabilities; ``mean``: weighted arithmetic mean.
        modality_dropout: see :class:`Fusion`. Without it, only the combined probabilities are trained.

    Attributes:
        heads: the head of each modality.
        weights: the weight of each modality, by default 1; ``finetune=linear_probe`` can fit them to the validation
            subset.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        make_head: MakeHead,
        *,
        rule: str = "product",
        modality_dropout: float = 0.3,
    ):
        super().__init__(widths, modality_dropout=modality_dropout)
        if rule not in ("product", "mean"):
            raise InputError(f"fusion.rule={rule} is unknown: choose product or mean.")
        self.rule = rule
        heads = nn.ModuleDict({name: make_head((width,)) for name, width in widths.items()})
        self.heads: Mapping[str, Head] = heads  # type: ignore[assignment]
        self.weights: Tensor
        self.register_buffer("weights", torch.ones(len(widths)))

    def combine(self, vectors: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        logs = torch.stack([self.heads[name].layers(x).log_softmax(1) for name, x in vectors.items()])
        return combined(logs, self.weights, torch.stack(list(present.values())), self.rule)


def combined(logs: Tensor, weights: Tensor, present: Tensor, rule: str) -> Tensor:
    """Combines the log-probabilities of M modalities.

    Args:
        logs: log-probabilities, (M, B, C).
        weights: weight of each modality, (M,).
        present: whether each modality is present in each sample, bool (M, B).
        rule: ``product`` or ``mean``.

    Returns:
        Logits (B, C). A single modality gives its own probabilities, whatever its weight.
    """
    shares = weights[:, None] * present
    if rule == "mean":
        shares = shares / shares.sum(0)
        return (logs + shares.log()[:, :, None]).logsumexp(0)
    alone = present.sum(0) == 1
    return (torch.where(alone, present.to(shares.dtype), shares)[:, :, None] * logs).sum(0)


class Concatenation(Fusion):
    """Normalised vectors of all modalities, joined, and one head; a missing modality is a vector of zeros.

    Args:
        widths: see :class:`Fusion`.
        make_head: makes the head from the shape (F,) of the joined vector.
        modality_dropout: see :class:`Fusion`.
    """

    def __init__(self, widths: Mapping[str, int], make_head: MakeHead, *, modality_dropout: float = 0.3):
        super().__init__(widths, modality_dropout=modality_dropout)
        self.norms = nn.ModuleDict({name: nn.LayerNorm(width) for name, width in widths.items()})
        self.head = make_head((sum(widths.values()),))

    def combine(self, vectors: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        normalised = [self.norms[name](x) * present[name][:, None] for name, x in vectors.items()]
        return self.head(torch.cat(normalised, dim=1))


class GatedFusion(Fusion):
    """Gated multimodal unit: a weighted sum of hidden vectors, with weights from all modalities (Arevalo et al. 2017).

    Args:
        widths: see :class:`Fusion`.
        make_head: makes the head from the shape (F,) of the sum.
        hidden: number of hidden units.
        modality_dropout: see :class:`Fusion`.
    """

    def __init__(
        self, widths: Mapping[str, int], make_head: MakeHead, *, hidden: int = 128, modality_dropout: float = 0.3
    ):
        super().__init__(widths, modality_dropout=modality_dropout)
        self.norms = nn.ModuleDict({name: nn.LayerNorm(width) for name, width in widths.items()})
        self.hidden = nn.ModuleDict({name: nn.Linear(width, hidden) for name, width in widths.items()})
        self.gates = nn.Linear(sum(widths.values()), len(widths))
        self.head = make_head((hidden,))

    def combine(self, vectors: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        normalised = {name: self.norms[name](x) * present[name][:, None] for name, x in vectors.items()}
        there = torch.stack(list(present.values()), dim=1)
        gates = self.gates(torch.cat(list(normalised.values()), dim=1)).masked_fill(~there, -torch.inf).softmax(1)
        hidden = torch.stack([self.hidden[name](x).tanh() for name, x in normalised.items()], dim=1)
        return self.head((gates[:, :, None] * hidden).sum(1))


class CrossAttention(Fusion):
    """Each modality attends to the positions of the others; the means over time are joined (after Tsai et al. 2019).

    Args:
        widths: number of features D of a position of each modality.
        make_head: makes the head from the shape (F,) of the joined vector.
        hidden: number of channels; a multiple of ``heads``.
        heads: number of attention heads.
        dropout: dropout probability of the attention.
        modality_dropout: see :class:`Fusion`.
    """

    over_time = True

    def __init__(
        self,
        widths: Mapping[str, int],
        make_head: MakeHead,
        *,
        hidden: int = 128,
        heads: int = 4,
        dropout: float = 0.1,
        modality_dropout: float = 0.3,
    ):
        super().__init__(widths, modality_dropout=modality_dropout)
        if hidden % heads:
            raise InputError(f"fusion.hidden={hidden} is not a multiple of fusion.heads={heads}: change one of them.")
        self.first = nn.ModuleDict(
            {name: nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden)) for name, width in widths.items()}
        )
        self.attention = nn.ModuleDict(
            {name: nn.MultiheadAttention(hidden, heads, dropout, batch_first=True) for name in widths}
        )
        self.norms = nn.ModuleDict({name: nn.LayerNorm(hidden) for name in widths})
        self.pool = Mean(hidden)
        self.head = make_head((hidden * len(widths),))

    def combine(self, vectors: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        valid = {name: valid_positions(x) for name, x in vectors.items()}
        hidden = {name: self.first[name](filled(x)) for name, x in vectors.items()}
        joined = []
        for name, own in hidden.items():
            others = torch.cat([x for other, x in hidden.items() if other != name], dim=1)
            masked = ~torch.cat([x for other, x in valid.items() if other != name], dim=1)
            # A softmax over no position is undefined: samples without another modality attend to one of zeros.
            others, masked = F.pad(others, (0, 0, 0, 1)), F.pad(masked, (0, 1), value=False)
            attended, _ = self.attention[name](own, others, others, key_padding_mask=masked, need_weights=False)
            summed = self.norms[name](own + attended).masked_fill(~valid[name][:, :, None], torch.nan)
            mean = self.pool(summed).nan_to_num(nan=0.0)  # 0 / 0 if the modality is missing
            joined.append(mean * present[name][:, None])
        return self.head(torch.cat(joined, dim=1))
