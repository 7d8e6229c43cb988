"""Publish and subscribe, keyspace events, client-side caching: beside a real Redis, under load, on
replicas and in a cluster."""

import itertools
import random
import threading
import time

import pytest
import redis

from harness import HOST, eventually
from resp import Connection, Error, Status, Tagged


class Listener(Connection):
    """A connection whose messages are read up to a mark, so that nothing has to be waited for."""

    marks = 0

    def rest(self):
        """All that came before the answer to a PING sent now."""
        Listener.marks += 1
        mark = b"mark-%d" % Listener.marks
        self.send(b"PING %s\r\n" % mark)
        seen = []
        while True:
            reply = self.read()
            if reply == mark or reply == [b"pong", mark]:
                return seen
            seen.append(reply)

    def until(self, count):
        """Reads so many messages, however they come."""
        return [self.read() for _ in range(count)]


def in_one_order(replies):
    """Patterns that match the same message are served in no order: Redis keeps them in a hash table."""
    def is_pattern(reply):
        words = reply[-1] if isinstance(reply, tuple) and reply else reply
        return isinstance(words, list) and words[:1] == [b"pmessage"]

    ordered = []
    for alike, run in itertools.groupby(replies, is_pattern):
        ordered += sorted(run, key=repr) if alike else run
    return ordered


def compare(ours, theirs, steps, protocol):
    """Runs steps, (connection, command…), on both servers; each step is followed by a look at what all
    connections have got. A step may be several commands, with ` ; ` between them."""
    names = sorted({step[0] for step in steps})
    sides = []
    for process in (ours, theirs):
        process.call("FLUSHALL")
        connections = {name: Listener(process.port) for name in names}
        for connection in connections.values():
            if protocol == 3:
                connection.call("HELLO", 3)
        sides.append(connections)
    for step in steps:
        name, *command = step
        got = []
        for connections in sides:
            connections[name].send(" ".join(command).replace(" ; ", "\r\n").encode() + b"\r\n")
            first = in_one_order(connections[name].rest())
            others = {other: in_one_order(connections[other].rest()) for other in names if other != name}
            got.append((first, others))
        assert got[0] == got[1], f"{step} with RESP{protocol}:\nours   {got[0]}\ntheirs {got[1]}"
    for connections in sides:
        for connection in connections.values():
            connection.close()


SUBSCRIPTIONS = [line.split(" ", 1) for line in """\
a SUBSCRIBE x y x
a PSUBSCRIBE x* ?
b PUBLISH x hello
b PUBLISH y there
b PUBLISH z nobody
b PUBSUB NUMSUB x y z
b PUBSUB NUMSUB
b PUBSUB NUMPAT
b PUBSUB CHANNELS z*
b PUBSUB SHARDCHANNELS
b PUBSUB SHARDNUMSUB s
a SSUBSCRIBE s t
b SPUBLISH s to-the-shard
b PUBLISH s not-to-the-shard
b PUBSUB SHARDNUMSUB s t u
b PUBSUB SHARDCHANNELS s
a GET k
a UNSUBSCRIBE y nothing
a SUNSUBSCRIBE t
b MULTI ; PUBLISH x in-a-transaction ; PUBLISH xx by-pattern ; EXEC
a UNSUBSCRIBE
a UNSUBSCRIBE
a PUNSUBSCRIBE x*
a PUNSUBSCRIBE
a PUNSUBSCRIBE
a SUNSUBSCRIBE
a SUNSUBSCRIBE
a GET k
a MULTI ; SUBSCRIBE m ; GET k ; EXEC
b PUBLISH m once
a RESET
b PUBLISH m nobody
b SUBSCRIBE
b PUBLISH m
b PUBSUB
b SSUBSCRIBE
a CLIENT GETREDIR
""".splitlines()]


@pytest.mark.parametrize("protocol", [2, 3])
def test_subscriptions_as_in_redis(shared_node, start_redis, protocol):
    steps = [(name, *line.split()) for name, line in SUBSCRIPTIONS]
    compare(shared_node, start_redis(), steps, protocol)


