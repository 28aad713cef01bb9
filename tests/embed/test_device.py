"""Jobs get the GPUs in turn, or the CPU with one thread."""

import pytest
import torch

from avsv.embed.device import job_device
from avsv.errors import DataError


def test_jobs_get_the_gpus_in_turn(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [job_device(job, True).index for job in (1, 2, 3)] == [0, 1, 0]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DataError, match="no GPU is visible: use --ngpu 0"):
        job_device(1, True)


def test_on_the_cpu_a_job_has_one_thread():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert job_device(3, False).type == "cpu"
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
