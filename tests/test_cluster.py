"""A cluster of 3 + 3 under sentinels: redis-cli's cluster tools, clients, failover, restarts."""

import random
import subprocess
import threading
import time

import pytest
import redis

from harness import HOST, ROOT, eventually, need, redis_cli


def first(cluster):
    return next(node for node in cluster.nodes if node.alive())


def test_redis_cli_creates_checks_and_uses_it(shared_cluster):
    port = shared_cluster.nodes[0].port
    check = redis_cli("--cluster", "check", f"{HOST}:{port}")
    assert "[OK] All nodes agree about slots configuration." in check, check
    assert "[OK] All 16384 slots covered." in check, check
    assert "3 masters" in redis_cli("--cluster", "info", f"{HOST}:{port}") or "[OK]" in check
    for number in range(60):
        assert redis_cli("-c", "-p", port, "SET", f"key:{number}", number).strip().endswith("OK")
    for number in range(60):
        assert redis_cli("-c", "-p", port, "GET", f"key:{number}").strip().endswith(str(number))
    sizes = [node.call("DBSIZE") for node in shared_cluster.nodes]
    assert sum(size > 0 for size in sizes) >= 3, "keys went to all shards"


def test_replicas_are_spread_and_epochs_distinct(shared_cluster):
    topology = shared_cluster.topology()
    masters = {id: entry for id, entry in topology.items() if "master" in entry["flags"]}
    followed = [entry["master"] for entry in topology.values() if "slave" in entry["flags"]]
    assert sorted(followed) == sorted(masters)
    epochs = [entry["epoch"] for entry in masters.values()]
    assert len(set(epochs)) == len(epochs), epochs


def test_redirections_and_refusals(shared_cluster):
    owner = shared_cluster.master_of("foo")
    other = next(node for node in shared_cluster.nodes if node is not owner)
    slot = other.call("CLUSTER", "KEYSLOT", "foo")
    assert slot == 12182
    with pytest.raises(redis.ResponseError, match=f"{slot} {HOST}:{owner.port}"):
        other.call("GET", "foo")
    with pytest.raises(redis.ResponseError, match="Keys in request don't hash to the same slot"):
        owner.call("MSET", "foo", "1", "bar", "2")
    assert owner.call("MSET", "{foo}1", "1", "{foo}2", "2")
    assert owner.call("CLUSTER", "COUNTKEYSINSLOT", slot) == 2
    assert sorted(owner.call("CLUSTER", "GETKEYSINSLOT", slot, 10)) == ["{foo}1", "{foo}2"]
    with pytest.raises(redis.ResponseError, match="SELECT is not allowed in cluster mode"):
        owner.call("SELECT", "1")


def test_replicas_serve_reads_when_asked(shared_cluster):
    owner = shared_cluster.master_of("read:me")
    owner.call("SET", "read:me", "yes")
    assert owner.call("WAIT", 1, 30_000) == 1
    topology = shared_cluster.topology()
    id = next(id for id, entry in topology.items() if entry["port"] == owner.port)
    replica = shared_cluster.node_at(
        next(entry["port"] for entry in topology.values() if entry["master"] == id))
    with pytest.raises(redis.ResponseError, match="read:me|MOVED|" + str(owner.port)):
        replica.call("GET", "read:me")
    client = replica.client(single_connection_client=True)
    client.execute_command("READONLY")
    assert client.get("read:me") == "yes"
    with pytest.raises(redis.ResponseError):
        client.set("read:me", "no")
    client.execute_command("READWRITE")
    with pytest.raises(redis.ResponseError):
        client.get("read:me")


def test_every_view_of_the_topology_agrees(shared_cluster):
    node = first(shared_cluster)
    slots = node.call("CLUSTER", "SLOTS")
    covered = sum(entry[1] - entry[0] + 1 if isinstance(entry, list) else 0 for entry in slots) or \
        sum(last - start + 1 for start, last in slots)
    assert covered == 16384
    assert len(node.call("CLUSTER", "SHARDS")) == 3
    info = redis_cli("-p", node.port, "CLUSTER", "INFO")
    for line in ("cluster_state:ok", "cluster_slots_assigned:16384", "cluster_slots_ok:16384",
                 "cluster_known_nodes:6", "cluster_size:3"):
        assert line in info, info
    # A sentinel answers the same.
    sentinel = shared_cluster.sentinels[0]
    ours = redis_cli("-p", sentinel.port, "CLUSTER", "SLOTS")
    assert all(str(node.port) in ours for node in shared_cluster.nodes)


def test_redis_py_cluster_works(shared_cluster):
    client = shared_cluster.client()
    for number in range(200):
        assert client.set(f"py:{number}", number)
    assert all(client.get(f"py:{number}") == str(number) for number in range(200))
    pipe = client.pipeline()
    for number in range(100):
        pipe.incr(f"count:{number % 10}")
    pipe.execute()
    assert client.get("count:3") == "10"
    assert client.mset_nonatomic({"x": "1", "y": "2", "z": "3"})
    assert client.dbsize(target_nodes=redis.RedisCluster.PRIMARIES) > 200


