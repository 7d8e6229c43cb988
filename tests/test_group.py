"""A plain master with replicas under sentinels: failover, rejoin, redis-py's Sentinel."""

import time

import redis
from redis.sentinel import Sentinel

from harness import HOST, eventually


def sentinel_client(group, **options):
    return Sentinel([(HOST, sentinel.port) for sentinel in group.sentinels],
                    socket_timeout=5, decode_responses=True, **options)


def write_until_acknowledged(service, key, value):
    return eventually(lambda: service.set(key, value), "a write to be acknowledged")


def test_redis_py_sentinel_survives_a_failover(plain_group):
    master = plain_group.settled()
    client = sentinel_client(plain_group)
    assert client.discover_master("mymaster") == (HOST, master.port)
    assert sorted(port for _, port in client.discover_slaves("mymaster")) == sorted(
        node.port for node in plain_group.nodes if node is not master)
    service = client.master_for("mymaster")
    assert service.set("before", "1")
    assert master.call("WAIT", 2, 30_000) == 2
    master.kill()
    write_until_acknowledged(service, "after", "2")
    assert service.get("before") == "1"
    new = plain_group.wait_settled()
    assert new is not master
    # It comes back as a replica and catches up.
    master.start()
    assert plain_group.wait_settled() is new
    eventually(lambda: master.call("GET", "after") == "2", "the old master to catch up")


def test_the_sentinel_commands(plain_group):
    master = plain_group.settled()
    for sentinel in plain_group.sentinels:
        client = sentinel.client()
        assert client.execute_command("SENTINEL", "MYID")
        (entry,) = client.sentinel_masters().values()
        assert entry["name"] == "mymaster" and entry["port"] == master.port
        assert client.sentinel_master("mymaster")["num-slaves"] == 2
        assert len(client.sentinel_slaves("mymaster")) == 2
        assert len(client.execute_command("SENTINEL", "SENTINELS", "mymaster")) == 2
        assert "OK" in str(client.execute_command("SENTINEL", "CKQUORUM", "mymaster"))
        assert client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "nobody") is None


def test_events_are_published(plain_group):
    master = plain_group.settled()
    events = {}
    subscriber = plain_group.sentinels[0].client().pubsub()
    subscriber.psubscribe("*")
    eventually(lambda: subscriber.get_message(timeout=1), "the subscription")
    master.kill()
    def switched():
        message = subscriber.get_message(timeout=1)
        if message and message["type"] == "pmessage":
            events[message["channel"]] = message["data"]
        return "+switch-master" in events
    eventually(switched, "+switch-master")
    name, old_host, old_port, new_host, new_port = events["+switch-master"].split()
    assert (name, old_host, int(old_port), new_host) == ("mymaster", HOST, master.port, HOST)
    assert int(new_port) == plain_group.wait_settled().port


def test_a_manual_failover_loses_nothing(plain_group):
    master = plain_group.settled()
    client = master.client()
    for number in range(500):
        client.set(f"k:{number}", number)
    assert plain_group.sentinels[1].call("SENTINEL", "FAILOVER", "mymaster")
    new = eventually(lambda: plain_group.settled() is not master and plain_group.settled(),
                     "another master")
    assert new.call("DBSIZE") >= 500
    assert new.call("GET", "k:499") == "499"


def test_a_master_that_comes_back_empty_is_not_followed(plain_group):
    master = plain_group.settled()
    master.call("SET", "precious", "data")
    assert master.call("WAIT", 2, 30_000) == 2
    # Killed and back at once, with nothing in its memory: what a supervisor does.
    master.kill()
    master.start(wait=False)
    new = plain_group.wait_settled()
    assert new.call("GET", "precious") == "data"
    assert new is not master
    eventually(lambda: master.call("GET", "precious") == "data", "the restarted node to catch up")


def test_an_isolated_master_stops_taking_writes(plain_group):
    """Frozen (SIGSTOP) beyond its lease, replaced, thawed: it must not say OK to anything."""
    master = plain_group.settled()
    client = master.client(socket_timeout=60)
    assert client.set("x", "1")
    import signal
    master.signal(signal.SIGSTOP)
    try:
        others = [node for node in plain_group.nodes if node is not master]
        def replaced():
            return any(node.info("replication")["role"] == "master" and node.call("SET", "x", "2")
                       for node in others)
        eventually(replaced, "another master to serve")
    finally:
        master.signal(signal.SIGCONT)
    try:
        answer = client.set("x", "stale")
    except redis.RedisError:
        answer = None
    assert not answer
    plain_group.wait_settled()
    eventually(lambda: all(node.call("GET", "x") == "2" for node in plain_group.nodes), "one history")


def test_everything_killed_keeps_the_topology(plain_group):
    plain_group.settled()
    plain_group.kill()
    plain_group.start()
    plain_group.wait_settled()


def test_a_lost_sentinel_does_not_stop_a_failover(plain_group):
    master = plain_group.settled()
    plain_group.sentinels[0].kill()
    begun = time.monotonic()
    master.kill()
    others = [node for node in plain_group.nodes if node is not master]
    eventually(lambda: any(node.info("replication")["role"] == "master" and node.call("SET", "y", "1")
                           for node in others), "another master to serve")
    assert time.monotonic() - begun < 60
    plain_group.sentinels[0].start()
    plain_group.wait_settled()


def test_the_data_plane_survives_the_loss_of_all_sentinels(plain_group):
    master = plain_group.settled()
    for sentinel in plain_group.sentinels:
        sentinel.kill()
    # Beyond the lease of 1 s: every replica still vouches for the master.
    end = time.monotonic() + 4
    while time.monotonic() < end:
        assert master.call("SET", "still", "here")
    for sentinel in plain_group.sentinels:
        sentinel.start()
    assert plain_group.wait_settled() is master
