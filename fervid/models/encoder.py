"""Base class of all encoders: a chain of named stages from the input of one modality to features."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fervid.errors import InputError
from fervid.models.state_dicts import find_weights
from fervid.models.weight_files import read_checkpoint, read_weights_info
from fervid.schema.weights import WeightsInfo

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Weights:
    """Origin of an encoder's initial weights.

    Attributes:
        requested: requested name or file; None for random weights.
        source: ``random``, ``file``, ``torchvision``, ``timm`` or ``transformers``.
        sha256: digest of the file or, if there is no file, of the tensors; None for random weights.
        missing: reason why the requested weights are not used; None if they are used.
        unwrapped: entry and prefix of the file under which the weights were found; None if there is neither.
        info: what the weights were trained on; empty for random weights.
    """

    requested: str | None
    source: str = "random"
    sha256: str | None = None
    missing: str | None = None
    unwrapped: str | None = None
    info: WeightsInfo = field(default_factory=WeightsInfo)

    def as_dict(self) -> dict[str, Any]:
        """Returns a :class:`fervid.schema.weights.WeightsRecord`, for results."""
        values = asdict(self)
        info = values.pop("info")
        return values | info | {name: list(info[name]) for name in ("emotion_labels_of", "subjects_of")}


class Encoder(nn.Module):
    """A network without its classifier, as a chain of named stages from the input of one modality to features.

    Subclasses set the class attributes and implement :meth:`prepare` and :meth:`example`.

    Args:
        network: module that contains the stages as submodules.
        stages: names of submodules of ``network``, in the order in which they are applied.
        last_block: first stage that ``finetune=last_block`` trains; None: the last stage.
        last_stage: last stage that is used, or block, for its last stage; the stages after it are removed. None: all
            stages are used. Features of a middle stage often transfer better to another task than those of the last.
        weights: path of a file with a state dict of ``network``; None: random weights.
        freeze_batchnorm: whether BatchNorm in trainable stages normalises with its stored statistics and does not
            update them, as in fine-tuning with Keras. None: True with pretrained weights, and False with random
            weights, whose statistics are still meaningless.
        weights_info: what the weights were trained on, as far as fervid does not know it: the arguments of
            :class:`fervid.schema.weights.WeightsInfo`.

    Attributes:
        modality: name of the batch entry with the input.
        group: name of the configuration group, for error messages.
        layout_stages: stages that only change the layout of features, which ``last_stage`` keeps.
        stages: names of the stages.
        weights: origin of the initial weights.
        no_weight_decay: names in the library of weight matrices that its authors exclude from weight decay, such as the
            positions of a transformer.
        settings: arguments that were read from the files of the initial weights, and that build the network without
            these files.
        built_as: arguments that change the network, but neither its modules nor its weights.
        added_stages: stages that the library's network does not have, whose weights a file may lack.
    """

    modality: ClassVar[str]
    group: ClassVar[str]
    layout_stages: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        network: nn.Module,
        stages: Sequence[str],
        *,
        last_block: str | None = None,
        last_stage: str | None = None,
        weights: str | Path | None = None,
        freeze_batchnorm: bool | None = None,
        weights_info: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        self.network = network
        self.stages = list(stages)
        self.last_block = last_block or self.stages[-1]
        self.freeze_batchnorm = freeze_batchnorm
        self.weights = Weights(None)
        self.weights_info = WeightsInfo(**(weights_info or {}))
        self.no_weight_decay: frozenset[str] = frozenset()
        self.settings: dict[str, Any] = {}
        self.built_as = ""
        self.added_stages: tuple[str, ...] = ()
        self._output_shape: tuple[int, ...] | None = None
        self._removed: list[str] = []  # stages that files of the whole network contain
        if last_stage is not None:  # before weights are loaded, which may be those of the remaining stages
            self._end_at(last_stage)
        if weights is not None:
            self.load_file(Path(weights).expanduser())

    def prepare(self, x: Tensor) -> Tensor:
        """Normalises a batch of inputs for the first stage."""
        raise NotImplementedError

    def example(self) -> Tensor:
        """Returns an input with one sample."""
        raise NotImplementedError

    def key(self) -> list[Any]:
        """Returns settings of :meth:`prepare` that neither the stages nor the buffers show, as plain values."""
        return [self.built_as]

    def _end_at(self, name: str) -> None:
        """Removes the stages after a stage or block."""
        found = [number for number, stage in enumerate(self.stages) if f"{stage}.".startswith(f"{name}.")]
        if not found:
            raise InputError(f"{self.group}.last_stage={name} is unknown: choose one of {', '.join(self.stages)}.")
        self._removed = [stage for stage in self.stages[found[-1] + 1 :] if stage not in self.layout_stages]
        for stage in self._removed:
            parent, _, child = stage.rpartition(".")
            delattr(self.network.get_submodule(parent), child)
        self.stages = [stage for stage in self.stages if stage not in self._removed]
        if not any(f"{stage}.".startswith(f"{self.last_block}.") for stage in self.stages):
            self.last_block = self.stages[found[-1]]

    def library_name(self, name: str) -> str:
        """Returns the name of a tensor of ``network`` in the library that defines the network."""
        return name

    @property
    def pretrained(self) -> bool:
        """Whether the initial weights are not random."""
        return self.weights.source != "random"

    @property
    def batchnorm_is_frozen(self) -> bool:
        """Whether BatchNorm keeps its statistics even in trainable stages."""
        return self.pretrained if self.freeze_batchnorm is None else self.freeze_batchnorm

    def stage_modules(self, start: int = 0, stop: int | None = None) -> list[nn.Module]:
        """Returns the modules of the stages from number ``start`` up to, but not including, ``stop``."""
        return [self.network.get_submodule(name) for name in self.stages[start:stop]]

    def stage_number(self, name: str) -> int:
        """Returns the number of a stage.

        Args:
            name: name of a stage, or of a block, for its first stage (``layer4`` finds ``layer4.0``). ``all`` is the
                first stage, ``last_block`` the stage :attr:`last_block`, and ``head`` the number after the last stage.

        Raises:
            InputError: if there is no such stage.
        """
        if name == "all":
            return 0
        if name == "head":
            return len(self.stages)
        if name == "last_block":
            name = self.last_block
        for number, stage in enumerate(self.stages):
            if stage == name or stage.startswith(name + "."):
                return number
        group = self.group.replace("_", " ")
        raise InputError(
            f"the {group} has no stage {name!r}: choose all, last_block, head or one of {', '.join(self.stages)}."
        )

    def forward(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """Runs the stages from number ``start`` up to, but not including, ``stop``.

        Args:
            x: if ``start`` is 0, a batch of inputs; otherwise the output of the preceding stage.
            start: number of the first stage to run.
            stop: number of the first stage not to run; None: run to the end.
        """
        if start == 0:
            x = self.prepare(x)
        for stage in self.stage_modules(start, stop):
            x = stage(x)
        return x

    @torch.no_grad()
    def output_shape(self) -> tuple[int, ...]:
        """Returns the shape of the features of :meth:`example`, without the batch."""
        if self._output_shape is None:
            was_training = self.training
            self.eval()
            try:
                self._output_shape = tuple(self(self.example()).shape[1:])
            finally:
                self.train(was_training)
        return self._output_shape

    def load_file(self, path: Path) -> None:
        """Loads a state dict from a file; ignores the weights of a classifier, wrappers and prefixes.

        Args:
            path: see :func:`fervid.models.weight_files.read_checkpoint`.

        Raises:
            InputError: if the file is missing, damaged or belongs to another network.
        """
        if not path.is_file():
            raise InputError(f"{self.group}.weights={path} is not a file: give the path of a state dict, or a name.")
        try:
            content = read_checkpoint(path)
        except InputError as error:
            raise InputError(f"{self.group}.weights={path} cannot be read: {error}.") from error
        unwrapped = self.load_tensors(content, str(path))
        if unwrapped is not None:
            log.info("%s.weights=%s: loaded from %s.", self.group, path, unwrapped)
        sha256, info = hashlib.sha256(path.read_bytes()).hexdigest(), read_weights_info(path).over(self.weights_info)
        self.weights = Weights(str(path), "file", sha256, unwrapped=unwrapped, info=info)

    def load_tensors(self, content: dict[str, Any], name: str) -> str | None:
        """Copies weights into the network.

        Args:
            content: tensors by the names of the network, or a checkpoint in which :func:`find_weights` finds them.
                Additional tensors, such as those of a classifier, are ignored.
            name: name of the weights in error messages.

        Returns:
            The entry and prefix under which the tensors were found; None if there is neither.

        Raises:
            InputError: if a tensor is missing, has another shape or is not finite.
        """
        state = self.network.state_dict()
        expected = {self.library_name(key): tensor for key, tensor in state.items()}
        added = {key: state[key] for key in state if key.split(".")[0] in self.added_stages}
        try:
            try:
                tensors, unwrapped = find_weights(content, expected, self._removed)
            except InputError:
                if not added:
                    raise
                own = {self.library_name(key): tensor for key, tensor in added.items()}
                tensors, unwrapped = find_weights(
                    content, {key: tensor for key, tensor in expected.items() if key not in own}, self._removed
                )
                tensors = tensors | own
        except InputError as error:
            raise InputError(f"{self.group}.weights={name} cannot be used: {error}.") from error
        self.network.load_state_dict({key: tensors[self.library_name(key)] for key in state})
        return unwrapped
