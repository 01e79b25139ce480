"""Ray's private names still do what we use them for, on a real Ray in a process of its own."""

import json
import subprocess
import sys
import textwrap

import pytest

CODE = """
    import json, os, time
    import psutil, ray
    from serving.cluster import deployment, ray_internals
    from serving.cluster.replica_deployment import APP

    def children():
        return [p for p in psutil.Process().children(recursive=True) if p.status() != "zombie"]

    deployment._start_ray(address="local", num_cpus=1, namespace="serve", include_dashboard=False)

    ray_internals.end_log_monitor()
    assert not any("log_monitor" in " ".join(p.cmdline()) for p in children())
    assert children()

    @ray.remote(num_cpus=0)
    class Actor:
        def here(self):
            return True

    def replica(name, **options):
        return Actor.options(name=f"{ray_internals.REPLICA_PREFIX}{name}", **options).remote()

    up = replica(f"{APP}#replica#up")
    other = replica("another#replica#up")
    waiting = replica(f"{APP}#replica#waiting", resources={"no such": 1})
    ray.get([up.here.remote(), other.here.remote()])
    seen = [ray_internals.live_replicas(APP)]
    assert ray_internals.lives(f"{ray_internals.REPLICA_PREFIX}{APP}#replica#up")
    assert ray_internals.beside_the_head()
    assert deployment.HEAD in ray.cluster_resources()
    named = [actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)]
    ray.kill(up)
    deadline = time.monotonic() + 30
    while ray_internals.live_replicas(APP) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not ray_internals.lives(f"{ray_internals.REPLICA_PREFIX}{APP}#replica#up")
    ray_internals.put("k", b"kept", "n")
    assert ray_internals.get("k", "n") == b"kept" and ray_internals.get("no", "n") is None
    assert os.path.isfile(ray_internals.haproxy_binary())
    assert os.path.isdir(ray_internals.logs_folder())
    assert not ray_internals.is_stopping()
    print("seen", json.dumps([named, *seen, ray_internals.live_replicas(APP)]))
    ray.shutdown()
"""


LOOPBACK = """
    from concurrent.futures import ThreadPoolExecutor
    import grpc, psutil
    from ray._private import services
    from ray.serve._private import replica
    from serving.cluster import ray_internals

    ray_internals.stay_on_loopback()
    assert services.get_node_ip_address() == "127.0.0.1"
    ray_internals.keep_replica_on_its_node()
    server = grpc.server(ThreadPoolExecutor(1))
    port = replica.add_port_to_grpc_server(server, "[::]:0")
    server.start()
    listening = {
        c.laddr.ip.removeprefix("::ffff:")
        for c in psutil.Process().net_connections("inet")
        if c.status == psutil.CONN_LISTEN and c.laddr.port == port
    }
    print("seen", sorted(listening))
    server.stop(None)
"""


def test_a_node_and_a_replica_of_one_machine_stay_on_loopback() -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LOOPBACK)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "seen ['127.0.0.1']" in done.stdout, done.stderr[-2000:]


@pytest.mark.slow
def test_a_replica_that_no_node_has_room_for_is_not_waited_for() -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CODE)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("seen ")]
    assert lines, done.stderr[-2000:]
    named, before, after = json.loads(lines[0].removeprefix("seen "))
    assert "SERVE_REPLICA::switchboard#replica#waiting" in named
    assert before == ["SERVE_REPLICA::switchboard#replica#up"]
    assert after == []
