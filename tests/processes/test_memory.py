import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
from fervid.processes.memory import keep_memory
{call}
import torch
def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(2**24)  # 64 MiB
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 20
pages()
print(pages())
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is asked to keep memory")
def test_large_buffers_are_reused():
    kept, given_back = (
        float(subprocess.run([sys.executable, "-c", FAULTS.format(call=call)], capture_output=True).stdout)
        for call in ("keep_memory()", "")
    )
    assert given_back > 20  # page faults, some of them for huge pages, for every new buffer
    assert kept < given_back / 10
