"""The four papers' pipelines in Keras, written as in a notebook; ``benchmarks/peers.py`` compares fervid with them.

Each runs from raw videos or pictures to test scores in one process: OpenCV reads and crops, ``tf.data`` caches,
augments in parallel and prefetches, Keras trains. The script runs in a separate environment without fervid; the last
line that it prints is JSON with scores, parameters and seconds. Keras uses its defaults for XLA compilation (only on
GPUs) and the number of steps per execution (one).
"""

import time

BEGAN = time.perf_counter()

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
from collections.abc import Callable  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from functools import partial  # noqa: E402
from pathlib import Path  # noqa: E402

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2  # noqa: E402
import keras  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import tensorflow as tf  # noqa: E402
from keras import layers  # noqa: E402

IMPORTED = time.perf_counter()

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CENTRED = ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
PLAIN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


# From files to pictures


def cut_videos(frames: pd.DataFrame, root: Path, folder: Path, pipeline: "Pipeline") -> pd.DataFrame:
    """Crops the listed frames of videos to squares, at the face or at the centre, and writes them.

    Args:
        frames: one row per frame: ``path``, ``frame``, ``emotion``, ``split``.
        root: folder that the paths are relative to.
        folder: output folder.
        pipeline: defines the crops. If it detects faces, a frame without a face is omitted.

    Returns:
        The rows with a picture, with the column ``file``.
    """
    faces, eyes = (
        cv2.CascadeClassifier(f"{cv2.data.haarcascades}haarcascade_{name}.xml")
        for name in ("frontalface_default", "eye")
    )
    folder.mkdir(parents=True)
    rows = []
    for path, listed in frames.groupby("path"):
        wanted = {row.frame: row for row in listed.itertuples()}
        capture = cv2.VideoCapture(str(root / path))
        for number in range(max(wanted) + 1):
            if not capture.grab():
                break
            if number not in wanted:
                continue
            _, picture = capture.retrieve()
            box = largest_face(picture, faces) if pipeline.detect else centre(picture)
            if box is None:
                continue
            square = cut(picture, box, eye_angle(picture, box, eyes) if pipeline.level else 0.0)
            picture = cv2.resize(square, (pipeline.size, pipeline.size), interpolation=cv2.INTER_AREA)
            if pipeline.grayscale:
                picture = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
            file = folder / f"{len(rows):06d}.png"
            cv2.imwrite(str(file), picture)
            rows.append({"emotion": wanted[number].emotion, "split": wanted[number].split, "file": str(file)})
        capture.release()
    return pd.DataFrame(rows)


Box = tuple[int, int, int]  # left, top, side


def centre(picture: np.ndarray) -> Box:
    """Returns the central square of a picture."""
    height, width = picture.shape[:2]
    side = min(height, width)
    return (width - side) // 2, (height - side) // 2, side


def largest_face(picture: np.ndarray, cascade: cv2.CascadeClassifier) -> Box | None:
    """Returns the largest face that Haar detects in a picture reduced to 640 pixels, with a margin of 7%."""
    scale = min(1.0, 640 / max(picture.shape[:2]))
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else picture
    gray = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
    smallest = int(0.15 * min(gray.shape))
    faces = cascade.detectMultiScale(gray, 1.1, 4, minSize=(smallest, smallest))
    if not len(faces):
        return None
    x, y, side = max(faces, key=lambda face: face[2])[:3] / scale
    margin = 0.07 * side
    return max(0, int(x - margin)), max(0, int(y - margin)), int(side + 2 * margin)


