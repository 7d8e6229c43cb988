"""Vector sets between processes: replicas, payloads, and a real Redis on either side."""

import random
import struct

import harness
import pytest
from harness import HOST, eventually

DIMENSIONS = 12


def fill(process, key, options=(), count=150, seed=1):
    """Adds elements, removes some, gives some attributes."""
    numbers = random.Random(seed)
    for n in range(count):
        vector = struct.pack(f"<{DIMENSIONS}f", *[numbers.gauss(0, 1) for _ in range(DIMENSIONS)])
        process.call("VADD", key, "FP32", vector, f"e{n}", *options, "EF", 30)
        if n % 7 == 0:
            process.call("VSETATTR", key, f"e{n}", '{"n": %d}' % n)
        if n % 5 == 4:
            assert process.call("VREM", key, f"e{n - 4}") == 1


KINDS = {"plain": ("NOQUANT",), "codes": ("Q8", "M", "5"), "bits": ("BIN",)}


def links(process, key):
    """The whole graph, each node's links in no order."""
    graph = {}
    for element in process.call("VRANGE", key, "-", "+"):
        layers = process.call("VLINKS", key, element)
        graph[element] = [sorted(layer) for layer in layers]
    return graph


def graph_by(process, key, elements):
    return {element: [sorted(layer) for layer in process.call("VLINKS", key, element)] for element in elements}


def follow(replica, master):
    replica.call("REPLICAOF", HOST, master.port)
    eventually(lambda: replica.info("replication").get("master_link_status") == "up", "the replica to follow")


def same(master, replica):
    eventually(lambda: master.call("DEBUG", "DIGEST") == replica.call("DEBUG", "DIGEST"), "equal digests")


def test_a_replica_has_the_same_graph_whenever_it_came(start_node):
    master, early, late = (start_node("--enable-debug-command", "yes") for _ in range(3))
    follow(early, master)
    for key, options in KINDS.items():
        fill(master, key, options)
    # This one gets the sets whole, and from there on builds on.
    follow(late, master)
    for key, options in KINDS.items():
        fill(master, key, options, count=60, seed=2)
    for replica in (early, late):
        same(master, replica)
        for key in KINDS:
            assert links(master, key) == links(replica, key), key


def test_payloads_carry_the_graph(start_node):
    node = start_node("--enable-debug-command", "yes")
    for key, options in KINDS.items():
        fill(node, key, options)
        payload = node.client(decode_responses=False).dump(key)
        assert node.call("RESTORE", "copy", 0, payload, "REPLACE")
        assert links(node, key) == links(node, "copy")
        assert node.call("DEBUG", "DIGEST-VALUE", key) == node.call("DEBUG", "DIGEST-VALUE", "copy")


@pytest.fixture
def redis_8(start_redis):
    peer = harness.peers().get("redis-8.2")
    if peer is None:
        pytest.skip("no Redis 8.2 found")

    def start():
        process = start_redis()
        process.kill()
        process.command[0] = str(peer)
        return process.start()

    return start


def test_payloads_are_those_of_redis(start_node, redis_8):
    node, redis = start_node(), redis_8()
    for key, options in KINDS.items():
        for source, target in [(node, redis), (redis, node)]:
            source.call("DEL", key)
            target.call("DEL", key)
            fill(source, key, options)
            payload = source.client(decode_responses=False).dump(key)
            assert target.call("RESTORE", key, 0, payload)
            elements = node.call("VRANGE", key, "-", "+")
            assert len(elements) == 120 == redis.call("VCARD", key)
            assert graph_by(node, key, elements) == graph_by(redis, key, elements)
            for element in elements[::10]:
                query = ("VSIM", key, "ELE", element, "TRUTH", "COUNT", 200, "WITHSCORES")
                near, again = source.call(*query), target.call(*query)
                assert sorted(near[::2]) == sorted(again[::2])
                assert all(abs(float(a) - float(b)) < 1e-5 for a, b in zip(near[1::2], again[1::2]))
            # What was taken over can be built on.
            fill(target, key, options, count=50, seed=3)
