"""The network of a member, and what it is shown of the frames or clips of an evaluation."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from rich import get_console
from rich.progress import track
from torch import Tensor

from fervid.data.inputs import Batch
from fervid.evaluate.members import Member
from fervid.models.batch_invariance import MAX_PICTURES, check_batches
from fervid.predict.predictor import BATCH_SIZE
from fervid.runs.device import find_device
from fervid.schema.parts import EMOTION
from fervid.tasks.task import Task

CLIP_BATCH = 16  # clips per forward pass


class MemberNetwork:
    """The network of a member and its inputs.

    Args:
        member: the member.
        model: its network; changing it does not change the run.
        device: device of the network, such as ``cuda``.

    Attributes:
        model: the network on the device.
        rows: rows of the S different samples, shape (S,).
    """

    def __init__(self, member: Member, model: Task, device: str):
        self.member, self._device = member, find_device(device)
        self.model = model.to(self._device)
        row = "cache_row" if member.shows_frames else "clip_row"
        # A member with one row per clip has it repeated for each frame of another member: it is predicted only once.
        self.rows, self._repeated = np.unique(member.frames[row].to_numpy(), return_inverse=True)
        if not member.shows_frames:
            datamodule = member.datamodule
            samples = member.frames.drop_duplicates("clip_row").sort_values("clip_row")
            pictures = datamodule.sample.frame_rows
            self._inputs = [
                store.inputs(pictures(datamodule.manifest, samples) if name == "image" else self.rows)
                for name, store in datamodule.stores.items()
            ]

    @property
    def noun(self) -> str:
        """What a sample is: ``frames`` or ``clips``."""
        return "frames" if self.member.shows_frames else "clips"

    def batches(self, doing: str, parts: Sequence[np.ndarray] | None = None) -> Iterator[Batch]:
        """Yields the inputs of the samples in batches.

        Args:
            doing: what is done with them, for the progress bar.
            parts: positions of the samples of each batch; None: all samples in order.
        """
        if parts is None:
            size = BATCH_SIZE if self.member.shows_frames else CLIP_BATCH
            parts = np.split(np.arange(len(self.rows)), range(size, len(self.rows), size))
        described = f"{self.member.name}: {doing} {sum(map(len, parts))} {self.noun}"
        for positions in track(parts, described, transient=True, disable=not get_console().is_terminal):
            yield self._batch(positions)

    def _batch(self, positions: np.ndarray) -> Batch:
        if self.member.shows_frames:
            return {"image": self._pictures(self.member.datamodule.face_cache[self.rows[positions]])}
        fetched = [inputs.fetch(positions.tolist(), 0) for inputs in self._inputs]
        batch = {name: values.to(self._device) for each in fetched for name, values in each.items()}
        return self.member.datamodule.on_after_batch_transfer(batch, 0)

    def _pictures(self, faces: np.ndarray) -> Tensor:
        return (
            torch.from_numpy(np.asarray(faces)).to(self._device).permute(0, 3, 1, 2)
        )  # channels_last, the fast layout

    @torch.inference_mode()
    def answers(self) -> dict[str, np.ndarray]:
        """Returns the answers (N, ...) of each part of the task (:meth:`fervid.tasks.task.Task.answers`)."""
        self.model.eval()
        parts = [self._answers(batch) for batch in self.batches("predicting")]
        return {name: np.concatenate([part[name] for part in parts])[self._repeated] for name in parts[0]}

    def _answers(self, batch: Batch) -> dict[str, np.ndarray]:
        return {name: values.cpu().numpy() for name, values in self.model.answers(self.model(batch)).items()}

    @torch.inference_mode()
    def check_batches(self, probabilities: np.ndarray) -> None:
        """Checks that no frame's prediction depends on its batch; the result is ``member.batches``, None for clips.

        Args:
            probabilities: those of the emotions from :meth:`answers`, shape (N, num_classes).
        """
        if not self.member.shows_frames:
            return
        # The frames themselves are read only for the sample, since all of them may not fit into memory.
        chosen = np.sort(np.random.default_rng(0).permutation(len(self.rows))[:MAX_PICTURES])
        first = np.unique(self._repeated, return_index=True)[1]
        self.member.batches = check_batches(
            lambda faces: self._answers({"image": self._pictures(np.stack(list(faces)))})[EMOTION],
            self.member.datamodule.face_cache[self.rows[chosen]],
            probabilities[first[chosen]],
            batch_size=BATCH_SIZE // 4,
        )