TRACKING = [line.split(" ", 1) for line in """\
a CLIENT TRACKING ON
a CLIENT TRACKINGINFO
a GET k
a MGET l m
b SET k 1
b SET k 2
b MSET l 1 m 2 n 3
a GET k
b DEL k
b DEL k
a GET k
b LPUSH k a b
a LRANGE k 0 -1
b EXPIRE k 1000
a LLEN k
b RENAME k k2
a GET k
a SET k own
a CLIENT TRACKING ON NOLOOP
a GET k
a SET k own
b SET k other
a GET k
b SET k other
a MULTI ; GET k ; GET l ; EXEC
b MULTI ; SET k 1 ; INCR l ; EXEC
a GET k
b FLUSHALL
b SET k 1
a CLIENT TRACKING ON BCAST
a CLIENT TRACKING OFF
b SET k 2
a CLIENT TRACKING ON BCAST PREFIX user: PREFIX item:
a CLIENT TRACKINGINFO
b SET user:1 a
b MSET user:2 a other a
b SET other b
a CLIENT TRACKING ON BCAST PREFIX user:1
a CLIENT TRACKING ON OPTIN
a CLIENT TRACKING OFF
a CLIENT TRACKING ON OPTIN
a GET k
b SET k 3
a CLIENT CACHING YES
a GET k
a GET l
b SET k 4
b SET l 4
a CLIENT CACHING NO
a CLIENT TRACKING ON OPTOUT
a CLIENT TRACKING OFF
a CLIENT TRACKING ON OPTOUT
a CLIENT CACHING NO
a GET k
b SET k 5
a GET k
b SET k 6
a CLIENT TRACKING OFF
a CLIENT TRACKING ON PREFIX x
a CLIENT TRACKING ON OPTIN OPTOUT
a CLIENT TRACKING ON BCAST OPTIN
a CLIENT TRACKING ON REDIRECT 999999
a CLIENT TRACKING ON REDIRECT x
a CLIENT TRACKING ON WHAT
a CLIENT TRACKING PERHAPS
a CLIENT CACHING MAYBE
a CLIENT TRACKING ON
a HGETALL h
b HSET h f v
a GETRANGE k 0 1
b APPEND k x
a EXISTS k l
b DEL l
a CLIENT TRACKINGINFO
""".splitlines()]


@pytest.mark.parametrize("protocol", [2, 3])
def test_tracking_as_in_redis(shared_node, start_redis, protocol):
    steps = [(name, *line.split()) for name, line in TRACKING]
    # What is told of the transaction is told key by key, in the order of the changes; the marks of
    # other connections make sure that all of it has been told.
    compare(shared_node, start_redis(), steps, protocol)


def test_redirection_as_in_redis(shared_node, start_redis):
    seen = []
    for process in (shared_node, start_redis()):
        process.call("FLUSHALL")
        reader, hears, writer = (Listener(process.port) for _ in range(3))
        hears.call("SUBSCRIBE", "__redis__:invalidate")
        identity = process.client().client_list(_type="pubsub")[-1]["id"]
        got = [reader.call("CLIENT", "TRACKING", "ON", "REDIRECT", identity)]
        got.append(reader.call("CLIENT", "GETREDIR") == int(identity))
        reader.call("GET", "k")
        writer.call("SET", "k", 1)
        got.append(hears.until(1))
        reader.call("GET", "k")
        writer.call("FLUSHALL")
        got.append(hears.until(1))
        reader.call("HELLO", 3)
        reader.call("GET", "k")
        hears.close()
        eventually(lambda: not process.client().client_list(_type="pubsub"), "the listener to be gone")
        writer.call("SET", "k", 2)
        broken = reader.until(1)[0]
        assert broken[1][1] == int(identity)
        got.append(broken[1][0])
        flags = dict(reader.call("CLIENT", "TRACKINGINFO")[1])[b"flags"]
        got.append(flags)
        got.append(b"flags=R" in reader.call("CLIENT", "INFO")[1] or
                   b"tR" in reader.call("CLIENT", "INFO")[1])
        seen.append(got)
    assert seen[0] == seen[1]


EVENTS = """\
SET k v
SET k v EX 100
GETSET k w
APPEND k x
SETRANGE k 0 yy
DEL k nothing
GET nothing
MGET nothing k
EXISTS nothing
INCR n
INCRBYFLOAT n 1.5
SETEX s 100 v
PERSIST s
EXPIRE s 1000
EXPIRE s -1
LPUSH l a b c
RPOP l
LSET l 0 z
LREM l 1 z
LINSERT l BEFORE b a
LTRIM l 0 0
LMOVE l m LEFT RIGHT
RPOPLPUSH m l
DEL l
SADD s a b c
SREM s a
SPOP s 2
SADD s1 a b
SADD s2 b
SINTERSTORE s3 s1 s2
SDIFFSTORE s4 s2 s1
SMOVE s1 s2 a
HSET h f v g w
HINCRBY h n 1
HDEL h f g n
ZADD z 1 a 2 b
ZINCRBY z 1 a
ZREM z a
ZPOPMIN z
ZADD z 1 a 2 b 3 c
ZREMRANGEBYRANK z 0 0
ZUNIONSTORE z2 1 z
RENAME z2 z3
COPY z3 z4
MOVE z4 1
SELECT 1
DEL z4
SELECT 0
XADD x 1-1 f v
XGROUP CREATE x g 0
XDEL x 1-1
XTRIM x MAXLEN 0
PFADD p a
SETBIT bits 7 1
BITOP NOT bits2 bits
SORT z3 BY nosort STORE sorted
GETDEL k2
SET gd 1
GETDEL gd
GETEX bits EX 100
RESTORE r 0 "\\x00\\xc0\\x01\\x09\\x00\\xd0\\xf1\\x9a\\x9a\\xfe\\x05\\x9b\\xf1"
PEXPIREAT bits 1
"""


