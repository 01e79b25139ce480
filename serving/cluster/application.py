"""The server for a Ray that starts Serve itself, as KubeRay's RayService does.

Its `import_path` is ``serving.cluster.application:build``. `switchboard serve` decides what Ray and
Serve read from their environment; here the pods bring it (docker/helm).
"""

import asyncio
import os

import ray
from pydantic import BaseModel, ConfigDict
from ray import serve

from serving.cluster import deployment, joining, ray_internals
from serving.cluster.replica_deployment import bound
from serving.config import prompts
from serving.config import settings as settings_module
from serving.config.revision import Revision


class Arguments(BaseModel):
    """What the application is built from.

    `sha256` is not read: it is another where the file's content is, so that Serve builds anew.
    """

    model_config = ConfigDict(extra="forbid")

    config: str
    sha256: str = ""


def build(args: Arguments) -> serve.Application:
    """Read the configuration, start the coordinator, and return the application to deploy.

    Raises:
        ConfigError: The configuration is unfit, or the cluster is one that nobody should join.
    """
    settings = settings_module.load(args.config)
    os.environ.update(settings.environment())
    joining.check_token(ray_internals.has_token())
    joining.check_private(ray.get_runtime_context().gcs_address)
    revision = Revision(settings, prompts.read(settings.prompts))
    asyncio.run(deployment.open_store(settings))
    deployment.coordinate(revision)
    return bound(revision)
