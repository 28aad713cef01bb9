"""One job's share of the measurements of sweeps."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

from avsv.corruption.kinds import Corruption
from avsv.corruption.shares import Share
from avsv.corruption.sound import Noises
from avsv.corruption.sweep import Bench, Protocol
from avsv.embed.device import job_device
from avsv.io.atomic import write_text


def measure_shares(
    shares: Sequence[Share],
    protocol: Protocol,
    noises: Noises | None,
    revision: str,
    *,
    job: int = 1,
    jobs: int = 1,
    use_gpu: bool = False,
    num_workers: int = 0,
    progress: Path | None = None,
) -> None:
    """Measure and write the shares of a job that do not exist yet; print one line per condition.

    One job measures all systems under a condition, so that data is read and corrupted once for all of them.

    Args:
        shares: of all jobs.
        protocol: what is measured, and the seed of the corruptions.
        noises: for the corruptions that need them.
        revision: of the code, written to the shares.
        job: counted from 1.
        jobs: number of jobs.
        use_gpu: compute on a GPU.
        num_workers: loader processes.
        progress: file to keep at "DONE TOTAL".

    Raises:
        DataError: as :class:`avsv.corruption.sweep.Bench`; no GPU is visible.
    """
    device = job_device(job, use_gpu)
    order = list(dict.fromkeys(share.condition for share in shares))
    mine = [share for share in shares if order.index(share.condition) % jobs == job - 1]
    todo = [share for share in mine if not share.path.is_file()]
    done = len(mine) - len(todo)
    if todo:
        bench = Bench(protocol, list(dict.fromkeys(share.system for share in todo)), device, num_workers)
    for condition in dict.fromkeys(share.condition for share in todo):
        started = time.monotonic()
        group = [share for share in todo if share.condition == condition]
        corruption = Corruption(*condition, protocol.seed, noises) if condition else None
        rates = bench.measure(corruption, [share.system for share in group])
        for share in group:
            share.path.parent.mkdir(exist_ok=True)
            write_text(share.path, json.dumps([{**rate._asdict(), "git": revision} for rate in rates[share.system]]))
        done += len(group)
        if progress is not None:
            write_text(progress, f"{done} {len(mine)}\n")
        print(f"{group[0].name}: {len(group)} systems in {time.monotonic() - started:.1f} s", flush=True)
    print(f"{len(mine)} shares, {len(todo)} of them made now")
