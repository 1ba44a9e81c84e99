"""The classical recogniser: local Gabor binary patterns, then PCA and LDA.

It is the benchmark that ISED came with (Happy, Patnaik, Routray and Guha 2015, IEEE Transactions on Affective
Computing 8(1)). The features are those of Zhang, Shan, Gao, Chen and Zhang 2005 (ICCV, LGBPHS).
"""

from functools import cache

import cv2
import numpy as np
from joblib import Parallel, delayed
from rich import get_console
from rich.progress import track
from skimage.feature import local_binary_pattern
from skimage.filters import gabor_kernel
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import Pipeline, make_pipeline

from fervid.errors import InputError
from fervid.processes.lifetime import for_workers

CODES = 59  # 58 uniform patterns of eight neighbours (at most two changes round the circle), and one for all others
CHUNK = 32  # faces handed to a process at a time


def lgbp_features(
    faces: np.ndarray,
    *,
    image_size: int = 64,
    scales: int = 5,
    orientations: int = 8,
    grid: int = 4,
    processes: int = -1,
    description: str = "LGBP features",
) -> np.ndarray:
    """Describes faces by histograms of the local binary patterns of their Gabor magnitudes.

    A face takes F floats: 151 KB at the defaults, so that 10,000 faces take 1.5 GB.

    Args:
        faces: uint8 (N, H, W, 3) RGB or (N, H, W) gray.
        image_size: side in pixels at which they are looked at.
        scales: of the Gabor filters, each a factor of sqrt(2) coarser than the one before.
        orientations: of the Gabor filters, evenly from 0 to below 180 degrees.
        grid: the face is cut into ``grid`` x ``grid`` cells, each with its own histograms.
        processes: how many share the work; -1 for as many as there are cores.
        description: what to show beside the progress bar.

    Returns:
        Float32 (N, F), F = scales * orientations * grid^2 * 59; each histogram sums to 1.

    Raises:
        InputError: if a setting is out of range.
    """
    check_settings(image_size=image_size, scales=scales, orientations=orientations, grid=grid)
    chunks = [faces[start : start + CHUNK] for start in range(0, len(faces), CHUNK)]
    features = np.empty((len(faces), scales * orientations * grid**2 * CODES), dtype=np.float32)
    jobs = (delayed(for_workers(_describe))(chunk, image_size, scales, orientations, grid) for chunk in chunks)
    few = len(chunks) < 4  # done before processes have started
    # Processes, because most of the time goes into the patterns, which hold Python's lock.
    done = Parallel(n_jobs=1 if few else processes, return_as="generator")(jobs)
    hidden = few or not get_console().is_terminal
    for number, rows in enumerate(track(done, description, total=len(chunks), transient=True, disable=hidden)):
        features[number * CHUNK : number * CHUNK + len(rows)] = rows
    return features


def check_settings(*, image_size: int, scales: int, orientations: int, grid: int) -> None:
    """Raises an InputError unless the settings of :func:`lgbp_features` are in range."""
    for name, value, least, most in (
        ("image_size", image_size, 16, 512),
        ("scales", scales, 1, 8),  # beyond, the filters are larger than any face
        ("orientations", orientations, 1, 32),
        ("grid", grid, 1, image_size // 4),  # smaller cells hold less than one pixel a code
    ):
        if not least <= value <= most:
            raise InputError(f"features.{name}={value} is out of range: give {least} to {most}.")


def make_classifier(pca: float = 0.95, seed: int = 42) -> Pipeline:
    """Makes the classifier of the features: PCA, then LDA with probabilities.

    There are far more features than faces, and after PCA still about as many components as faces of one emotion. So
    LDA shrinks its covariance by Ledoit and Wolf's rule: plain LDA is as often right and far too sure of itself. The
    rule scales each component first, so that whitening by PCA would change nothing.

    PCA by a share of variance takes time in proportion to the square of the N training faces, and about three times
    the memory of their features; a whole number of components is drawn at random, which is faster.

    Args:
        pca: share of variance to keep, or from 2 on the number of components.
        seed: of the random draw.

    Returns:
        An unfitted scikit-learn pipeline from features (N, F) to classes.

    Raises:
        InputError: if ``pca`` is neither a share nor a number of components.
    """
    if not (0 < pca < 1 or (pca >= 2 and float(pca).is_integer())):
        raise InputError(
            f"pca={pca} is neither a share nor a number of components: give a share of variance between 0 and 1, or a "
            "whole number from 2 on."
        )
    return make_pipeline(
        PCA(n_components=float(pca) if pca < 1 else int(pca), random_state=seed),
        LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
    )


def _describe(faces: np.ndarray, image_size: int, scales: int, orientations: int, grid: int) -> np.ndarray:
    """Features, float32 (N, F), of a chunk of faces."""
    rows = np.arange(image_size) * grid // image_size
    cells = rows[:, None] * grid + rows
    pixels = np.bincount(cells.ravel())[:, None]
    features = np.empty((len(faces), scales * orientations, grid**2, CODES), dtype=np.float32)
    for number, face in enumerate(faces):
        gray = _gray(face, image_size)
        for filtered, (real, imaginary) in enumerate(gabor_kernels(scales, orientations)):
            magnitude = cv2.magnitude(cv2.filter2D(gray, -1, real), cv2.filter2D(gray, -1, imaginary))
            # Steps of 1/16 gray level are about three times what rounding the picture to bytes leaves in the finest
            # magnitude (0.02): without them the patterns of smooth skin would be those of that noise.
            steps = np.rint(16 * magnitude).astype(np.uint16)
            codes = local_binary_pattern(steps, P=8, R=1, method="nri_uniform").astype(np.intp)
            counts = np.bincount((cells * CODES + codes).ravel(), minlength=grid**2 * CODES)
            features[number, filtered] = counts.reshape(-1, CODES) / pixels
    return features.reshape(len(faces), -1)


def _gray(face: np.ndarray, image_size: int) -> np.ndarray:
    """A face as float32 (image_size, image_size), 0 to 255."""
    gray = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY) if face.ndim == 3 else face
    if gray.shape != (image_size, image_size):
        method = cv2.INTER_AREA if len(gray) > image_size else cv2.INTER_LINEAR
        gray = cv2.resize(gray, (image_size, image_size), interpolation=method)
    return gray.astype(np.float32)


@cache
def gabor_kernels(scales: int, orientations: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Real and imaginary parts of the Gabor filters, scale by scale; wavelengths of 4 pixels and up.

    As in Zhang et al. 2005, equation 1: k_max = pi / 2, steps of sqrt(2), sigma = 2 pi, which makes the deviation of
    the bell one wavelength. Cut off at three deviations; then the mean is taken out, and with it all brightness.
    """
    kernels = []
    for scale in range(scales):
        wavelength = 4 * 2 ** (scale / 2)
        for orientation in range(orientations):
            angle = np.pi * orientation / orientations
            kernel = gabor_kernel(1 / wavelength, theta=angle, sigma_x=wavelength, sigma_y=wavelength, n_stds=3)
            bell = np.abs(kernel)
            kernel -= bell * (kernel.real.sum() / bell.sum())
            kernels.append((kernel.real.astype(np.float32), kernel.imag.astype(np.float32)))
    return kernels