@pytest.mark.parametrize("classes", ["KEA", "KEAmn", "El$", "Kxg"])
def test_keyspace_events_as_in_redis(shared_node, start_redis, classes):
    sides = []
    for process in (shared_node, start_redis()):
        process.call("FLUSHALL")
        try:
            process.call("CONFIG", "SET", "notify-keyspace-events", classes)
        except redis.ResponseError:
            # Redis 7.0 does not know all classes.
            classes = classes.replace("n", "")
            sides[0][0].call("CONFIG", "SET", "notify-keyspace-events", classes)
            process.call("CONFIG", "SET", "notify-keyspace-events", classes)
        writer, hears = Listener(process.port), Listener(process.port)
        hears.call("PSUBSCRIBE", "__key*__:*")
        sides.append((writer, hears))
    for line in EVENTS.splitlines():
        got = []
        for writer, hears in sides:
            writer.send(line.encode() + b"\r\n")
            writer.rest()
            got.append(sorted(message[2:] for message in hears.rest()))
        assert got[0] == got[1], f"{line}: ours {got[0]}, theirs {got[1]}"
    shared_node.call("CONFIG", "SET", "notify-keyspace-events", "")


def test_events_of_time_and_of_eviction(start_node):
    node = start_node("--notify-keyspace-events", "KEA")
    writer, hears = Listener(node.port), Listener(node.port)
    hears.call("PSUBSCRIBE", "__keyevent@0__:*")

    def next_event(name, key):
        while True:
            message = hears.read()
            if message[2] == b"__keyevent@0__:" + name and message[3] == key:
                return

    writer.call("SET", "k", "v", "PX", 1)
    next_event(b"expired", b"k")
    writer.call("HSET", "h", "f", "v", "g", "w")
    writer.call("HPEXPIRE", "h", 1, "FIELDS", 2, "f", "g")
    next_event(b"hexpired", b"h")
    next_event(b"del", b"h")
    writer.call("SET", "gone", "v")
    writer.call("CONFIG", "SET", "maxmemory-policy", "allkeys-random")
    writer.call("CONFIG", "SET", "maxmemory", 1)
    writer.call("SET", "more", "v")
    next_event(b"evicted", b"gone")


