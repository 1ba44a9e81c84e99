"""Classifies face crops without fervid: pip install numpy onnxruntime pillow; python run_onnx.py face.png ..."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

if len(sys.argv) < 2:
    sys.exit(__doc__)
network = onnxruntime.InferenceSession(Path(__file__).with_name("model.onnx"), providers=["CPUExecutionProvider"])
metadata = network.get_modelmeta().custom_metadata_map
print(f"The faces must be cropped as in training: {metadata['faces']}.")
size, colours = int(metadata["image_size"]), "L" if json.loads(metadata["grayscale"]) else "RGB"
opened = [Image.open(path, formats=["JPEG", "PNG", "TIFF", "WEBP"]) for path in sys.argv[1:]]  # no PostScript
upright = [ImageOps.exif_transpose(picture).convert(colours).convert("RGB") for picture in opened]
pictures = [ImageOps.fit(picture, (size, size)) for picture in upright]
faces = np.stack([np.asarray(picture, dtype=np.float32) / 255 for picture in pictures]).transpose(0, 3, 1, 2)
logits = network.run(["logits"], {"faces": faces})[0]
probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
probabilities /= probabilities.sum(axis=1, keepdims=True)
for path, row in zip(sys.argv[1:], probabilities, strict=True):
    ranking = sorted(zip(row, json.loads(metadata["class_names"]), strict=True), reverse=True)
    print(f"{path}: " + ", ".join(f"{emotion} {probability:.4f}" for probability, emotion in ranking))
