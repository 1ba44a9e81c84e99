"""Heat maps of the face regions that contribute to a prediction: Grad-CAM (Selvaraju et al., ICCV 2017)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from fervid.errors import InputError
from fervid.predict.predictor import BATCH_SIZE
from fervid.tasks.task import Task


def heat_maps(model: Task, pictures: np.ndarray, classes: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
    """Returns Grad-CAM heat maps of pictures.

    Uses the feature maps of the last backbone stage whose maps are larger than one pixel. Each feature map is weighted
    by the mean gradient of the class's logit with respect to it. Negative values are set to 0, and the maximum of each
    picture is scaled to 1.

    Args:
        model: a classifier; its modes and gradients are restored afterwards.
        pictures: uint8 (N, S, S, 3) RGB.
        classes: index of the class to explain for each picture, shape (N,); None: the predicted class.

    Returns:
        float32 (N, S, S) in [0, 1]; all 0 if no region supports the class.

    Raises:
        InputError: if the network has no such stage.
    """
    from pytorch_grad_cam import GradCAM  # takes seconds to import; reports and predictions should not wait for it
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    stage = _last_stage_with_maps(model, pictures.shape[1])
    maps = [np.empty((0, *pictures.shape[1:3]), dtype=np.float32)]
    with _left_as_it_was(model), torch.enable_grad():
        cam = GradCAM(_GradientsFrom(stage, model), model.backbone.stage_modules(stage, stage + 1))
        try:  # the library's own context manager suppresses IndexError
            for start in range(0, len(pictures), BATCH_SIZE):
                shown = slice(start, start + BATCH_SIZE)
                batch = torch.from_numpy(np.ascontiguousarray(pictures[shown])).to(model.device)
                targets = (
                    None if classes is None else [ClassifierOutputTarget(int(number)) for number in classes[shown]]
                )
                maps.append(cam(batch.permute(0, 3, 1, 2).float() / 255, targets))
        finally:
            cam.activations_and_grads.release()
    return np.concatenate(maps)


class _GradientsFrom(nn.Module):
    """A classifier with gradients back to the input of one stage, whether or not its parameters are trainable."""

    def __init__(self, stage: int, model: Task):
        super().__init__()
        self.stage, self.model = stage, model

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            features = self.model.backbone(images, stop=self.stage) if self.stage else images
        features = features.requires_grad_().clone()  # the stage may be an in-place ReLU
        return self.model.head(self.model.backbone(features, start=self.stage))


@torch.no_grad()
def _last_stage_with_maps(model: Task, size: int) -> int:
    backbone, found = model.backbone, None
    with _left_as_it_was(model):
        features = torch.zeros(1, 3, size, size, device=model.device)
        for number in range(len(backbone.stages)):
            features = backbone(features, start=number, stop=number + 1)
            if features.dim() == 4 and features[0, 0].numel() > 1:  # not the tokens of a transformer
                found = number
    if found is None:
        raise InputError(
            "this backbone has no feature maps larger than one pixel: heat maps need a backbone with several stages, "
            "such as backbone=mobilenet_v2, resnet18, vgg16 or efficientnet_b2."
        )
    return found


@contextmanager
def _left_as_it_was(model: nn.Module) -> Iterator[None]:
    """Sets the model to ``eval()`` with all parameters frozen, and restores its modes and gradients afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    parameters = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    try:
        model.eval()
        for parameter, _, _ in parameters:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, requires_grad, gradient in parameters:
            parameter.requires_grad_(requires_grad)
            parameter.grad = gradient
