"""docker-compose.yml in network namespaces, one short round: what is shipped forms a cluster, is
found from the host and from inside, and survives a partition and an address that vanishes. All
drills: `make drill`."""

import pytest

import drills
import netns
from drills import NODES, SENTINELS

pytestmark = pytest.mark.skipif(netns.why_not() is not None, reason=str(netns.why_not()))


@pytest.fixture
def network(folder):
    with netns.Network(folder, SENTINELS + NODES + ["form"], drills.CLIENTS,
                       drills.ENVIRONMENT) as network:
        drills.form_cluster(network)
        yield network


def test_the_compose_file_gives_a_cluster_that_survives_cuts(network):
    assert all(network[name].healthcheck() for name in NODES + SENTINELS)
    drills.found_from_everywhere(network)
    drills.partition(network)
    drills.killed(network)
