"""Renders 64 pictures for the example: ``python make_pictures.py pictures``."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from fervid.synthetic.corpus import RenderedSubjects

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
subjects = RenderedSubjects(identities=4, clips=1, frames=2)
frames = subjects.frames()
with TemporaryDirectory() as cache:
    picture_of = subjects.open_pictures(frames, Path(cache))
    for row, frame in frames.iterrows():
        name = f"{frame['subject']}_{frame['emotion']}_{frame['frame']}.png"
        Image.fromarray(picture_of(row)).save(folder / name)
