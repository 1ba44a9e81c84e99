"""Describes face crops without fervid: pip install numpy onnxruntime pillow; python run_onnx.py face.png ..."""

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
names = json.loads(metadata["parts"])  # of the values of each output
answers = dict(zip(names, network.run(list(names), {"faces": faces}), strict=True))
for row, path in enumerate(sys.argv[1:]):
    print(f"{path}:")
    for output, values in answers.items():
        found = ", ".join(f"{name} {value:.4f}" for name, value in zip(names[output], values[row], strict=True))
        print(f"  {output}: {found}")
