import gc

from fervid.command_line import importing


def test_imports_are_not_searched_for_garbage_and_jobs_are():
    frozen = gc.get_freeze_count()
    try:
        with importing():
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
        count = gc.get_freeze_count()
        belongs_to_a_job = [[number] for number in range(100)]
        with importing():  # of the next job of a sweep
            pass
        assert gc.get_freeze_count() <= count
        assert len(belongs_to_a_job) == 100
    finally:
        if not frozen:
            gc.unfreeze()
