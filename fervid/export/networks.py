"""Networks as other programs use them: tensors in, logits or probabilities out, and the checks of an exported file."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fervid.export.traceable import traceable
from fervid.models.backbone import Backbone
from fervid.models.feature_encoder import Columns
from fervid.models.heads import Head
from fervid.models.log_mel import RATE
from fervid.models.network import Branch
from fervid.models.sequences import filled, padded, valid_positions, with_padding
from fervid.models.sound_encoders import SoundEncoder
from fervid.tasks.classification import EmotionClassifier
from fervid.tasks.task import Task

BATCH_SIZES = (1, 3, 8)  # an exported network of pictures must accept any batch size
FRAMES = (3, 1, 5)  # of three clips with different numbers of frames or of rows
SECONDS = (1.0, 0.0, 2.3)  # of three sounds; 0: as short as the encoder allows

Check = tuple[dict[str, Tensor], list[Tensor]]  # inputs by name, and the outputs of the run's network


class FaceNetwork(nn.Module):
    """The network of a classifier of pictures: faces (B, 3, H, W), RGB in [0, 1] -> logits (B, num_classes).

    If the classifier has ``test_flips``, the logits are the mean of those for a face and for its mirror image.

    Args:
        model: the classifier, or another task; its backbone and head are set to ``eval()``.

    Attributes:
        outputs: names of the outputs.
    """

    outputs: tuple[str, ...] = ("logits",)

    def __init__(self, model: Task):
        super().__init__()
        head = model.head
        assert isinstance(head, Head)  # that of a network of pictures
        self.backbone: Backbone = model.backbone
        self.head: Head = head
        self.test_flips = model.test_flips
        self.eval()

    def forward(self, faces: Tensor) -> Any:
        logits = self.head(self.backbone(faces))
        return (logits + self.head(self.backbone(faces.flip(3)))) / 2 if self.test_flips else logits

    def example(self) -> dict[str, Tensor]:
        """Returns an input by its name."""
        size = self.backbone.image_size
        return {"faces": torch.rand(2, 3, size, size)}

    def dynamic_shapes(self) -> dict[str, dict[int, Any]]:
        """Returns the axes of any length."""
        return {"faces": {0: torch.export.Dim("batch")}}


class AnswerNetwork(FaceNetwork):
    """The network of a task with other parts than classification: faces (B, 3, H, W) -> the answers of each part.

    The outputs have the names of the parts and the shapes and values of :meth:`fervid.tasks.task.Task.answers`.

    Args:
        model: the task; see :class:`FaceNetwork`.
    """

    def __init__(self, model: Task):
        super().__init__(model)
        self.outputs = tuple(part.name for part in model.parts)
        self._answers = model.answers  # a method, so that the task is no part of this network

    def forward(self, faces: Tensor) -> tuple[Tensor, ...]:
        return tuple(self._answers(super().forward(faces)).values())


class ClipNetwork(nn.Module):
    """The network of a classifier of clips, sounds or feature tables, with an input for each modality.

    What is NaN is missing: the end of a sequence that is shorter than the batch, or a whole modality of a clip.

    Args:
        model: the classifier; a copy of its network is used.

    Attributes:
        outputs: ``probabilities``, their ``logits``, and with several modalities ``probabilities_<modality>``, those of
            each alone.

    Shapes:
        ``image`` (B, T, 3, H, W), ``sound`` (B, S), ``features`` (B, R, F) -> (B, num_classes) each; NaN where a
        modality, or all of them, are missing.
    """

    def __init__(self, model: EmotionClassifier):
        super().__init__()
        self.network = traceable(model.network)
        self.test_flips = model.test_flips
        names = self.network.modalities
        self.outputs = ("probabilities", "logits", *(f"probabilities_{name}" for name in names if len(names) > 1))

    def forward(self, **inputs: Tensor) -> tuple[Tensor, ...]:
        own, mirrored, present = {}, {}, {}
        for name, branch in self.network.branches.items():
            valid = valid_positions(inputs[name])
            present[name] = valid.any(1)
            own[name] = mirrored[name] = _vector(branch, inputs[name], valid)
            if self.test_flips and name == Backbone.modality:
                mirrored[name] = _vector(branch, inputs[name].flip(-1), valid)
        logits = self._logits(own, mirrored, torch.stack(list(present.values())).any(0))
        outputs = [logits.softmax(1), logits]
        for name in own if len(own) > 1 else ():
            shown, flipped = (
                {other: x if other == name else torch.full_like(x, torch.nan) for other, x in each.items()}
                for each in (own, mirrored)
            )
            outputs.append(self._logits(shown, flipped, present[name]).softmax(1))
        return tuple(outputs)

    def _logits(self, own: dict[str, Tensor], mirrored: dict[str, Tensor], present: Tensor) -> Tensor:
        logits = self.network.join(own)
        if self.test_flips:
            logits = (logits + self.network.join(mirrored)) / 2
        return logits.masked_fill(~present[:, None], torch.nan)

    def example(self) -> dict[str, Tensor]:
        """Returns a batch of two clips without padding."""
        clips = [random_clip(self.network.encoders, 3, 1.1, torch.Generator().manual_seed(seed)) for seed in (0, 1)]
        return {name: torch.stack([clip[name] for clip in clips]) for name in self.network.modalities}

    def dynamic_shapes(self) -> dict[str, Any]:
        """Returns the axes of any length, for ``**inputs``."""
        any_length = torch.export.Dim.AUTO  # a range cannot be given: each convolution would derive another one
        return {"inputs": {name: {0: any_length, 1: any_length} for name in self.network.modalities}}


def _vector(branch: Branch, x: Tensor, valid: Tensor) -> Tensor:
    """Returns the vector (B, F) or sequence (B, T, D) of a modality, NaN where it is missing."""
    if branch.over_time:
        frames = branch.reduce(branch.encoder(filled(x).flatten(0, 1))).unflatten(0, x.shape[:2])
        found = branch.pooling(with_padding(frames, valid))
    else:
        found = branch.pooling(branch.reduce(branch.encoder(x)))
    return found.masked_fill(~valid.any(1).view(-1, *[1] * (found.dim() - 1)), torch.nan)


def made_network(model: Task) -> FaceNetwork | ClipNetwork:
    """Returns the network of a run as it is exported."""
    if not isinstance(model, EmotionClassifier):
        return AnswerNetwork(model)
    return FaceNetwork(model) if classifies_pictures(model) else ClipNetwork(model)


def classifies_pictures(model: Task) -> bool:
    """Whether a network is shown single pictures instead of clips."""
    return model.network.modalities == (Backbone.modality,) and not model.network.branches[Backbone.modality].over_time


def checks(model: Task) -> Iterator[Check]:
    """Yields random inputs, and what the run's network answers; an exported network must answer the same.

    Pictures are in batches of different sizes. Clips differ in length, and the classifier is shown each by itself,
    without padding; of several modalities, each is missing once.
    """
    if isinstance(model, EmotionClassifier) and not classifies_pictures(model):
        return _clip_checks(model)
    return _picture_checks(model)


@torch.no_grad()
def _picture_checks(model: Task) -> Iterator[Check]:
    generator = torch.Generator().manual_seed(0)
    for batch in BATCH_SIZES:
        faces = random_faces(batch, model.backbone.image_size, generator)
        outputs = model(faces)
        is_classifier = isinstance(model, EmotionClassifier)
        yield {"faces": faces}, [outputs] if is_classifier else list(model.answers(outputs).values())


@torch.no_grad()
def _clip_checks(model: EmotionClassifier) -> Iterator[Check]:
    names, generator = model.network.modalities, torch.Generator().manual_seed(0)
    encoders = model.network.encoders
    clips = [random_clip(encoders, frames, seconds, generator) for frames, seconds in zip(FRAMES, SECONDS, strict=True)]
    batches = [clips[:1], clips]
    for name in names if len(names) > 1 else ():
        batches.append([clips[0], {other: x for other, x in clips[2].items() if other != name}])
    for batch in batches:
        inputs = {
            name: padded([clip.get(name, torch.full_like(clips[2][name], torch.nan)) for clip in batch])
            for name in names
        }
        logits = torch.cat([_answer(model, clip, names) for clip in batch])
        alone = [torch.cat([_answer(model, clip, [name]) for clip in batch]) for name in names if len(names) > 1]
        yield inputs, [logits.softmax(1), logits, *(each.softmax(1) for each in alone)]


def _answer(model: EmotionClassifier, clip: Mapping[str, Tensor], names: Any) -> Tensor:
    """Returns the logits (1, num_classes) for some modalities of a clip, NaN if it has none of them."""
    given = {name: clip[name][None] for name in names if name in clip}
    return model(given) if given else torch.full((1, len(model.class_names)), torch.nan)


def random_clip(
    encoders: Mapping[str, Any], frames: int, seconds: float, generator: torch.Generator
) -> dict[str, Tensor]:
    """Returns random inputs of one clip, by modality.

    Args:
        encoders: the encoder of each modality.
        frames: number of frames, and of rows of features.
        seconds: duration of the sound; at least as long as the encoder needs.
        generator: random generator.
    """
    clip = {}
    for name, encoder in encoders.items():
        if isinstance(encoder, Backbone):
            clip[name] = random_faces(frames, encoder.image_size, generator)
        elif isinstance(encoder, SoundEncoder):
            count = max(round(seconds * RATE), encoder.min_samples)
            levels = nn.functional.interpolate(torch.rand(1, 1, 6, generator=generator), count, mode="linear")
            clip[name] = 0.3 * levels[0, 0] ** 2 * torch.randn(count, generator=generator)
        else:
            assert isinstance(encoder, Columns)
            stage = encoder.standardise
            clip[name] = torch.randn(frames, len(encoder.names), generator=generator) * stage.deviation + stage.mean
    return clip


def random_faces(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Returns random pictures, from coarse patches to noise."""
    patches = torch.rand(count, 3, 5, 5, generator=generator)
    noise = torch.rand(count, 3, size, size, generator=generator)
    share = torch.rand(count, 1, 1, 1, generator=generator)
    return (share * noise + (1 - share) * nn.functional.interpolate(patches, (size, size))).contiguous()
