"""The networks of the papers, trained from scratch; each with its head has the number of parameters of its paper."""

from collections import OrderedDict
from typing import Any

from torch import nn

from fervid.models.backbone import Backbone
from fervid.models.heads import glorot


def _chain(**stages: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(stages)).apply(glorot)


class LeNet(Backbone):
    """LeNet-5 for colour pictures of 28 px: (B, 3, 28, 28) -> (B, 16, 5, 5).

    With ``head=lenet`` and four classes it has 61,496 parameters, as in the paper. Source: ISED paper, section III-C.

    Args:
        image_size: side of the input pictures in pixels.
        **options: further arguments of :class:`Backbone`.

    Examples:
        >>> import torch
        >>> backbone = LeNet()
        >>> backbone.stages
        ['conv1', 'tanh1', 'pool1', 'conv2', 'tanh2', 'pool2']
        >>> tuple(backbone(torch.rand(4, 3, 28, 28)).shape)
        (4, 16, 5, 5)
    """

    def __init__(self, *, image_size: int = 28, **options: Any):
        network = _chain(
            conv1=nn.Conv2d(3, 6, 5, padding="same"),
            tanh1=nn.Tanh(),
            pool1=nn.AvgPool2d(2),
            conv2=nn.Conv2d(6, 16, 5),
            tanh2=nn.Tanh(),
            pool2=nn.AvgPool2d(2),
        )
        super().__init__(network, list(dict(network.named_children())), image_size=image_size, **options)


class AlexNetISED(Backbone):
    """The ISED authors' variant of AlexNet with two 1 x 1 convolutions: (B, 3, 227, 227) -> (B, 256, 6, 6).

    With ``head=alexnet_ised`` and four classes it has 56,337,156 parameters as counted by Keras, that is including the
    running statistics of BatchNorm. The paper prints 56,377,156, which differs in one digit. Source: the authors'
    public notebook.

    Args:
        image_size: side of the input pictures in pixels.
        **options: further arguments of :class:`Backbone`.
    """

    def __init__(self, *, image_size: int = 227, **options: Any):
        network = _chain(
            conv1=nn.Conv2d(3, 96, 11, stride=4),
            relu1=nn.ReLU(),
            bn1=nn.BatchNorm2d(96),
            pool1=nn.MaxPool2d(3, 2),
            conv2=nn.Conv2d(96, 256, 5, padding="same"),
            relu2=nn.ReLU(),
            bn2=nn.BatchNorm2d(256),
            pool2=nn.MaxPool2d(3, 2),
            conv3=nn.Conv2d(256, 384, 3, padding="same"),
            relu3=nn.ReLU(),
            bn3=nn.BatchNorm2d(384),
            conv4=nn.Conv2d(384, 384, 1),
            relu4=nn.ReLU(),
            bn4=nn.BatchNorm2d(384),
            conv5=nn.Conv2d(384, 256, 1),
            relu5=nn.ReLU(),
            bn5=nn.BatchNorm2d(256),
            pool5=nn.MaxPool2d(3, 2),
        )
        super().__init__(network, list(dict(network.named_children())), image_size=image_size, **options)


class CNN(Backbone):
    """The network of the eNTERFACE'05 paper, for any size from 8 px: (B, 3, H, H) -> (B, 128, H // 8, H // 8).

    With ``head=cnn`` and six classes it has 4,813,638 / 1,274,694 / 226,118 parameters at 100 / 50 / 20 px, as in the
    paper. Source: eNTERFACE'05 paper, figures 3.1 to 3.3.

    Args:
        image_size: side of the input pictures in pixels.
        **options: further arguments of :class:`Backbone`.
    """

    def __init__(self, *, image_size: int = 50, **options: Any):
        network = _chain(
            conv1=nn.Conv2d(3, 32, 3, padding="same"),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(32, 64, 3, padding="same"),
            relu2=nn.ReLU(),
            conv3=nn.Conv2d(64, 128, 3, padding="same"),
            relu3=nn.ReLU(),
            dropout=nn.Dropout(0.1),
            pool2=nn.MaxPool2d(2),
            pool3=nn.MaxPool2d(2),
        )
        super().__init__(network, list(dict(network.named_children())), image_size=image_size, **options)
