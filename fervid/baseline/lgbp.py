"""The classical recogniser: local Gabor binary patterns, then PCA and LDA.

It is the benchmark published with ISED (Happy, Patnaik, Routray and Guha 2015, IEEE Transactions on Affective
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

CODES = 59  # 58 uniform patterns of eight neighbours (at most two transitions), plus one for all others
CHUNK = 32  # faces per task of a worker process


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
    """Computes histograms of local binary patterns of the Gabor magnitudes of faces.

    Each face needs F floats: 151 KB with the defaults, or 1.5 GB for 10,000 faces.

    Args:
        faces: uint8 (N, H, W, 3) RGB or (N, H, W) gray.
        image_size: side in pixels to which faces are resized.
        scales: number of scales of the Gabor filters; wavelengths increase by a factor of sqrt(2).
        orientations: number of orientations of the Gabor filters, evenly spaced from 0 to below 180 degrees.
        grid: number of cells per side; each of the ``grid`` x ``grid`` cells has its own histograms.
        processes: number of worker processes; -1 uses all cores.
        description: label of the progress bar.

    Returns:
        Float32 (N, F), F = scales * orientations * grid^2 * 59; each histogram sums to 1.

    Raises:
        InputError: if a setting is out of range.
    """
    check_settings(image_size=image_size, scales=scales, orientations=orientations, grid=grid)
    chunks = [faces[start : start + CHUNK] for start in range(0, len(faces), CHUNK)]
    features = np.empty((len(faces), scales * orientations * grid**2 * CODES), dtype=np.float32)
    jobs = (delayed(for_workers(_features))(chunk, image_size, scales, orientations, grid) for chunk in chunks)
    is_small = len(chunks) < 4  # faster than starting processes
    # Processes instead of threads: computing the patterns takes most of the time and holds the GIL.
    done = Parallel(n_jobs=1 if is_small else processes, return_as="generator")(jobs)
    hidden = is_small or not get_console().is_terminal
    for number, rows in enumerate(track(done, description, total=len(chunks), transient=True, disable=hidden)):
        features[number * CHUNK : number * CHUNK + len(rows)] = rows
    return features


def check_settings(*, image_size: int, scales: int, orientations: int, grid: int) -> None:
    """Raises an InputError unless the settings of :func:`lgbp_features` are in range."""
    for name, value, least, most in (
        ("image_size", image_size, 16, 512),
        ("scales", scales, 1, 8),  # larger filters would exceed the face
        ("orientations", orientations, 1, 32),
        ("grid", grid, 1, image_size // 4),  # smaller cells have fewer than one pixel per code
    ):
        if not least <= value <= most:
            raise InputError(f"features.{name}={value} is out of range: use {least} to {most}.")


def make_classifier(pca: float = 0.95, seed: int = 42) -> Pipeline:
    """Creates the classifier of the features: PCA, followed by LDA with probabilities.

    There are far more features than faces, and after PCA still about as many components as faces of one emotion. LDA
    therefore shrinks its covariance (Ledoit and Wolf): without shrinkage it is equally accurate but far too
    overconfident. The shrinkage rescales each component first, so whitening by PCA would have no effect.

    PCA by a fraction of variance takes time proportional to the square of the N training faces, and about three times
    the memory of their features. A whole number of components uses a randomised solver, which is faster.

    Args:
        pca: fraction of variance to keep, or number of components if at least 2.
        seed: seed of the randomised solver.

    Returns:
        An unfitted scikit-learn pipeline from features (N, F) to classes.

    Raises:
        InputError: if ``pca`` is neither a fraction nor a number of components.
    """
    if not (0 < pca < 1 or (pca >= 2 and float(pca).is_integer())):
        raise InputError(
            f"pca={pca} is invalid: use a fraction of variance between 0 and 1, or a whole number of components of at "
            "least 2."
        )
    return make_pipeline(
        PCA(n_components=float(pca) if pca < 1 else int(pca), random_state=seed),
        LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
    )


def _features(faces: np.ndarray, image_size: int, scales: int, orientations: int, grid: int) -> np.ndarray:
    """Features, float32 (N, F), of a chunk of faces."""
    rows = np.arange(image_size) * grid // image_size
    cells = rows[:, None] * grid + rows
    pixels = np.bincount(cells.ravel())[:, None]
    features = np.empty((len(faces), scales * orientations, grid**2, CODES), dtype=np.float32)
    for number, face in enumerate(faces):
        gray = _gray(face, image_size)
        for filtered, (real, imaginary) in enumerate(gabor_kernels(scales, orientations)):
            magnitude = cv2.magnitude(cv2.filter2D(gray, -1, real), cv2.filter2D(gray, -1, imaginary))
            # Quantised to 1/16 gray level, about three times the error that rounding the picture to bytes causes in the
            # finest magnitude (0.02). Otherwise this noise would determine the patterns of smooth skin.
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
    """Returns real and imaginary parts of the Gabor filters, by scale; the shortest wavelength is 4 pixels.

    They follow Zhang et al. 2005, equation 1: k_max = pi / 2, steps of sqrt(2), sigma = 2 pi, so that the standard
    deviation of the Gaussian is one wavelength. The filters are truncated at three standard deviations. Their mean is
    then removed, so that they do not respond to brightness.
    """
    kernels = []
    for scale in range(scales):
        wavelength = 4 * 2 ** (scale / 2)
        for orientation in range(orientations):
            angle = np.pi * orientation / orientations
            kernel = gabor_kernel(1 / wavelength, theta=angle, sigma_x=wavelength, sigma_y=wavelength, n_stds=3)
            gaussian = np.abs(kernel)
            kernel -= gaussian * (kernel.real.sum() / gaussian.sum())
            kernels.append((kernel.real.astype(np.float32), kernel.imag.astype(np.float32)))
    return kernels