def eye_angle(picture: np.ndarray, box: Box, cascade: cv2.CascadeClassifier) -> float:
    """Returns the roll of a face in degrees, from the eyes that Haar detects in its upper half; 0 without both eyes."""
    x, y, side = box
    scale = min(1.0, 160 / side)
    upper = picture[y : y + int(0.55 * side), x : x + side]
    upper = cv2.resize(upper, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    smallest, largest = int(0.15 * scale * side), int(0.4 * scale * side)
    gray = cv2.cvtColor(upper, cv2.COLOR_BGR2GRAY)
    found = cascade.detectMultiScale(gray, 1.1, 4, minSize=(smallest, smallest), maxSize=(largest, largest))
    middles = [(x + w / 2, y + h / 2) for x, y, w, h in sorted(found, key=lambda eye: eye[2])]  # the largest are last
    left = [middle for middle in middles if middle[0] < upper.shape[1] / 2]
    right = [middle for middle in middles if middle[0] >= upper.shape[1] / 2]
    if not left or not right:
        return 0.0
    (x0, y0), (x1, y1) = left[-1], right[-1]
    angle = np.degrees(np.arctan2(y1 - y0, x1 - x0))
    return float(angle) if abs(angle) < 30 else 0.0


def cut(picture: np.ndarray, box: Box, angle: float) -> np.ndarray:
    """Returns a square of a picture, rotated around its centre by an angle in degrees."""
    x, y, side = box
    if not angle:
        return picture[y : y + side, x : x + side]
    turn = cv2.getRotationMatrix2D((x + side / 2, y + side / 2), angle, 1.0)
    turn[:, 2] -= x, y
    return cv2.warpAffine(picture, turn, (side, side))


def read_parquet(frames: pd.DataFrame, root: Path, size: int) -> np.ndarray:
    """Returns the pictures of the listed rows of a Parquet file, uint8 (N, size, size, 3) RGB."""
    column = pd.read_parquet(root, columns=["image"])["image"]
    pictures = np.empty((len(frames), size, size, 3), np.uint8)
    for place, path in enumerate(frames["path"]):
        encoded = np.frombuffer(column.iloc[int(path.rsplit("/", 1)[1])]["bytes"], np.uint8)
        picture = cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        pictures[place] = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    return pictures


# Augmentation: batches (B, H, W, 3) in [0, 255], with the strengths of fervid's conf/augmentation


def augmentation_ised(size: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """Flip, rotation, shift and zoom; the edge is repeated."""
    return in_turn(
        layers.RandomFlip("horizontal"),
        layers.RandomRotation(10 / 360, fill_mode="nearest"),
        layers.RandomTranslation(0.1, 0.1, fill_mode="nearest"),
        layers.RandomZoom((-0.1, 0.1), fill_mode="nearest"),
    )


def augmentation_enterface(size: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """Rotation by up to 15 degrees and noise of 0.8 to 4% of the range, each with a probability of one half."""
    turn = layers.RandomRotation(15 / 360, fill_mode="nearest")

    def augment(pictures: tf.Tensor) -> tf.Tensor:
        shape = (tf.shape(pictures)[0], 1, 1, 1)
        pictures = tf.where(tf.random.uniform(shape) < 0.5, turn(pictures, training=True), pictures)
        strength = tf.random.uniform(shape, 0.008 * 255, 0.04 * 255) * tf.cast(
            tf.random.uniform(shape) < 0.5, tf.float32
        )
        return tf.clip_by_value(pictures + strength * tf.random.normal(tf.shape(pictures)), 0, 255)

    return augment


def augmentation_hf(size: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """Flip, rotation, zoom and contrast."""
    return in_turn(
        layers.RandomFlip("horizontal"),
        layers.RandomRotation(10 / 360, fill_mode="reflect"),
        layers.RandomZoom((-0.1, 0.1), fill_mode="reflect"),
        layers.RandomContrast(0.1),
    )


def in_turn(*steps: layers.Layer) -> Callable[[tf.Tensor], tf.Tensor]:
    """Applies preprocessing layers one after another."""

    def augment(pictures: tf.Tensor) -> tf.Tensor:
        for step in steps:
            pictures = step(pictures, training=True)
        return pictures

    return augment


# Networks


def lenet(size: int, classes: int) -> tuple[keras.Model, None]:
    """LeNet of the ISED paper."""
    network = from_scratch(
        size,
        layers.Conv2D(6, 5, padding="same", activation="tanh"),
        layers.AveragePooling2D(2),
        layers.Conv2D(16, 5, activation="tanh"),
        layers.AveragePooling2D(2),
        layers.Flatten(),
        layers.Dense(120, activation="tanh"),
        layers.Dense(84, activation="tanh"),
        layers.Dense(classes, activation="softmax"),
    )
    assert classes != 4 or network.count_params() == 61_496, network.count_params()
    return network, None


def alexnet(size: int, classes: int) -> tuple[keras.Model, None]:
    """AlexNet of the ISED authors' notebook."""
    network = from_scratch(
        size,
        layers.Conv2D(96, 11, strides=4, activation="relu"),
        layers.BatchNormalization(),
        layers.MaxPooling2D(3, 2),
        layers.Conv2D(256, 5, padding="same", activation="relu"),
        layers.BatchNormalization(),
        layers.MaxPooling2D(3, 2),
        layers.Conv2D(384, 3, padding="same", activation="relu"),
        layers.BatchNormalization(),
        layers.Conv2D(384, 1, activation="relu"),
        layers.BatchNormalization(),
        layers.Conv2D(256, 1, activation="relu"),
        layers.BatchNormalization(),
        layers.MaxPooling2D(3, 2),
        layers.Flatten(),
        layers.Dense(4096, activation="relu"),
        layers.Dropout(0.5),
        layers.Dense(4096, activation="relu"),
        layers.Dropout(0.5),
        layers.Dense(classes, activation="softmax"),
    )
    assert classes != 4 or network.count_params() == 56_337_156, network.count_params()
    return network, None


def cnn(size: int, classes: int) -> tuple[keras.Model, None]:
    """The network of the eNTERFACE'05 paper."""
    network = from_scratch(
        size,
        layers.Conv2D(32, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(2),
        layers.Conv2D(64, 3, padding="same", activation="relu"),
        layers.Conv2D(128, 3, padding="same", activation="relu"),
        layers.Dropout(0.1),
        layers.MaxPooling2D(2),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dense(256, activation="relu"),
        layers.Dense(classes, activation="softmax"),
    )
    printed = {100: 4_813_638, 50: 1_274_694, 20: 226_118}.get(size)
    assert classes != 6 or printed in (None, network.count_params()), network.count_params()
    return network, None


def from_scratch(size: int, *chain: layers.Layer) -> keras.Model:
    """A chain of layers on centred pictures."""
    return keras.Sequential([keras.Input((size, size, 3)), *normalise(*CENTRED), *chain])


def vgg16_ravdess(size: int, classes: int) -> tuple[keras.Model, keras.Model]:
    """VGG16 with the RAVDESS paper's top."""
    base = keras.applications.VGG16(include_top=False, weights=None, input_shape=(size, size, 3))
    top = [
        layers.Flatten(),
        layers.Dense(4096, activation="relu"),
        layers.Dropout(0.3),
        layers.Dense(4096, activation="relu"),
        layers.Dropout(0.5),
    ]
    return on_base(base, IMAGENET, top, classes), base


def hf_network(name: str, size: int, classes: int) -> tuple[keras.Model, keras.Model]:
    """A network of ``keras.applications`` under global average pooling and one dense layer."""
    base = getattr(keras.applications, name)(include_top=False, weights=None, input_shape=(size, size, 3))
    scale = (
        ((0.0,) * 3, (1 / 255,) * 3) if name.startswith("EfficientNet") else PLAIN
    )  # the network divides by 255 itself
    return on_base(base, scale, [layers.GlobalAveragePooling2D(), layers.Dropout(0.2)], classes), base


def on_base(base: keras.Model, scale: tuple, top: list[layers.Layer], classes: int) -> keras.Model:
    """Layers on a base whose BatchNorm stays in inference mode."""
    pictures = x = keras.Input(base.input_shape[1:])
    for layer in normalise(*scale):
        x = layer(x)
    x = base(x, training=False)
    for layer in top:
        x = layer(x)
    return keras.Model(pictures, layers.Dense(classes, activation="softmax")(x))


def normalise(mean: tuple[float, ...], std: tuple[float, ...]) -> list[layers.Layer]:
    """Normalises pictures in [0, 255] for the network."""
    return [layers.Rescaling([1 / (255 * s) for s in std], [-m / s for m, s in zip(mean, std, strict=True)])]


def load_torchvision(base: keras.Model, file: Path) -> None:
    """Loads the weights of torchvision's network of the same name into a base, stored in torchvision's order."""
    with np.load(file) as stored:
        tensors = [stored[name] for name in sorted(stored.files)]
    for layer in base.layers:
        if isinstance(layer, layers.ZeroPadding2D):  # torch pads the other edge of pictures of an even size
            layer.padding = tuple(edges[::-1] for edges in layer.padding)
        if not layer.weights or isinstance(layer, layers.Normalization):
            continue
        if isinstance(layer, layers.BatchNormalization):
            layer.epsilon = 1e-5  # torchvision's
        own, tensors = tensors[: len(layer.weights)], tensors[len(layer.weights) :]
        axes = (2, 3, 0, 1) if isinstance(layer, layers.DepthwiseConv2D) else (2, 3, 1, 0)
        layer.set_weights([tensor.transpose(axes) if tensor.ndim == 4 else tensor for tensor in own])
    assert not tensors, f"{len(tensors)} tensors are left over"


# Pipelines


@dataclass(frozen=True)
class Phase:
    """A training phase; ``first`` is the first trainable layer of the base, ``all`` or ``head``."""

    first: str
    rate: float


@dataclass(frozen=True)
class Pipeline:
    """The pipeline of a paper, as in its preset in fervid's conf/experiment.

    Attributes:
        network: function from image size and number of classes to the network and, if it has frozen layers, its base.
        size: side length of the pictures in pixels.
        optimizer: function from the learning rate to the optimizer.
        phases: the training phases.
        batch: batch size.
        augmentation: function from image size to the augmentation of training pictures.
        detect: whether to detect faces; otherwise the central square of the frame is used.
        level: whether to rotate faces until the eyes are level.
        grayscale: whether to use the luminance in all channels.
        keep_best: whether to restore the weights of the epoch with the lowest validation loss.
    """

    network: Callable[[int, int], tuple[keras.Model, keras.Model | None]]
    size: int
    optimizer: Callable[..., keras.optimizers.Optimizer]
    phases: tuple[Phase, ...]
    batch: int = 32
    augmentation: Callable | None = None
    detect: bool = False
    level: bool = False
    grayscale: bool = False
    keep_best: bool = False


def _hf(name: str, first: str) -> Pipeline:
    return Pipeline(
        partial(hf_network, name),
        224,
        keras.optimizers.Adam,
        (Phase("head", 1e-3), Phase(first, 1e-5)),
        augmentation=augmentation_hf,
        keep_best=True,
    )


ALL = (Phase("all", 1e-3),)
PIPELINES = {
    "ised_lenet": Pipeline(lenet, 28, keras.optimizers.RMSprop, ALL, 10, augmentation_ised, detect=True, level=True),
    "ised_alexnet": Pipeline(alexnet, 227, keras.optimizers.SGD, ALL, 10, augmentation_ised, detect=True, level=True),
    "enterface_cnn": Pipeline(cnn, 100, keras.optimizers.Adam, ALL, 32, augmentation_enterface, grayscale=True),
    "ravdess_vgg16": Pipeline(vgg16_ravdess, 90, keras.optimizers.Adam, (Phase("block5_conv2", 1e-4),)),
    "hf_mobilenet_v2": _hf("MobileNetV2", "block_14_expand"),
    "hf_vgg16": _hf("VGG16", "block3_conv3"),
    "hf_efficientnet_b2": _hf("EfficientNetB2", "block7a_expand_conv"),
}


def datasets(pipeline: Pipeline, frames: pd.DataFrame, pictures: np.ndarray | None) -> dict[str, tf.data.Dataset]:
    """Returns the batches of each subset: read once, cached, augmented in parallel and prefetched."""
    found = {}
    for side, rows in frames.reset_index(drop=True).groupby("split"):
        labels = rows["label"].to_numpy()
        if pictures is not None:
            data = tf.data.Dataset.from_tensor_slices((pictures[rows.index], labels))
        else:
            data = tf.data.Dataset.from_tensor_slices((rows["file"].to_numpy(str), labels)).map(
                lambda file, label: (tf.io.decode_png(tf.io.read_file(file), channels=3), label),
                num_parallel_calls=tf.data.AUTOTUNE,
            )
            data = data.map(
                lambda picture, label: (tf.ensure_shape(picture, (pipeline.size, pipeline.size, 3)), label)
            ).cache()
        if side == "train":
            data = data.shuffle(len(rows), reshuffle_each_iteration=True)
        data = data.batch(pipeline.batch if side == "train" else max(pipeline.batch, 64))
        data = data.map(lambda x, y: (tf.cast(x, tf.float32), y), num_parallel_calls=tf.data.AUTOTUNE)
        if side == "train" and pipeline.augmentation is not None:
            augment = pipeline.augmentation(pipeline.size)
            data = data.map(lambda x, y, augment=augment: (augment(x), y), num_parallel_calls=tf.data.AUTOTUNE)
        found[str(side)] = data.prefetch(tf.data.AUTOTUNE)
    return found


def freeze_before(network: keras.Model, base: keras.Model | None, first: str) -> None:
    """Freezes the layers of a base before the layer ``first``."""
    if base is None:
        return
    base.trainable = True
    learns = first == "all"
    for layer in base.layers:
        learns = learns or layer.name == first
        layer.trainable = learns
    assert learns or first == "head", f"there is no layer {first}"


def run(name: str, root: Path, listed: Path, folder: Path, epochs: list[int], weights: Path | None) -> dict:
    """Runs a whole pipeline; returns scores, parameters and seconds."""
    pipeline = PIPELINES[name]
    keras.utils.set_random_seed(42)
    seconds = {"imports": IMPORTED - BEGAN}
    began = time.perf_counter()
    frames, pictures = pd.read_csv(listed, keep_default_na=False), None
    if root.is_file():
        pictures = read_parquet(frames, root, pipeline.size)
    else:
        frames = cut_videos(frames, root, folder / "faces", pipeline)
    classes = sorted(frames["emotion"].unique())
    frames["label"] = frames["emotion"].map(classes.index)
    data = datasets(pipeline, frames, pictures)
    network, base = pipeline.network(pipeline.size, len(classes))
    if base is not None and weights is not None:
        load_torchvision(base, weights)
    seconds["prepare"] = time.perf_counter() - began

    learning, history = [], {}
    for number, (phase, most) in enumerate(zip(pipeline.phases, epochs, strict=True)):
        began = time.perf_counter()
        freeze_before(network, base, phase.first)
        network.compile(pipeline.optimizer(phase.rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
        # Never stops early, so that fervid and Keras train for the same epochs; only restores the best weights.
        best = keras.callbacks.EarlyStopping("val_loss", patience=most, restore_best_weights=True)
        callbacks = [best] if pipeline.keep_best else []
        history = network.fit(
            data["train"], validation_data=data["val"], epochs=most, verbose=0, callbacks=callbacks
        ).history
        learning.append(sum(int(np.prod(weight.shape)) for weight in network.trainable_weights))
        seconds[f"phase_{number}"] = time.perf_counter() - began

    seconds["fit"] = sum(seconds[f"phase_{number}"] for number in range(len(epochs)))
    began = time.perf_counter()
    truth = frames.loc[frames["split"] == "test", "label"].to_numpy()
    right = network.predict(data["test"], verbose=0).argmax(axis=1) == truth
    seconds["test"] = time.perf_counter() - began
    moving = [
        w for layer in network._flatten_layers() for w in layer.weights if w.name in ("moving_mean", "moving_variance")
    ]
    counted = sum(int(np.prod(weight.shape)) for weight in network.weights)
    counted -= sum(int(np.prod(weight.shape)) for weight in {id(weight): weight for weight in moving}.values())
    return {
        "accuracy": float(right.mean()),
        "uar": float(np.mean([right[truth == label].mean() for label in np.unique(truth)])),
        "train_accuracy": history["accuracy"][-1],
        "frames": {str(side): int(count) for side, count in frames["split"].value_counts().items()},
        "parameters": counted,
        "learning": learning,
        "seconds": seconds,
    }


def main() -> None:
    """Runs one pipeline and prints a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pipeline", choices=PIPELINES)
    parser.add_argument("--root", type=Path, required=True, help="the corpus: a folder of videos, or a Parquet file")
    parser.add_argument("--frames", type=Path, required=True, help="CSV: path, frame, emotion, split")
    parser.add_argument("--folder", type=Path, required=True, help="output folder for face crops")
    parser.add_argument("--epochs", type=int, nargs="+", required=True, help="number of epochs of each phase")
    parser.add_argument(
        "--weights", type=Path, help="weights of the base: .npz of torchvision's tensors in their order"
    )
    args = parser.parse_args()
    print(json.dumps(run(args.pipeline, args.root, args.frames, args.folder, args.epochs, args.weights)), flush=True)


if __name__ == "__main__":
    main()
