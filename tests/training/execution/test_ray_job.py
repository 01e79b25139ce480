"""Real jobs on a real Ray cluster of one machine, which is a process of its own."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.training.execution.test_local import gone, root, stand_in
from tests.training.trainers.test_sft import content, make_job
from tests.waiting import until_async
from training.errors import FineTuneFailed
from training.execution.local import Worker
from training.execution.ray_job import RayWorker, fits, needs, said
from training.recipe.recipe import Recipe
from training.recipe.resources import ResourcesConfig

CLUSTER = """
    import ray, sys
    for attempt in range(3):  # Ray gives a node thirty seconds, which a busy machine exceeds
        try:
            ray.init(address="local", num_cpus=2, num_gpus=0, include_dashboard=False)
            break
        except Exception:
            ray.shutdown()
    print("address", ray.get_runtime_context().gcs_address, flush=True)
    sys.stdin.read()
    ray.shutdown()
"""
CALLER = """
    import asyncio, sys
    from training.execution.ray_job import RayWorker
    from training.recipe.resources import ResourcesConfig

    async def main():
        async with RayWorker(ResourcesConfig(where="ray"), sys.argv[1]) as worker:
            await worker._place()
            print(worker.pid, flush=True)
            await asyncio.sleep(600)

    asyncio.run(main())
"""


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*stand_in(code), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": root(), "RAY_worker_niceness": "0"},
    )


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with start(CLUSTER) as process:
        assert process.stdout is not None
        yield next(line.split()[1] for line in process.stdout if line.startswith("address "))
        process.communicate()


def running(pid: int | None) -> int:
    assert pid is not None
    os.kill(pid, 0)
    return pid


async def begun(worker: RayWorker) -> int:
    await until_async(lambda: worker.pid is not None, "the job has no process")
    return running(worker.pid)


@pytest.mark.slow
async def test_a_job_whose_process_is_killed_goes_on_to_the_bytes_of_a_local_one(
    cluster: str, tiny_base: Path, train_file: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    there = ResourcesConfig(where="ray", cpus=2, nice=1, retries=1, folder=str(tmp_path / "there"))
    jobs = [
        make_job(tiny_base, train_file, tmp_path / name, tiny_recipe, checkpoint_steps=5, epochs=25)
        for name in ("ray", "local")
    ]
    async with RayWorker(there, cluster) as worker, Worker() as local:
        expected = asyncio.create_task(local.train(jobs[1]))
        job = asyncio.create_task(worker.train(jobs[0]))
        first = await begun(worker)

        late = RayWorker(there.model_copy(update={"wait_s": 0.2}), cluster)
        with pytest.raises(FineTuneFailed, match=r"CPU: 2 were not free within 0\.2 s"):
            await late.train(jobs[0])

        folder = tmp_path / "there"
        states = "*/out/checkpoints/checkpoint-*/trainer_state.json"
        await until_async(lambda: list(folder.glob(states)), "no checkpoint", every_s=0.01)
        assert os.getpriority(os.PRIO_PROCESS, first) == 1
        os.kill(first, 9)
        result = await job
        assert (result.steps, result.examples) == (100, 16)
        assert Path(result.adapter) == tmp_path / "ray" / "adapter"
        assert content(result.adapter) == content((await expected).adapter)
        assert [path.suffix for path in folder.iterdir()] == [".lock"]
        second = running(worker.pid)
    assert second != first
    assert gone(second)


async def test_killing_the_caller_ends_its_process_on_the_cluster(cluster: str) -> None:
    with start(CALLER, cluster) as caller:
        assert caller.stdout is not None
        pid = running(int(caller.stdout.readline()))
        caller.kill()
    assert gone(pid)


async def test_what_no_machine_has_is_refused_at_once(
    cluster: str, tiny_base: Path, train_file: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    job = make_job(tiny_base, train_file, tmp_path / "a", tiny_recipe)
    async with RayWorker(ResourcesConfig(where="ray", gpus=1), cluster) as worker:
        with pytest.raises(FineTuneFailed, match="no machine of the cluster has CPU: 1, GPU: 1"):
            await worker.train(job)


async def test_a_refused_job_is_the_trainers_own_message_and_not_tried_again(
    cluster: str, tiny_base: Path, train_file: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    job = make_job(tiny_base, train_file, tmp_path / "a", tiny_recipe, max_length=16)
    async with RayWorker(ResourcesConfig(where="ray", nice=0), cluster) as worker:
        with pytest.raises(FineTuneFailed, match="none of 17 examples fits into 16 tokens"):
            await worker.train(job)


async def test_a_cluster_that_is_gone_is_an_error() -> None:
    with pytest.raises(FineTuneFailed, match=r"no Ray cluster answers at 127\.0\.0\.1:9;"):
        async with RayWorker(ResourcesConfig(where="ray"), "127.0.0.1:9"):
            pass


def test_a_job_fits_where_there_is_enough_of_all() -> None:
    wanted = needs(ResourcesConfig(where="ray", cpus=2, gpus=0.5, custom={"training": 1}))
    assert said(wanted) == "CPU: 2, GPU: 0.5, training: 1"
    assert fits(wanted, {"CPU": 2.0, "GPU": 1.0, "training": 1.0, "memory": 1e9})
    assert not fits(wanted, {"CPU": 8.0, "GPU": 8.0})
    assert fits(needs(ResourcesConfig(cpus=1)), {"CPU": 1.0})


def test_importing_the_pipeline_does_not_import_ray() -> None:
    code = "import sys, training.pipeline; print('ray' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root(), check=True
    )
    assert done.stdout.strip() == "False"
