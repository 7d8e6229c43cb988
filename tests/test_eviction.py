"""`maxmemory`: who goes, who stays, and what is refused when nobody may go."""

import pytest
import redis

import harness

MIB = 1 << 20
POLICIES = [f"{whose}-{order}" for whose in ("allkeys", "volatile") for order in ("lru", "lfu", "lrm", "random")]


@pytest.fixture
def node(tmp_path):
    process = harness.node(tmp_path).start()
    yield process
    harness.assert_no_panic([process])
    process.kill()


def limit(client, room):
    """Sets the limit this far above what is in use."""
    client.config_set("maxmemory", client.info("memory")["used_memory"] + room)


def fill(client, count, prefix="key", **options):
    pipe = client.pipeline(transaction=False)
    for number in range(count):
        pipe.set(f"{prefix}:{number}", "v" * 200, **options)
    return pipe.execute(raise_on_error=False)


@pytest.mark.parametrize("policy", [*POLICIES, "volatile-ttl"])
def test_memory_stays_below_the_limit(node, policy):
    client = node.client()
    client.config_set("maxmemory-policy", policy)
    limit(client, 4 * MIB)
    replies = fill(client, 60_000, **({"ex": 10_000} if policy.startswith("volatile") else {}))
    assert all(reply is True for reply in replies), next(reply for reply in replies if reply is not True)
    info = client.info()
    assert info["evicted_keys"] > 10_000
    assert info["evicted_keys"] + client.dbsize() == 60_000
    # What was allocated and not yet counted may lie above it, a little.
    assert info["used_memory"] < info["maxmemory"] + MIB


@pytest.mark.parametrize("policy", ["noeviction", "volatile-lru", "volatile-ttl", "volatile-random"])
def test_writes_are_refused_when_no_key_may_go(node, policy):
    client = node.client()
    client.config_set("maxmemory-policy", policy)
    limit(client, MIB)
    replies = fill(client, 20_000)
    refused = [reply for reply in replies if reply is not True]
    assert refused and all("OOM command not allowed" in str(reply) or "OutOfMemory" in type(reply).__name__
                           for reply in refused)
    assert client.get("key:0") is not None, "reads go on"
    assert client.delete("key:0") == 1, "and what frees memory"
    transaction = client.pipeline()
    with pytest.raises(redis.RedisError):
        transaction.set("a", "b").execute()
    assert client.info("stats")["evicted_keys"] == 0


def test_keys_without_expiry_survive_a_volatile_policy(node):
    client = node.client()
    client.config_set("maxmemory-policy", "volatile-lru")
    fill(client, 5000, "lasting")
    limit(client, 4 * MIB)
    fill(client, 40_000, "passing", ex=10_000)
    assert client.info("stats")["evicted_keys"] > 10_000
    assert sum(client.exists(f"lasting:{number}") for number in range(5000)) == 5000


def test_the_next_to_expire_go_first(node):
    client = node.client()
    client.config_set("maxmemory-policy", "volatile-ttl")
    client.config_set("maxmemory-samples", 10)
    fill(client, 5000, "late", ex=1_000_000)
    fill(client, 5000, "soon", ex=1000)
    limit(client, 0)
    fill(client, 4000, "more", ex=1_000_000)
    late = sum(client.exists(f"late:{number}") for number in range(5000))
    soon = sum(client.exists(f"soon:{number}") for number in range(5000))
    assert soon < 2000 < 4900 <= late, (soon, late)


def test_often_used_keys_survive(node):
    client = node.client()
    client.config_set("maxmemory-policy", "allkeys-lfu")
    fill(client, 500, "hot")
    for _ in range(30):
        client.mget([f"hot:{number}" for number in range(500)])
    assert client.object("freq", "hot:0") > 5
    with pytest.raises(redis.ResponseError, match="LFU"):
        client.execute_command("OBJECT", "IDLETIME", "hot:0")
    limit(client, 2 * MIB)
    fill(client, 40_000, "cold")
    hot = sum(client.exists(f"hot:{number}") for number in range(500))
    assert hot >= 480, hot


def test_a_replica_hears_of_what_went_and_evicts_nothing_itself(tmp_path):
    master = harness.node(tmp_path).start()
    replica = harness.node(tmp_path, "--replicaof", harness.HOST, master.port).start()
    try:
        harness.eventually(lambda: replica.info("replication")["master_link_status"] == "up", "the link")
        client = master.client()
        client.config_set("maxmemory-policy", "allkeys-lru")
        replica.client().config_set("maxmemory", 1)
        limit(client, 2 * MIB)
        fill(client, 20_000)
        assert client.info("stats")["evicted_keys"] > 1000
        # Evictions go on for a moment after the last command; then both hold the same keys.
        harness.eventually(lambda: client.wait(1, 1000) == 1
                           and set(client.keys("*")) == set(replica.client().keys("*")), "equal keys")
        assert replica.info("stats")["evicted_keys"] == 0
    finally:
        for process in (master, replica):
            process.kill()


def test_huge_values_that_were_unlinked_are_freed(node):
    client = node.client()
    client.rpush("big", *["x" * 100] * 100_000)
    before = client.info("memory")["used_memory"]
    assert client.unlink("big") == 1
    harness.eventually(lambda: client.info("memory")["used_memory"] < before - 5 * MIB, "memory to come back")
