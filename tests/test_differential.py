"""The same random commands to us and to Debian's redis-server 7.0: the same replies.

The seed is in the test's name. `make conformance` sends many more, to newer servers too.
"""

import pytest

import harness
from conformance import Pair, episodes, start_pair

EPISODES = 4


@pytest.fixture(scope="module", params=["alone", "cluster"])
def servers(request, tmp_path_factory):
    harness.need("redis-server")
    ours, theirs = start_pair(tmp_path_factory.mktemp("pair"), "redis-server", request.param == "cluster")
    yield ours, theirs
    harness.assert_no_panic([ours])
    for process in (ours, theirs):
        process.kill()


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_replies_are_the_same(servers, seed, protocol):
    pair = Pair("redis-7.0", *servers, protocol)
    drawn = episodes(seed, pair.known(), "redis-7.0")
    for _ in range(EPISODES):
        commands = next(drawn)
        if pair.run(commands) is not None:
            commands, found = pair.shrink(commands)
            assert found is None, (commands[-8:], found)
            pytest.fail("a difference that does not come again")
    pair.close()