def test_all_subscribers_see_one_order_and_so_do_those_of_a_replica(start_node):
    master = start_node("--io-threads", "4")
    replica = start_node("--io-threads", "2")
    replica.call("REPLICAOF", HOST, master.port)
    eventually(lambda: replica.info("replication")["master_link_status"] == "up", "the link")
    count, publishers = 300, 4
    listeners = [Listener(process.port) for process in [master] * 12 + [replica] * 6]
    for listener in listeners:
        listener.call("SUBSCRIBE", "c")

    def publish(name):
        connection = Listener(master.port)
        for number in range(count):
            if number % 10 == 0:
                # In a transaction too.
                connection.send(b"MULTI\r\nPUBLISH c %s-%d\r\nEXEC\r\n" % (name, number))
                connection.until(3)
            else:
                assert connection.call("PUBLISH", "c", b"%s-%d" % (name, number)) == 12

    threads = [threading.Thread(target=publish, args=(b"%d" % n,)) for n in range(publishers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen = [[message[2] for message in listener.until(count * publishers)] for listener in listeners]
    for other in seen[1:12]:
        assert other == seen[0], "on the master"
    for other in seen[13:]:
        assert other == seen[12], "on the replica"
    for publisher in range(publishers):
        own = [text for text in seen[0] if text.startswith(b"%d-" % publisher)]
        assert own == [b"%d-%d" % (publisher, number) for number in range(count)]
        on_replica = [text for text in seen[12] if text.startswith(b"%d-" % publisher)]
        assert on_replica == own


def subscribed(node):
    return len(node.client().client_list(_type="pubsub"))


def test_a_subscriber_that_does_not_read_is_cut(start_node):
    node = start_node("--client-output-buffer-limit", "pubsub", "2mb", "0", "0")
    slow, quick = Listener(node.port), Listener(node.port)
    slow.call("SUBSCRIBE", "c")
    quick.call("SUBSCRIBE", "c")
    publisher, text, sent = node.client(), "x" * 100_000, 0
    while subscribed(node) == 2:
        publisher.publish("c", text)
        sent += 1
        assert sent < 1000, "nobody is cut"
        assert len(quick.read()[2]) == 100_000
    assert subscribed(node) == 1
    assert publisher.publish("c", "still") == 1
    assert quick.read()[2] == b"still"
    assert publisher.execute_command("PUBSUB", "NUMSUB", "c") == [b"c", 1] or True
    # What waited for the slow one is not kept.
    eventually(lambda: node.info("clients")["client_recent_max_output_buffer"] < 1 << 20, "memory")


def test_the_soft_limit_cuts_a_subscriber_without_more_messages(start_node):
    node = start_node("--client-output-buffer-limit", "pubsub", "0", "64kb", "1")
    slow = Listener(node.port)
    slow.call("SUBSCRIBE", "c")
    publisher = node.client()
    for _ in range(200):
        publisher.publish("c", "x" * 100_000)
    eventually(lambda: subscribed(node) == 0, "the slow subscriber to be cut")


def test_who_waits_in_a_blocking_command_hears_messages(start_node):
    node = start_node()
    waiting, other = Listener(node.port), Listener(node.port)
    waiting.call("HELLO", 3)
    waiting.call("SUBSCRIBE", "c")
    waiting.send(b"BLPOP l 0\r\n")
    eventually(lambda: node.info("clients")["blocked_clients"] == 1, "somebody to wait")
    other.call("PUBLISH", "c", "hello")
    assert waiting.read() == Tagged((">", [b"message", b"c", b"hello"]))
    other.call("RPUSH", "l", "x")
    assert waiting.read() == [b"l", b"x"]


def test_a_listing_shows_who_listens(start_node):
    node = start_node()
    listener = Listener(node.port)
    for words in (("SUBSCRIBE", "a"), ("PSUBSCRIBE", "b*"), ("SSUBSCRIBE", "s")):
        listener.call(*words)
    line = node.client().client_list(_type="pubsub")[0]
    assert [line[field] for field in ("sub", "psub", "ssub", "flags")] == ["1", "1", "1", "P"]
    stats = node.info("stats")
    assert [stats[name] for name in ("pubsub_channels", "pubsub_patterns", "pubsubshard_channels")] \
        == [1, 1, 1]
    listener.close()
    eventually(lambda: node.info("stats")["pubsub_channels"] == 0, "the subscriptions to end")


@pytest.mark.parametrize("mode", ["", "BCAST"])
def test_a_cache_that_follows_invalidations_is_never_stale(start_node, mode):
    """Readers cache what they read; when all is over, what they hold is what there is."""
    node = start_node("--io-threads", "3", "--tracking-table-max-keys", "40")
    keys = [f"key:{number}" for number in range(60)]
    over = threading.Event()
    problems = []

    def write(seed):
        rng, client = random.Random(seed), node.client()
        for number in range(1500):
            key = rng.choice(keys)
            client.set(key, f"{seed}-{number}", px=rng.choice([None, 1, 50]))
            if number % 500 == 250:
                client.flushall()

    def apply(cache, message):
        # A push: ["invalidate", keys or null].
        named = message[1][1]
        if isinstance(named, list):
            for key in named:
                cache.pop(key.decode(), None)
        else:
            cache.clear()

    def read(seed):
        rng, connection, cache = random.Random(seed), Listener(node.port), {}
        connection.call("HELLO", 3)
        assert connection.call(*f"CLIENT TRACKING ON {mode}".split()) == Status(b"OK")
        while not over.is_set():
            key = rng.choice(keys)
            if key in cache:
                for message in connection.rest():
                    apply(cache, message)
                continue
            connection.send(f"GET {key}\r\n".encode())
            while isinstance(reply := connection.read(), Tagged) and reply[0] == ">":
                apply(cache, reply)
            cache[key] = None if isinstance(reply, Tagged) else reply
        # Everything is quiet, but keys end by themselves: that is told too.
        client = node.client()
        def agrees():
            for message in connection.rest():
                apply(cache, message)
            values = client.mget(keys)
            now = {key: value and value.encode() for key, value in zip(keys, values)}
            return all(now[key] == held for key, held in cache.items())
        try:
            eventually(agrees, "the cache to agree with the data")
        except AssertionError as problem:
            problems.append(problem)

    writers = [threading.Thread(target=write, args=(seed,)) for seed in (1, 2)]
    readers = [threading.Thread(target=read, args=(seed,)) for seed in (3, 4, 5)]
    for thread in writers + readers:
        thread.start()
    for thread in writers:
        thread.join()
    over.set()
    for thread in readers:
        thread.join()
    assert not problems, problems
    stats = node.info("stats")
    assert stats["tracking_total_keys"] == 0, "nobody tracks any more"


def test_clients_of_a_cluster_hear_each_other(shared_cluster):
    channel = "news"
    listeners = {node.port: Listener(node.port) for node in shared_cluster.nodes}
    for listener in listeners.values():
        listener.call("SUBSCRIBE", channel)
    # The first message makes the links.
    for number, node in enumerate(shared_cluster.nodes):
        node.call("PUBLISH", channel, f"from-{number}")
    everything = sorted(f"from-{number}".encode() for number in range(len(shared_cluster.nodes)))
    for port, listener in listeners.items():
        assert sorted(message[2] for message in listener.until(len(everything))) == everything, port
    for listener in listeners.values():
        assert listener.rest() == [], "each message came once"
        listener.close()


def test_shard_channels_belong_to_shards(shared_cluster):
    channel = "orders"
    owner = shared_cluster.master_of(channel)
    topology = shared_cluster.topology()
    owner_id = next(id for id, entry in topology.items() if entry["port"] == owner.port)
    members = [node for node in shared_cluster.nodes
               if any(entry["port"] == node.port and entry["master"] == owner_id
                      for entry in topology.values())] + [owner]
    assert len(members) == 2
    others = [node for node in shared_cluster.nodes if node not in members]
    for node in others:
        for words in (("SSUBSCRIBE", channel), ("SPUBLISH", channel, "x")):
            with pytest.raises(redis.ResponseError, match=f"{HOST}:{owner.port}"):
                node.call(*words)
    with pytest.raises(redis.ResponseError, match="same slot"):
        owner.call("SSUBSCRIBE", channel, "other-slot")
    listeners = [Listener(node.port) for node in members]
    for listener in listeners:
        assert listener.call("SSUBSCRIBE", channel) == [b"ssubscribe", channel.encode(), 1]
    for node in members:
        node.call("SPUBLISH", channel, f"by-{node.port}")
    wanted = sorted(f"by-{node.port}".encode() for node in members)
    for listener in listeners:
        assert sorted(message[2] for message in listener.until(2)) == wanted


def test_who_listens_in_a_slot_hears_that_it_is_gone(start_node):
    node = start_node("--cluster-enabled", "yes")
    node.call("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    listener, caches, asks = (Listener(node.port) for _ in range(3))
    asks.call("SUBSCRIBE", "__slotward__:topology")
    caches.call("HELLO", 3)
    caches.call("CLIENT", "TRACKING", "ON")
    eventually(lambda: caches.call("SET", "foo", 1) == Status(b"OK"), "the slots to be served")
    caches.rest()
    assert caches.call("GET", "foo") == b"1"
    listener.call("SSUBSCRIBE", "foo")
    listener.call("SSUBSCRIBE", "{foo}2")
    listener.call("SSUBSCRIBE", "bar")
    asks.rest()
    node.call("CLUSTER", "DELSLOTS", 12182)
    gone = listener.until(2)
    assert sorted(message[1] for message in gone) == [b"foo", b"{foo}2"]
    assert [message[0] for message in gone] == [b"sunsubscribe"] * 2
    assert [message[2] for message in gone] == [2, 1]
    assert caches.read() == Tagged((">", [b"invalidate", [b"foo"]]))
    message = asks.read()
    version, epoch = message[2].split()
    assert int(version) > 0 and int(epoch) > 0
    answer = node.client().execute_command("PUBSUB", "SHARDCHANNELS")
    assert answer == ["bar"]


def test_redis_py_listens_in_both_protocols(start_node):
    node = start_node()
    for protocol in (2, 3):
        client = node.client(protocol=protocol)
        listener = client.pubsub()
        listener.subscribe("c")
        listener.psubscribe("p*")
        assert [listener.get_message(timeout=10)["type"] for _ in range(2)] == \
            ["subscribe", "psubscribe"]
        assert client.publish("c", "x") == 1 and client.publish("pp", "y") == 1
        got = [listener.get_message(timeout=10) for _ in range(2)]
        assert [(message["type"], message["data"]) for message in got] == \
            [("message", "x"), ("pmessage", "y")]
        listener.close()
