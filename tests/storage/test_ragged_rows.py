import errno
import pickle

import numpy as np
import pytest

from fervid.storage.ragged_rows import RaggedRows


def written(path, arrays, dtype=np.float32):
    rows = RaggedRows(path, dtype)
    with rows.writing() as append:
        for array in arrays:
            append(array)
    return rows


def test_arrays_of_different_length_are_read_back(tmp_path):
    arrays = [np.arange(6, dtype=np.float32).reshape(3, 2), np.ones((1, 2), np.float32), np.zeros((0, 2), np.float32)]
    rows = written(tmp_path / "values.bin", arrays)
    assert rows.exists()
    assert len(rows) == 3
    assert rows.lengths.tolist() == [3, 1, 0]
    for reader in (rows, RaggedRows(tmp_path / "values.bin", np.float32), pickle.loads(pickle.dumps(rows))):
        for row, array in enumerate(arrays):
            assert np.array_equal(reader[row], array)
    rows[0][:] = 7  # a copy: the file is unchanged
    assert np.array_equal(rows[0], arrays[0])


def test_pickle_does_not_contain_values(tmp_path):
    rows = written(tmp_path / "sounds.bin", [np.zeros(100_000, np.int16)], np.int16)
    assert rows[0].size == 100_000
    assert len(pickle.dumps(rows)) < 2_000


def test_interrupted_writing_leaves_no_file(tmp_path):
    rows = RaggedRows(tmp_path / "values.bin", np.float32)

    def interrupted():
        with rows.writing() as append:
            append(np.ones(3))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not rows.exists()
    assert [path for path in tmp_path.iterdir() if not path.name.startswith(".")] == []


def test_full_disk_leaves_no_file(tmp_path):
    rows = RaggedRows(tmp_path / "values.bin", np.float32)
    with pytest.raises(OSError, match="No space"), rows.writing():
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not rows.exists()