class Writers:
    """One writer per shard, against its own master, finding the new one when it dies."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.client = cluster.client(socket_timeout=2)
        self.tags = {}
        rng = random.Random(1)
        while len(self.tags) < 3:
            tag = f"w{rng.randrange(10**6)}"
            self.tags.setdefault(cluster.master_of(tag).port, tag)
        self.acknowledged = {port: 0 for port in self.tags}
        self.errors = {port: [] for port in self.tags}
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._write, args=item) for item in self.tags.items()]

    def _write(self, port, tag):
        mine = self.cluster.client(socket_timeout=2)
        number = 0
        while not self.stopping.is_set():
            try:
                if mine.set(f"{{{tag}}}:{number % 1000}", number):
                    self.acknowledged[port] = number
                    number += 1
            except (redis.RedisError, OSError) as error:
                self.errors[port].append(repr(error))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join()


def test_a_killed_master_is_replaced_and_comes_back_as_replica(cluster):
    with Writers(cluster) as writers:
        eventually(lambda: all(count > 100 for count in writers.acknowledged.values()), "some writes")
        victim = cluster.node_at(next(iter(writers.tags)))
        before = dict(writers.acknowledged)
        victim.kill()
        eventually(lambda: all(writers.acknowledged[port] > before[port] + 200 for port in before),
                   "every shard to take writes again")
        victim.start(wait=False)
        cluster.wait_healthy()
    healthy = [port for port in writers.tags if port != victim.port]
    assert not any(writers.errors[port] for port in healthy), "healthy shards refuse nothing"
    assert victim.info("replication")["role"] == "slave"
    master = cluster.node_at(victim.info("replication")["master_port"])
    eventually(lambda: master.call("DBSIZE") == victim.call("DBSIZE"), "it to catch up")
    check = redis_cli("--cluster", "check", f"{HOST}:{first(cluster).port}")
    assert "[OK] All 16384 slots covered." in check


def test_a_master_that_comes_back_empty_at_once_is_not_followed(cluster):
    victim = cluster.master_of("precious")
    victim.call("SET", "precious", "data")
    assert victim.call("WAIT", 1, 30_000) == 1
    victim.kill()
    victim.start(wait=False)
    cluster.wait_healthy()
    owner = cluster.master_of("precious")
    assert owner.call("GET", "precious") == "data"
    assert owner is not victim


def test_manual_failover(cluster):
    before = cluster.owners()
    replica = next(node for node in cluster.nodes if node.info("replication")["role"] == "slave")
    replica.call("CLUSTER", "FAILOVER")
    eventually(lambda: replica.info("replication")["role"] == "master", "the replica to take over")
    cluster.wait_healthy()
    after = cluster.owners()
    assert set(before) == set(after) and before != after
    replica = next(node for node in cluster.nodes if node.info("replication")["role"] == "slave")
    replica.call("CLUSTER", "FAILOVER", "FORCE")
    eventually(lambda: replica.info("replication")["role"] == "master", "the replica to take over")
    cluster.wait_healthy()


def test_everything_killed_keeps_the_topology(cluster):
    before = cluster.owners()
    ids = set(cluster.topology())
    cluster.kill()
    cluster.start()
    cluster.wait_healthy()
    assert set(cluster.owners()) == set(before), "the same slot ranges"
    assert set(cluster.topology()) == ids, "the same nodes"
    client = cluster.client()
    assert client.set("alive", "yes")


def test_all_sentinels_killed_and_back(cluster):
    client = cluster.client()
    for sentinel in cluster.sentinels:
        sentinel.kill()
    end = time.monotonic() + 3
    number = 0
    while time.monotonic() < end:
        number += 1
        assert client.set(f"k{number % 300}", number)
    for sentinel in cluster.sentinels:
        sentinel.start(wait=False)
    cluster.wait_healthy()
    victim = cluster.master_of("after")
    victim.kill()
    eventually(lambda: cluster.client().set("after", "1"), "failover to work again")


@pytest.mark.parametrize("victim", ["master"])
def test_ioredis_cluster_survives_a_failover(cluster, victim):
    need("node")
    script = ROOT / "tests/node/cluster.js"
    ports = [str(node.port) for node in cluster.nodes]
    done = subprocess.Popen(["node", str(script), *ports], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = done.stdout.readline()
        assert line.startswith("ready "), line + done.stderr.read()
        cluster.node_at(cluster.master_of("io:0").port).kill()
        done.stdin.write("killed\n")
        done.stdin.flush()
        out, err = done.communicate(timeout=120)
    finally:
        done.kill()
    assert done.returncode == 0, out + err
    assert "survived" in out, out + err


def test_clusterscan_walks_through_all_shards(shared_cluster):
    client = shared_cluster.client()
    keys = [f"walked:{number}" for number in range(300)]
    for key in keys:
        client.set(key, "1")
    cursor, found, servers = "0", [], set()
    while True:
        owner = shared_cluster.master_of(cursor)
        servers.add(owner.port)
        cursor, some = owner.call("CLUSTERSCAN", cursor, "MATCH", "walked:*", "COUNT", 100)
        found += some
        if cursor == "0":
            break
    assert sorted(found) == sorted(keys)
    assert len(servers) == 3
    # A cursor is routed like a key, and means the same slot to every node.
    owner = shared_cluster.master_of("walked:0")
    other = next(node for node in shared_cluster.nodes if node is not owner)
    slot = owner.call("CLUSTER", "KEYSLOT", "walked:0")
    cursor, nothing = shared_cluster.master_of("0").call("CLUSTERSCAN", "0", "SLOT", slot)
    assert nothing == []
    with pytest.raises(redis.ResponseError, match=f"{slot} {HOST}:{owner.port}"):
        other.call("CLUSTERSCAN", cursor, "SLOT", slot)
    assert "walked:0" in owner.call("CLUSTERSCAN", cursor, "SLOT", slot, "COUNT", 1000)[1]
