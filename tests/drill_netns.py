"""`make drill`: every drill on both topologies of docker-compose.yml, in network namespaces."""

import os

import pytest

import drills
import netns

ROUNDS = int(os.environ.get("ROUNDS", "1"))

DRILLS = {
    "stop": drills.stopped,
    "kill": drills.killed,
    "address-gone": drills.vanished,
    "disconnect": drills.disconnected,
    "partition": drills.partition,
    "partition-with-leader": lambda network: drills.partition(network, with_leader=True),
    "one-way": drills.one_way,
    "no-sentinels": drills.no_sentinels,
    "slotward-drill": drills.by_the_operators_tool,
}


@pytest.fixture(scope="module", autouse=True)
def root():
    reason = netns.why_not()
    if reason:
        pytest.exit(f"make drill: {reason}", 1)


def _network(tmp_path_factory, services):
    folder = tmp_path_factory.mktemp("netns")
    # The nodes' user passes through the folders above.
    for parent in [folder, *folder.parents][:4]:
        if parent.stat().st_uid == os.geteuid() and parent.parts[1:2] == ("tmp",):
            parent.chmod(0o755)
    return netns.Network(folder, services, drills.CLIENTS, drills.ENVIRONMENT)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with _network(tmp_path_factory, drills.SENTINELS + drills.NODES + ["form"]) as network:
        drills.form_cluster(network)
        yield network


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    with _network(tmp_path_factory, drills.PLAIN_SENTINELS + drills.PLAIN_NODES) as network:
        drills.start_plain(network)
        yield network


def test_the_cluster_is_found_from_everywhere(cluster):
    drills.found_from_everywhere(cluster)


def test_the_master_is_found_from_everywhere(plain):
    drills.master_found_from_everywhere(plain)


@pytest.mark.parametrize("drill", DRILLS)
def test_cluster(cluster, drill):
    for _ in range(ROUNDS):
        DRILLS[drill](cluster)


@pytest.mark.parametrize("drill", DRILLS)
def test_master_and_replicas(plain, drill):
    for _ in range(ROUNDS):
        DRILLS[drill](plain)
