"""A whole network: one branch per modality, and a head that joins them."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from fervid.errors import InputError
from fervid.models.encoder import Encoder
from fervid.models.fusion import Fusion, LateFusion
from fervid.models.heads import Head


class Branch(nn.Module):
    """One modality of a network: an encoder, and what turns its features into one vector per sample.

    The stages of the encoder before :attr:`unfreeze_from` are the frozen prefix, whose output can be cached. If the
    whole encoder is frozen, ``reduce`` belongs to the prefix.

    Args:
        encoder: input -> features.
        reduce: features -> (B, F), or (B, T, D) if a pooling follows; without parameters. With ``over_time``, it is
            applied to the features of each frame.
        pooling: (B, T, D) -> (B, F), with parameters. Default: none.
        over_time: whether a sample has several frames, (B, T, ...), which the encoder encodes one by one.

    Attributes:
        unfreeze_from: number of the first trainable stage of the encoder; ``len(encoder.stages)``: none is trained.
    """

    def __init__(
        self, encoder: Encoder, reduce: nn.Module, pooling: nn.Module | None = None, *, over_time: bool = False
    ):
        super().__init__()
        self.encoder: Encoder = encoder
        self.reduce: nn.Module = reduce
        self.pooling: nn.Module = pooling or nn.Identity()
        self.over_time = over_time
        self.unfreeze_from = 0

    @property
    def is_frozen(self) -> bool:
        """Whether no stage of the encoder is trained."""
        return self.unfreeze_from == len(self.encoder.stages)

    def frozen_prefix(self, x: Tensor) -> Tensor:
        """Runs the frozen part: input -> input of the first trainable stage, or of the pooling."""
        with torch.no_grad():
            if self.unfreeze_from:
                x = self._by_frame(lambda frames: self.encoder(frames, stop=self.unfreeze_from), x)
            return self._by_frame(self.reduce, x) if self.is_frozen else x

    def trainable_part(self, features: Tensor) -> Tensor:
        """Runs the trainable part: output of :meth:`frozen_prefix` -> (B, F)."""
        if not self.is_frozen:
            features = self._by_frame(
                lambda frames: self.reduce(self.encoder(frames, start=self.unfreeze_from)), features
            )
        return self.pooling(features)

    def forward(self, x: Tensor) -> Tensor:
        """Returns one vector per sample, (B, F), or one per position, (B, T, D), without a pooling."""
        return self.trainable_part(self.frozen_prefix(x))

    def trainable_parameters(self, unfreeze_from: int) -> list[nn.Parameter]:
        """Returns the parameters that are trained if the first trainable stage is number ``unfreeze_from``."""
        stages = self.encoder.stage_modules(unfreeze_from)
        return [*(p for stage in stages for p in stage.parameters() if p.requires_grad), *self.pooling.parameters()]

    def example(self) -> Tensor:
        """Returns an input with one sample."""
        return self.encoder.example()[:, None] if self.over_time else self.encoder.example()

    def train(self, mode: bool = True) -> "Branch":
        """Sets the trainable stages to training mode; the frozen prefix and frozen BatchNorm stay in eval mode."""
        super().train(mode)
        if mode:
            for stage in self.encoder.stage_modules(0, self.unfreeze_from):
                stage.eval()
            if self.encoder.batchnorm_is_frozen:
                for module in self.encoder.modules():
                    if isinstance(module, nn.modules.batchnorm._BatchNorm):
                        module.eval()
        return self

    def _by_frame(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        if not self.over_time:
            return function(x)
        return function(x.flatten(0, 1)).unflatten(0, x.shape[:2])


class Network(nn.Module):
    """Branches and head: inputs -> outputs (B, ...).

    Args:
        branches: the branch of each modality.
        head: vector of the only modality -> outputs, or a fusion: vectors of all modalities -> outputs.
    """

    def __init__(self, branches: Mapping[str, Branch], head: Head | Fusion):
        super().__init__()
        self.branches: Mapping[str, Branch] = nn.ModuleDict(branches)  # type: ignore[assignment]
        self.head = head
        if len(branches) > 1 and not isinstance(head, Fusion):
            raise InputError(f"a network of {' and '.join(branches)} needs a fusion: give one of conf/fusion.")

    @classmethod
    def of_pictures(cls, backbone: Encoder, head: Head) -> "Network":
        """Returns the network that classifies single pictures."""
        return cls({backbone.modality: Branch(backbone, head.reduce)}, head)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities."""
        return tuple(self.branches)

    @property
    def can_miss(self) -> bool:
        """Whether the network was made to answer if modalities are missing."""
        return isinstance(self.head, LateFusion) or (isinstance(self.head, Fusion) and self.head.modality_dropout > 0)

    @property
    def encoders(self) -> dict[str, Encoder]:
        """The encoder of each modality."""
        return {name: branch.encoder for name, branch in self.branches.items()}

    def stage_numbers(self, name: str) -> dict[str, int]:
        """Returns the number of a stage in each encoder.

        Args:
            name: see :meth:`fervid.models.encoder.Encoder.stage_number`. In a network with several modalities,
                ``all``, ``last_block`` and ``head`` apply to all encoders, and ``<modality>.<stage>``
                (``sound.layers.2``) to one of them, while the others are frozen.

        Raises:
            InputError: if there is no such stage.
        """
        if len(self.branches) == 1 or name in ("all", "last_block", "head"):
            return {modality: encoder.stage_number(name) for modality, encoder in self.encoders.items()}
        chosen, _, stage = name.partition(".")
        if chosen not in self.branches or not stage:
            raise InputError(
                f"unfreeze_from={name} is unknown: give all, last_block, head, or <modality>.<stage> with one of "
                f"{', '.join(self.branches)}, such as {self.modalities[0]}.last_block."
            )
        return {
            modality: encoder.stage_number(stage if modality == chosen else "head")
            for modality, encoder in self.encoders.items()
        }

    def freeze_before(self, numbers: Mapping[str, int]) -> None:
        """Freezes the stages of each encoder before a number and makes the others trainable; idempotent."""
        for modality, branch in self.branches.items():
            branch.unfreeze_from = numbers[modality]
        self.train(self.training)

    def join(self, vectors: Mapping[str, Tensor]) -> Tensor:
        """Returns the outputs (B, ...) for the vectors of the modalities (:meth:`Branch.forward`)."""
        if isinstance(self.head, Fusion):
            return self.head(vectors)
        return self.head.layers(vectors[self.modalities[0]])

    def trainable_parameters(self, numbers: Mapping[str, int]) -> list[nn.Parameter]:
        """Returns the parameters that are trained if stages are frozen as by :meth:`freeze_before`."""
        of_branches = [branch.trainable_parameters(numbers[name]) for name, branch in self.branches.items()]
        return [*(parameter for each in of_branches for parameter in each), *self.head.parameters()]
