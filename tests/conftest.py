"""Fixtures: processes that live as long as a test or a module, and are killed at its end."""

import shutil
import tempfile

import pytest

import harness


@pytest.fixture(scope="session", autouse=True)
def binary():
    if not harness.BINARY.exists():
        pytest.exit(f"{harness.BINARY} is missing: run `make test`, which builds it", 1)
    return harness.BINARY


def _folder():
    return tempfile.mkdtemp(prefix="slotward-test-")


@pytest.fixture
def folder():
    """A folder for one test."""
    path = _folder()
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def start_node(folder):
    """Starts data nodes with options; kills them at the end."""
    started = []

    def start(*options, **named):
        started.append(harness.node(folder, *options, **named))
        return started[-1].start()

    yield start
    for process in started:
        process.kill()
    harness.assert_no_panic(started)


@pytest.fixture
def start_redis(folder):
    """Starts Debian's redis-server with options; kills it at the end."""
    harness.need("redis-server")
    started = []

    def start(*options):
        started.append(harness.real_redis(folder, *options))
        return started[-1].start()

    yield start
    for process in started:
        process.kill()


@pytest.fixture(scope="module")
def shared_node():
    """One node for a whole module; tests that want it empty call FLUSHALL."""
    path = _folder()
    process = harness.node(path, "--enable-debug-command", "yes").start()
    yield process
    process.kill()
    harness.assert_no_panic([process])
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def plain_group(folder):
    """A master, two replicas and three sentinels."""
    group = harness.PlainGroup(folder, options=("--enable-debug-command", "yes"))
    try:
        group.start()
        group.wait_settled()
        yield group
    finally:
        group.kill()
        harness.assert_no_panic(group.sentinels + group.nodes)


@pytest.fixture(scope="module")
def shared_cluster():
    """A cluster of 3 + 3 for tests that leave it healthy."""
    path = _folder()
    cluster = harness.Cluster(path, options=("--enable-debug-command", "yes"))
    try:
        cluster.start()
        cluster.create()
        yield cluster
    finally:
        cluster.kill()
        harness.assert_no_panic(cluster.sentinels + cluster.nodes)
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def cluster(folder):
    """A cluster of 3 + 3 of one's own."""
    cluster = harness.Cluster(folder)
    try:
        cluster.start()
        cluster.create()
        yield cluster
    finally:
        cluster.kill()
        harness.assert_no_panic(cluster.sentinels + cluster.nodes)
