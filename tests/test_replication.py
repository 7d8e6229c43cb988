"""Replicas without sentinels: REPLICAOF, synchronisation, WAIT, and a real Redis on either side."""

import threading

import pytest
import redis

from harness import HOST, eventually


def digest(process):
    return process.call("DEBUG", "DIGEST")


def linked(replica):
    replication = replica.info("replication")
    return replication["role"] == "slave" and replication["master_link_status"] == "up"


def follow(replica, master):
    replica.call("REPLICAOF", HOST, master.port)
    eventually(lambda: linked(replica), f"{replica.port} to follow {master.port}")


def same_offset(master, replica):
    ours = master.info("replication")["master_repl_offset"]
    theirs = replica.info("replication")
    return theirs.get("slave_repl_offset", theirs["master_repl_offset"]) >= ours


def same_data(master, replica):
    eventually(lambda: same_offset(master, replica), "the replica to catch up")
    eventually(lambda: digest(master) == digest(replica), "equal digests")
    assert master.call("DBSIZE") == replica.call("DBSIZE")


READ = {
    "string": lambda client, key: client.get(key),
    "list": lambda client, key: client.lrange(key, 0, -1),
    "set": lambda client, key: sorted(client.smembers(key)),
    "hash": lambda client, key: sorted(client.hgetall(key).items()),
    "zset": lambda client, key: client.zrange(key, 0, -1, withscores=True),
}


def content(process):
    """Everything in database 0, read by its type."""
    client, held = process.client(encoding_errors="surrogateescape"), {}
    for key in client.scan_iter(count=1000):
        kind = client.type(key)
        kind = kind.decode() if isinstance(kind, bytes) else kind
        if kind != "none":
            held[key] = READ[kind](client, key)
    return held


def same_content(master, replica):
    """As `same_data`, between servers of two makes, whose digests are their own."""
    eventually(lambda: same_offset(master, replica), "the replica to catch up")
    eventually(lambda: content(master) == content(replica), "equal contents")


def fill(process, count=2000):
    """Keys of every type, some that expire, compact and large ones."""
    pipe = process.client().pipeline(transaction=False)
    for n in range(count):
        pipe.set(f"s:{n}", f"value {n}" * (n % 5 + 1))
        pipe.hset(f"h:{n % 50}", f"f{n}", n)
        pipe.rpush(f"l:{n % 50}", f"item {n}")
        pipe.sadd(f"set:{n % 50}", n if n % 2 else f"m{n}")
        pipe.zadd(f"z:{n % 50}", {f"m{n}": n / 3})
        if n % 7 == 0:
            pipe.expire(f"s:{n}", 10_000)
    pipe.set("blob", b"\x00\xff" * 100_000)
    pipe.set("number", 12345)
    pipe.execute()


class Writer(threading.Thread):
    """Writes of every kind until it is told to stop."""

    def __init__(self, process):
        super().__init__()
        self.client = process.client()
        self.stopping = threading.Event()
        self.failure = None

    def run(self):
        number = 0
        try:
            while not self.stopping.is_set():
                pipe = self.client.pipeline(transaction=False)
                for _ in range(20):
                    number += 1
                    pipe.incr("counter")
                    pipe.rpush("queue", number)
                    pipe.lpop("queue") if number % 2 else None
                    pipe.sadd("pool", number)
                    pipe.spop("pool") if number % 3 == 0 else None
                    pipe.zincrby("board", 1.5, f"p{number % 20}")
                    pipe.hset("state", f"f{number % 100}", number)
                    pipe.set(f"short:{number % 50}", number, px=500)
                    pipe.mset({f"a:{number % 9}": number, f"b:{number % 9}": number})
                pipe.execute()
        except redis.RedisError as error:
            self.failure = error

    def finish(self):
        self.stopping.set()
        self.join()
        assert self.failure is None, self.failure


@pytest.fixture
def pair(start_node):
    options = ("--enable-debug-command", "yes")
    return start_node(*options), start_node(*options)


def test_a_full_synchronisation_under_writes_brings_everything(pair):
    master, replica = pair
    fill(master)
    replica.call("SET", "stale", "must go")
    writer = Writer(master)
    writer.start()
    follow(replica, master)
    writer.finish()
    same_data(master, replica)
    assert replica.call("GET", "stale") is None
    assert master.info("stats")["sync_full"] == 1
    assert replica.call("TTL", "s:7") > 0


