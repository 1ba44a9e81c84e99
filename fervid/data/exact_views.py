"""Augmentations with finitely many results, all of which can be computed once."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # importing albumentations takes half a second
    import albumentations as A


def flip_probability(augmentation: "A.Compose") -> float | None:
    """Returns the probability that an augmentation flips a picture, if horizontal flips are all that it does.

    Such an augmentation has two results, the picture and its mirror image.

    Returns:
        The probability of the mirror image, or None if the augmentation has other transforms.
    """
    import albumentations as A

    if type(augmentation) is not A.Compose or augmentation.p < 1:
        return None
    flipped = 0.0
    for transform in augmentation.transforms:
        if type(transform) is not A.HorizontalFlip:
            return None
        flipped = flipped * (1 - transform.p) + (1 - flipped) * transform.p  # two flips cancel out
    return flipped
