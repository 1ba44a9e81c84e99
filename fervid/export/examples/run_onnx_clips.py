"""Classifies a clip without fervid: pip install numpy onnxruntime av; python run_onnx.py clip.mp4 [table.csv] ..."""

import csv
import json
import sys
from pathlib import Path

import av
import numpy as np
import onnxruntime

if len(sys.argv) < 2:
    sys.exit(__doc__)
network = onnxruntime.InferenceSession(Path(__file__).with_name("model.onnx"), providers=["CPUExecutionProvider"])
metadata = network.get_modelmeta().custom_metadata_map
about = {name: json.loads(metadata[name]) for name in ("modalities", "class_names", "inputs")}


def read_sound(path):
    """Returns the first sound track of a file, float32 (S,), mono."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=json.loads(metadata["rate"]))
    with av.open(path) as file:
        decoded = [part for frame in file.decode(audio=0) for part in resampler.resample(frame)]
    return np.concatenate([part.to_ndarray()[0] for part in [*decoded, *resampler.resample(None)]])


def read_faces(path):
    """Returns evenly spaced frames of a video that shows a face crop, float32 (T, 3, size, size)."""
    print(f"The video must show the face as in training: {metadata['faces']}.")
    size, gray = json.loads(metadata["image_size"]), json.loads(metadata["grayscale"])
    with av.open(path) as file:
        frames = list(file.decode(video=0))
    middle = (np.arange(json.loads(metadata["frames"])) + 0.5) / json.loads(metadata["frames"])
    middle = middle / 2 + 0.25 if metadata["window"] == "centre" else middle
    chosen = [frames[int(position * len(frames))].reformat(size, size) for position in middle]
    pictures = [frame.to_ndarray(format="gray" if gray else "rgb24").reshape(size, size, -1) for frame in chosen]
    return np.stack([np.broadcast_to(picture, (size, size, 3)) for picture in pictures]).transpose(0, 3, 1, 2) / 255


def read_table(path):
    """Returns the rows of a table with a header, float32 (R, F), with the columns of the network."""
    with open(path, newline="") as file:
        return np.array(
            [[float(row[name]) for name in json.loads(metadata["features"])] for row in csv.DictReader(file)]
        )


found = {}
for path in sys.argv[1:]:
    if path.lower().endswith(".csv"):
        found["features"] = read_table(path)
        continue
    with av.open(path) as file:
        streams = {"sound": bool(file.streams.audio), "image": bool(file.streams.video)}
    found |= {
        name: {"sound": read_sound, "image": read_faces}[name](path)
        for name in about["modalities"]
        if streams.get(name)
    }
inputs = {}
for entry in network.get_inputs():  # a modality that no file contains is missing: NaN
    missing = np.full([16_000 if entry.name == "sound" else 1, *entry.shape[2:]], np.nan)
    inputs[entry.name] = found.get(entry.name, missing)[None].astype(np.float32)
if not set(found) & set(inputs):
    sys.exit(f"none of the files contains an input of the network: {about['inputs']}")
outputs = [output.name for output in network.get_outputs() if output.name != "logits"]
for output, values in zip(outputs, network.run(outputs, inputs), strict=True):
    ranking = sorted(zip(values[0], about["class_names"], strict=True), reverse=True)
    words = ", ".join(f"{emotion} {probability:.4f}" for probability, emotion in ranking)
    print(f"{output}: {'missing' if np.isnan(values).any() else words}")
