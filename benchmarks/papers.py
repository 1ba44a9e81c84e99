"""Runs the protocols of the four papers, reduced, on rendered copies of their corpora: ``make papers``.

Each preset is run twice, with the split of its paper and on unseen subjects (or pictures), and the report compares the
two. The faces are rendered and the epochs are few; the purpose is to show that every protocol runs from raw files to
its tables, and how much its split leaks. With the real corpora, use the same commands without the reductions.

An interrupted run is resumed by the same command. If weights cannot be downloaded, random weights are used; a file with
ImageNet weights of MobileNetV2 can be given.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from omegaconf import OmegaConf

from fervid.media.files import RENDERED
from fervid.schema.config_folder import CONFIG_FOLDER

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # for the writers of rendered corpora

from rendered_corpora.enterface import write_enterface
from rendered_corpora.hf_faces import write_hf_parquet
from rendered_corpora.ised import write_ised
from rendered_corpora.ravdess import RAVDESS_EMOTIONS, write_ravdess


def render(folder: Path) -> None:
    """Renders each of the four corpora unless it exists."""
    for name, write in {
        "ravdess": lambda root: write_ravdess(
            root,
            subjects=range(1, 11),
            emotions=RAVDESS_EMOTIONS[:6],
            statements=("01", "02"),
            intensities=("01",),
            frames=24,
            width=640,
            height=360,
        ),
        "ised": lambda root: write_ised(root, subjects=range(1, 18), clips=5, frames=12, width=960, height=540),
        "enterface": lambda root: write_enterface(root, subjects=range(1, 11), frames=12),
        "hf_faces": lambda root: write_hf_parquet(root / "train.parquet", rows=64, size=224, copies=3),
    }.items():
        if not (folder / name / RENDERED).exists():
            print(f"rendering {name}", flush=True)
            write(folder / name)


def counts(name: str, share: float) -> list[str]:
    """Returns settings for a fraction of a paper's numbers of frames."""
    numbers = OmegaConf.load(Path(CONFIG_FOLDER) / "split" / f"{name}_counts.yaml").counts
    scaled = {emotion: [round(share * number) for number in row] for emotion, row in numbers.items()}
    value = ",".join(f"{emotion}:[{','.join(map(str, row))}]" for emotion, row in scaled.items())
    return ["~split.counts", f"+split.counts={{{value}}}"]


def commands(corpora: Path, mobilenet: Path | None) -> dict[str, list[str]]:
    """Returns the commands by the name of their output folder."""
    ised, enterface = f"dataset.root={corpora / 'ised'}", f"dataset.root={corpora / 'enterface'}"
    lenet = ["-m", "experiment=ised_lenet", "optimizer=sgd_plain,rmsprop,adam", ised, "dataset.frame_stride=1"]
    alexnet = ["-m", "experiment=ised_alexnet", ised, "dataset.frame_stride=1", "finetune.phases.0.epochs=8"]
    alexnet += ["dataset.subjects=[1,2,3,4,5,6,7,8]"]
    cnn = ["-m", "sweep=enterface_image_size", enterface, "dataset.frames_per_clip=6", "finetune.phases.0.epochs=5"]
    vgg16 = ["-m", "experiment=ravdess_vgg16", f"dataset.root={corpora / 'ravdess'}", "dataset.frame_stride=3"]
    hf = [f"dataset.root={corpora / 'hf_faces' / 'train.parquet'}", "split=stratified,clips"]
    short = [
        "finetune.phases.1.epochs=2",
        "finetune.cached_views=2",
    ]  # with cached views, epochs of the head take almost no time
    weights = [f"backbone.weights={mobilenet}"] if mobilenet else []
    fervid = {
        "ravdess": [*vgg16, "split=random_frames,subject", "finetune.phases.0.epochs=6"],
        "ised_lenet_paper": lenet,
        "ised_lenet_subject": [*lenet, "split=subject"],
        "ised_alexnet_paper": [*alexnet, *counts("ised", 0.4)],
        "ised_alexnet_subject": [*alexnet, "split=subject"],
        "enterface_paper": [*cnn, *counts("enterface", 0.12)],
        "enterface_subject": [*cnn, "split=subject"],
        "hf_mobilenet_v2": ["-m", "experiment=hf_mobilenet_v2", *hf, *short, *weights],
        "hf_others": ["-m", "sweep=hf_backbones", "experiment=hf_vgg16,hf_efficientnet_b2", *hf, *short],
    }
    baseline = ["-m", "dataset=ised", ised, "dataset.frame_stride=1", "split=ised_counts,subject"]
    return {name: ["fervid.train", *words] for name, words in fervid.items()} | {
        "ised_baseline": ["fervid.baseline", *baseline]
    }


def main() -> None:
    """Renders the corpora, trains all presets and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("papers"), help="output folder (default: papers)")
    parser.add_argument("--mobilenet", type=Path, help="a state dict with ImageNet weights of MobileNetV2")
    arguments = parser.parse_args()
    began = time.perf_counter()
    folder = arguments.folder.resolve()
    render(folder / "corpora")
    failed = []
    for name, words in commands(folder / "corpora", arguments.mobilenet and arguments.mobilenet.resolve()).items():
        if run([*words, f"hydra.sweep.dir={folder / 'runs' / name}", f"cache_dir={folder / 'cache'}"]):
            failed.append(name)
    report = [f"runs={folder / 'runs'}", "title='The four papers, reduced, on rendered people'"]
    if run(["fervid.report", *report, f"hydra.run.dir={folder / 'report'}"]):
        failed.append("report")
    print(f"{(time.perf_counter() - began) / 60:.0f} minutes" + (f"; failed: {', '.join(failed)}" if failed else ""))
    sys.exit(bool(failed))


def run(words: list[str]) -> int:
    """Runs a command of fervid; returns its exit code."""
    print("python -m", *words, flush=True)
    return subprocess.run([sys.executable, "-m", *words]).returncode


if __name__ == "__main__":
    main()
