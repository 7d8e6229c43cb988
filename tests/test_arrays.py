"""Arrays through a client of other people's making, and on their way to a replica."""

import random

from redis.commands.core import (ArrayAggregateOperations, ArrayPredicateCombinator,
                                 ArrayPredicateType)

from harness import eventually
from test_replication import follow, pair, same_data  # noqa: F401 (a fixture)

LAST = 2**64 - 2
MATCH, GLOB, RE = (ArrayPredicateType[name] for name in ("MATCH", "GLOB", "RE"))


def test_redis_py_knows_our_arrays(start_node):
    for protocol in (2, 3):
        client = start_node().client(protocol=protocol)
        assert client.arset("a", 0, "login", "click") == 2
        assert client.armset("a", {7: "7", LAST: "last"}) == 2
        assert client.arget("a", 1) == "click" and client.arget("a", 2) is None
        assert client.armget("a", 0, 3, LAST) == ["login", None, "last"]
        assert client.argetrange("a", 1, 0) == ["click", "login"]
        assert client.arscan("a", 1, 100, limit=5) == [[1, "click"], [7, "7"]]
        assert client.arcount("a") == 4 and int(client.arlen("a")) == LAST + 1
        assert client.argrep("a", 0, 9, [(MATCH, "LI"), (GLOB, "log*")], nocase=True) == [0, 1]
        both = ArrayPredicateCombinator.AND
        found = client.argrep("a", 9, 0, [(RE, "^l"), (RE, "n$")], both, withvalues=True)
        assert found == [[0, "login"]]
        assert client.arop("a", 0, 100, ArrayAggregateOperations.SUM) == "7"
        assert client.arop("a", 0, 100, ArrayAggregateOperations.MATCH, "click") == 1
        assert client.ardel("a", 7, 8) == 1 and client.ardelrange("a", (9, 0)) == 2
        assert client.arinsert("log", "x", "y", "z") == 2
        assert client.arnext("log") == 3 and client.arlastitems("log", 2, rev=True) == ["z", "y"]
        assert client.arring("ring", 3, *"abcd") == 0
        assert client.arlastitems("ring", 3) == ["b", "c", "d"]
        assert client.arseek("log", LAST + 1) == 1 and client.arnext("log") is None
        info = client.arinfo("ring", full=True)
        assert info["count"] == 3 and info["next-insert-index"] == 1, info


def test_an_array_is_a_value_like_others(start_node):
    node = start_node("--enable-debug-command", "yes")
    client = node.client()
    client.arset("a", 5, *range(3000))
    assert client.type("a") == "array" and client.object("encoding", "a") == "sliced-array"
    assert list(client.scan_iter(_type="array")) == ["a"]
    assert 3000 * 8 <= client.memory_usage("a") < 3000 * 12
    client.copy("a", "b")
    assert node.call("DEBUG", "DIGEST-VALUE", "a") == node.call("DEBUG", "DIGEST-VALUE", "b")
    raw = node.client(decode_responses=False)
    raw.restore("c", 100_000, raw.dump("a"))
    assert client.argetrange("c", 0, 3004) == client.argetrange("a", 0, 3004)
    assert client.ttl("c") > 0
    used = node.info("memory")["used_memory_dataset"]
    client.unlink("a", "b", "c")
    eventually(lambda: node.info("memory")["used_memory_dataset"] < used, "memory to be given back")
    assert client.dbsize() == 0


def write(pipe, chance, number):
    """One change of some array."""
    key = f"ar:{number % 30}"
    index = chance.choice([chance.randrange(50), chance.randrange(100_000), LAST - chance.randrange(9)])
    value = chance.choice([number, number / 8, "word", "a longer text " * 20])
    chance.choice([
        lambda: pipe.arset(key, index // 2, value, number),
        lambda: pipe.armset(key, {index: value, 7: number}),
        lambda: pipe.arinsert(key, value, number) if number % 30 < 20 else pipe.arring(key, 40, value),
        lambda: pipe.arseek(key, index % 1000),
        lambda: pipe.ardel(key, index, 7),
        lambda: pipe.ardelrange(key, (index, index // 2)) if number % 9 == 0 else pipe.ardel(key, 1),
    ])()


def test_a_replica_gets_arrays_whole_and_follows_their_changes(pair):  # noqa: F811
    master, replica = pair
    chance = random.Random(88)
    pipe = master.client().pipeline(transaction=False)
    for number in range(3000):
        write(pipe, chance, number)
    pipe.arset("long", 0, *range(20_000))
    pipe.execute()
    follow(replica, master)
    same_data(master, replica)
    for number in range(3000):
        write(pipe, chance, number)
    pipe.execute()
    same_data(master, replica)
    assert replica.call("ARGET", "long", 19_999) == "19999"
