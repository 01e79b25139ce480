"""The coordinator as a named Ray actor, which Ray restarts if it dies."""

import asyncio
import json
import logging
import time
from typing import Any

import ray
from ray import serve

from serving import errors, private_files
from serving.adapters.registry import Registry
from serving.cluster import options as serve_options
from serving.cluster import ray_internals
from serving.cluster.apply import Applier
from serving.cluster.replica_deployment import APP, RETRY_S, bound
from serving.config.revision import Revision
from serving.config.settings import Settings
from serving.errors import RolloutFailed, SwitchboardError
from serving.observability import logs
from serving.observability.pages import Pages
from serving.rollout.coordinator import Coordinator
from serving.rollout.result import RolloutResult
from serving.store.database import Database

logger = logging.getLogger(__name__)
SERVE_NAMESPACE = "serve"
SWEEP_S = 3600.0
KEPT = "switchboard-config"  # key in Ray's store: the revision in force, and one being applied


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=0, max_concurrency=1000)
class CoordinatorActor:
    """`Coordinator` as a Ray actor. `expected` is every replica alive when it (re)starts."""

    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]  # Ray awaits it
        private_files.keep()
        logs.configure(settings.telemetry.log_format)
        # Not opened here: `start` has, and a coordinator must come back while the store is down.
        db = Database(settings.store_address)
        revision, pending = await asyncio.to_thread(_kept)
        rollouts = (revision.settings if revision else settings).rollouts
        registry = Registry(db, settings.adapters.uri)
        self._coordinator = Coordinator(
            registry,
            alive=_alive,
            fence=_fence,
            prepare_timeout_s=rollouts.prepare_timeout_s,
            lost_after_s=rollouts.lost_after_s,
            expected=ray_internals.live_replicas(APP),
            revision=revision,
        )
        self._pages = Pages()
        self._applier = Applier(
            self._coordinator, db, deploy=_deploy, keep=_keep, short_of=_short_of
        )
        self._recovery = asyncio.create_task(self._applier.recover(pending))
        self._sweeping = asyncio.create_task(self._sweep(registry))

    async def _sweep(self, registry: Registry) -> None:
        """Remove what publications that were cut short left behind, again and again."""
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                for folder in await registry.sweep():
                    logger.warning("%s is known to no version; it is removed", folder)
            except (SwitchboardError, OSError) as exc:
                logger.warning("orphaned adapter folders are not looked for: %s", exc)

    async def call(self, method: str, *args: Any) -> Any:
        """Call a method of the coordinator by name."""
        return await getattr(self._coordinator, method)(*args)

    async def pages(self, replica: str, page: str) -> list[str]:
        """Keep a replica's page of metrics; return the others': `Pages.exchange`."""
        return self._pages.exchange(replica, page)

    async def rollout(
        self, action: str, options: dict[str, Any]
    ) -> RolloutResult | SwitchboardError:
        """Run a rollout; our own errors are returned, since Ray would wrap them."""
        try:
            done: RolloutResult = await getattr(self._coordinator, action)(**options)
        except SwitchboardError as exc:
            return exc
        return done

    async def config(self, action: str, options: dict[str, Any]) -> Any:
        """Call a method of the applier; our own errors are returned."""
        try:
            return await getattr(self._applier, action)(**options)
        except SwitchboardError as exc:
            return exc


async def _alive(replica: str) -> bool:
    return replica in await asyncio.to_thread(ray_internals.live_replicas, APP)


async def _fence(replica: str) -> None:
    def kill() -> None:
        try:
            ray.kill(ray.get_actor(replica, namespace=SERVE_NAMESPACE))
        except ValueError:
            return  # it is gone already

    logger.error("%s does not answer; it is replaced", replica)
    await asyncio.to_thread(kill)


async def _deploy(revision: Revision) -> None:
    """Run the replicas of a revision in place of those that run."""
    await asyncio.to_thread(_roll, revision)


def _roll(revision: Revision) -> None:
    ray_internals.run(bound(revision), APP)
    limit_s = revision.settings.rollouts.apply_timeout_s
    deadline = time.monotonic() + limit_s
    while (app := serve.status().applications[APP]).status != "RUNNING":
        # The first failure ends it: the old replicas still answer, there is nothing to wait for.
        reason = "; ".join(d.message for d in app.deployments.values())
        if app.status == "DEPLOY_FAILED" or "failed to start" in reason:
            raise RolloutFailed(f"A replica could not start: {errors.root_cause(reason)}")
        if time.monotonic() > deadline:
            raise RolloutFailed(f"The replicas did not restart within {limit_s:g} s. {reason}")
        time.sleep(RETRY_S)


async def _short_of(settings: Settings) -> list[str]:
    return serve_options.missing(settings, await asyncio.to_thread(ray.available_resources))


async def _keep(revision: Revision, pending: Revision | None) -> None:
    kept = [None if one is None else one.dump() for one in (revision, pending)]
    await asyncio.to_thread(ray_internals.put, KEPT, json.dumps(kept).encode(), APP)


def _kept() -> tuple[Revision | None, Revision | None]:
    data = ray_internals.get(KEPT, APP)
    if not data:
        return None, None
    revision, pending = (None if one is None else Revision.load(one) for one in json.loads(data))
    return revision, pending