def test_a_replica_that_was_away_resumes(pair):
    master, replica = pair
    fill(master, 200)
    follow(replica, master)
    writer = Writer(master)
    writer.start()
    for _ in range(5):
        # The link breaks; the replica comes back by itself.
        master.call("CLIENT", "KILL", "TYPE", "replica")
        eventually(lambda: linked(replica), "the link to come back")
    writer.finish()
    same_data(master, replica)
    stats = master.info("stats")
    assert stats["sync_full"] == 1 and stats["sync_partial_ok"] >= 1, stats


def test_wait_role_and_read_only(pair):
    master, replica = pair
    assert master.call("ROLE")[0] == "master"
    assert master.call("WAIT", 1, 1) == 0
    follow(replica, master)
    eventually(lambda: master.info("replication")["connected_slaves"] == 1, "the replica to be listed")
    assert master.call("SET", "a", "1")
    assert master.call("WAIT", 1, 30_000) == 1
    assert replica.call("GET", "a") == "1"
    role = replica.call("ROLE")
    assert role[0] == "slave" and role[1] == HOST and int(role[2]) == master.port
    with pytest.raises(redis.ReadOnlyError):
        replica.call("SET", "a", "2")
    entry = master.info("replication")["slave0"]
    assert entry["port"] == replica.port and entry["state"] == "online"
    replica.call("REPLICAOF", "NO", "ONE")
    assert replica.call("ROLE")[0] == "master"
    assert replica.call("SET", "a", "3")


def test_expiry_reaches_the_replica_as_a_deletion(pair):
    master, replica = pair
    follow(replica, master)
    master.call("SET", "brief", "1", "PX", "100")
    master.call("SET", "hash{1}", "x", "EX", "1000")
    eventually(lambda: replica.call("EXISTS", "brief") == 0, "the key to go on the replica")
    eventually(lambda: master.call("DBSIZE") == replica.call("DBSIZE") == 1, "the key to go on both")
    same_data(master, replica)


def test_a_pause_that_ends_in_the_middle_of_a_batch(pair):
    """Who writes in the place of a key that a pause has only hidden must not leave that key to the replicas."""
    master, replica = pair
    follow(replica, master)
    client = master.client()
    client.mset({"{t}a": "x" * 3000, "{t}b": "y" * 3000})
    names = [f"key{number}" for number in range(8)]
    for attempt in range(3):
        pipe = client.pipeline(transaction=False)
        for name in names:
            pipe.delete(name)
            pipe.set(name, "a string", px=20)
        pipe.execute()
        client.client_pause(60, all=False)
        # The batch begins in the pause, and its reads take until after the end.
        for _ in range(12):
            pipe.execute_command("LCS", "{t}a", "{t}b", "LEN")
        for name in names:
            pipe.hset(name, "field", attempt)
        pipe.execute()
    same_data(master, replica)


def test_a_replica_of_a_replica(start_node):
    options = ("--enable-debug-command", "yes")
    first, second, third = (start_node(*options) for _ in range(3))
    fill(first, 300)
    follow(second, first)
    follow(third, second)
    writer = Writer(first)
    writer.start()
    eventually(lambda: int(first.call("GET", "counter") or 0) > 500, "some writes")
    writer.finish()
    same_data(first, second)
    same_data(first, third)


def test_flushall_and_databases_travel(pair):
    master, replica = pair
    follow(replica, master)
    master.client(db=3).set("three", "3")
    master.call("SET", "zero", "0")
    same_data(master, replica)
    assert replica.client(db=3).get("three") == "3"
    master.client(db=3).flushdb()
    same_data(master, replica)
    master.call("FLUSHALL")
    same_data(master, replica)
    assert replica.call("DBSIZE") == 0


def test_authentication_on_the_link(start_node):
    master = start_node("--requirepass", "secret")
    replica = start_node("--masterauth", "secret")
    master.call("SET", "a", "1", password="secret")
    follow(replica, master)
    eventually(lambda: replica.call("GET", "a") == "1", "the key to arrive")


def test_a_real_redis_can_follow_us(start_node, start_redis):
    master, replica = start_node("--enable-debug-command", "yes"), start_redis()
    fill(master)
    writer = Writer(master)
    writer.start()
    follow(replica, master)
    writer.finish()
    same_content(master, replica)
    # And resume after a broken link.
    master.call("CLIENT", "KILL", "TYPE", "replica")
    master.call("SET", "after", "1")
    eventually(lambda: replica.call("GET", "after") == "1", "the write to arrive")
    same_content(master, replica)


def test_we_can_follow_a_real_redis(start_node, start_redis):
    master = start_redis("--repl-diskless-sync-delay", "0")
    replica = start_node("--enable-debug-command", "yes")
    fill(master)
    writer = Writer(master)
    writer.start()
    follow(replica, master)
    writer.finish()
    same_content(master, replica)
