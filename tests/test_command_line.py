import gc
import weakref

from fervid.command_line import importing


class Cycle:
    def __init__(self):
        self.itself = self


def test_imports_are_not_searched_for_garbage_and_jobs_are():
    frozen = gc.get_freeze_count()
    try:
        with importing():
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
        belongs_to_a_job = weakref.ref(Cycle())
        with importing():  # of the next job of a sweep
            pass
        gc.collect()
        assert belongs_to_a_job() is None
    finally:
        if not frozen:
            gc.unfreeze()
