"""Commands that wait: order, wake-ups of every kind, ends of waits, many clients, many workers."""

import pathlib
import random
import signal
import threading
import time

import pytest

import harness
from harness import eventually
from resp import Connection, Error, Status, Tagged, encode

NULL_ARRAY = b"*-1\r\n"


@pytest.fixture(scope="module")
def node(shared_node):
    return shared_node


@pytest.fixture(autouse=True)
def empty(shared_node):
    shared_node.call("FLUSHALL")
    yield
    for connection in Waiter.all:
        connection.close()
    Waiter.all.clear()
    eventually(lambda: blocked_count(shared_node) == 0, "nobody to wait any more")


class Waiter(Connection):
    """A connection that says a command and is known to wait before anything else happens."""

    all = []

    def __init__(self, server, *command, protocol=None, db=None, blocks=True):
        super().__init__(server.port)
        self.all.append(self)
        if protocol:
            self.call("HELLO", protocol)
        if db is not None:
            self.call("SELECT", db)
        self.server = server
        self.id = self.call("CLIENT", "ID")
        if command:
            self.wait(*command, blocks=blocks)

    def wait(self, *command, blocks=True):
        self.send(encode(command))
        if blocks:
            eventually(self.is_blocked, f"{command} to wait")

    def is_blocked(self):
        return "flags=b" in self.server.call("CLIENT", "LIST", "ID", self.id).replace("flags=xb", "")


def waiter(*arguments, **options):
    return Waiter(*arguments, **options)


def blocked_count(server):
    return server.info("clients")["blocked_clients"]


def test_clients_are_served_in_the_order_in_which_they_came(node):
    clients = [waiter(node, "BLPOP", "queue", "0") for _ in range(5)]
    assert blocked_count(node) == 5
    assert node.call("RPUSH", "queue", "0", "1", "2") == 3
    for number in range(3):
        assert clients[number].read() == [b"queue", str(number).encode()]
    # Who waits again waits behind all others.
    clients[0].wait("BLPOP", "queue", "0")
    for number in (3, 4, 0):
        node.call("RPUSH", "queue", number)
    for number in (3, 4, 0):
        assert clients[number].read() == [b"queue", str(number).encode()]
    assert node.call("EXISTS", "queue") == 0
    assert blocked_count(node) == 0


@pytest.mark.parametrize("name, how", [
    ("push", [("RPUSH", "k", "a")]),
    ("rename", [("RPUSH", "other", "a"), ("RENAME", "other", "k")]),
    ("copy", [("RPUSH", "other", "a"), ("COPY", "other", "k")]),
    ("move", [("SELECT", "3"), ("RPUSH", "k", "a"), ("MOVE", "k", "0")]),
    ("swapdb", [("SELECT", "3"), ("RPUSH", "k", "a"), ("SWAPDB", "0", "3")]),
    ("lmove", [("RPUSH", "other", "a"), ("LMOVE", "other", "k", "LEFT", "RIGHT")]),
    ("sort store", [("RPUSH", "other", "a"), ("SORT", "other", "ALPHA", "STORE", "k")]),
    ("replacing another type", [("SET", "k", "x"), ("DEL", "k"), ("RPUSH", "k", "a")]),
    ("transaction", [("MULTI",), ("RPUSH", "k", "b"), ("LPUSH", "k", "a"), ("EXEC",)]),
    ("whole-keyspace transaction", [("MULTI",), ("RPUSH", "k", "a"), ("DBSIZE",),
                                    ("SWAPDB", "3", "4"), ("EXEC",)]),
])
@pytest.mark.parametrize("command", [
    ("BLPOP", "k", "0"), ("BLPOP", "none", "k", "0"), ("BLMPOP", "0", "2", "none", "k", "LEFT"),
    ("BLMOVE", "k", "target", "LEFT", "LEFT", "0"), ("BRPOPLPUSH", "k", "target", "0"),
], ids=lambda command: " ".join(command))
def test_whatever_puts_an_element_there_wakes(node, command, name, how):
    # Of the two elements that the transaction leaves it takes the other one.
    taken = b"b" if name == "transaction" and command[0] == "BRPOPLPUSH" else b"a"
    client = waiter(node, *command)
    pusher = Connection(node.port)
    for line in how:
        assert not isinstance(pusher.call(*line), Error), line
    want = {"BLPOP": [b"k", b"a"], "BLMPOP": [b"k", [b"a"]]}.get(command[0], taken)
    assert client.read() == want
    # Nobody has seen it in between, and it is where it belongs.
    if command[0] in ("BLMOVE", "BRPOPLPUSH"):
        assert node.call("LRANGE", "target", 0, -1) == [taken.decode()]


def test_restore_wakes(node):
    node.call("RPUSH", "other", "a")
    dump = Connection(node.port).call("DUMP", "other")
    client = waiter(node, "BLPOP", "k", "0")
    Connection(node.port).call("RESTORE", "k", "0", dump)
    assert client.read() == [b"k", b"a"]


def test_what_is_gone_by_the_end_of_a_transaction_wakes_nobody(node):
    client = waiter(node, "BLPOP", "k", "0")
    pusher = Connection(node.port)
    for line in [("MULTI",), ("RPUSH", "k", "a"), ("DEL", "k"), ("SET", "k", "x"), ("EXEC",)]:
        pusher.call(*line)
    assert client.is_blocked()
    assert node.call("LPUSH", "other", "x") == 1
    for line in [("MULTI",), ("DEL", "k"), ("RPUSH", "k", "b", "c"), ("LPOP", "k"), ("EXEC",)]:
        pusher.call(*line)
    assert client.read() == [b"k", b"c"]


def test_another_type_does_not_wake(node):
    client = waiter(node, "BLPOP", "k", "0")
    sorted_set = waiter(node, "BZPOPMIN", "k", "0")
    node.call("SADD", "k", "x")
    node.call("DEL", "k")
    assert client.is_blocked() and sorted_set.is_blocked()
    node.call("ZADD", "k", 1, "m")
    assert sorted_set.read() == [b"k", b"m", b"1"]
    assert client.is_blocked()
    node.call("RPUSH", "k", "a")
    assert client.read() == [b"k", b"a"]


def test_chains(node):
    """What one takes and puts elsewhere wakes the next, in one go, also across slots."""
    links = [waiter(node, "BLMOVE", f"k{i}", f"k{i + 1}", "LEFT", "RIGHT", "0") for i in range(8)]
    last = waiter(node, "BLPOP", "k8", "0")
    pusher = Connection(node.port)
    pusher.send(encode(["RPUSH", "k0", "a"]) + b"".join(
        encode(["EXISTS", f"k{i}"]) for i in range(9)))
    assert pusher.read() == 1
    assert [pusher.read() for _ in range(9)] == [0] * 9
    assert [link.read() for link in links] == [b"a"] * 8
    assert last.read() == [b"k8", b"a"]


def test_a_circle_ends(node):
    first = waiter(node, "BLMOVE", "a", "b", "LEFT", "LEFT", "0")
    second = waiter(node, "BLMOVE", "b", "a", "LEFT", "LEFT", "0")
    node.call("RPUSH", "a", "x")
    assert first.read() == b"x" and second.read() == b"x"
    assert node.call("LRANGE", "a", 0, -1) == ["x"]
    itself = waiter(node, "BRPOPLPUSH", "c", "c", "0")
    node.call("RPUSH", "c", "1", "2")
    assert itself.read() == b"2"
    assert node.call("LRANGE", "c", 0, -1) == ["2", "1"]


def test_a_target_of_another_type_is_an_error_and_takes_nothing(node):
    client = waiter(node, "BLMOVE", "source", "target", "LEFT", "LEFT", "0")
    next_one = waiter(node, "BLPOP", "source", "0")
    node.call("SET", "target", "string")
    node.call("RPUSH", "source", "a")
    assert client.read() == Error(
        b"WRONGTYPE Operation against a key holding the wrong kind of value")
    assert next_one.read() == [b"source", b"a"]


def test_replies_of_both_protocols(node):
    cases = [
        (("BZPOPMIN", "z", "0"), ("ZADD", "z", "1.5", "m"),
         [b"z", b"m", b"1.5"], [b"z", b"m", Tagged((",", b"1.5"))]),
        (("BZMPOP", "0", "1", "z", "MAX", "COUNT", "5"), ("ZADD", "z", "1", "m", "2", "n"),
         [b"z", [[b"n", b"2"], [b"m", b"1"]]],
         [b"z", [[b"n", Tagged((",", b"2"))], [b"m", Tagged((",", b"1"))]]]),
        (("BLMPOP", "0", "1", "l", "LEFT", "COUNT", "2"), ("RPUSH", "l", "a", "b"),
         [b"l", [b"a", b"b"]], [b"l", [b"a", b"b"]]),
    ]
    for command, wake, resp2, resp3 in cases:
        for protocol, want in (("2", resp2), ("3", resp3)):
            client = waiter(node, *command, protocol=protocol)
            node.call(*wake)
            assert client.read() == want, (command, protocol)
            node.call("FLUSHALL")


@pytest.mark.parametrize("command", [
    "BLPOP none 0.02", "BRPOP none other 0.02", "BLMOVE none other LEFT RIGHT 0.02",
    "BRPOPLPUSH none other 0.02", "BLMPOP 0.02 1 none LEFT", "BZPOPMIN none 0.02",
    "BZPOPMAX none 0.02", "BZMPOP 0.02 1 none MIN",
])
def test_time_runs_out(node, command):
    for protocol, want in ((None, NULL_ARRAY), ("3", b"_\r\n")):
        client = waiter(node, protocol=protocol)
        client.wait(*command.split(), blocks=False)
        assert client.file.readline() == want
        # It is served like anybody else afterwards.
        assert client.call("RPUSH", "none", "x") == 1
        assert client.call("DEL", "none") == 1


def test_a_transaction_does_not_wait(node):
    client = Connection(node.port)
    client.call("MULTI")
    client.call("BLPOP", "k", "0")
    client.call("BLMOVE", "k", "l", "LEFT", "LEFT", "0")
    client.call("RPUSH", "k", "a")
    client.call("BLPOP", "k", "0")
    client.send(encode(["EXEC"]))
    assert client.file.readline() == b"*4\r\n"
    assert client.file.readline() == NULL_ARRAY
    assert client.file.readline() == b"$-1\r\n"
    assert client.read() == 1
    assert client.read() == [b"k", b"a"]


def test_what_is_sent_behind_a_waiting_command_is_answered_after_it(node):
    client = waiter(node)
    client.send(encode(["SET", "before", "1"]) + encode(["BLPOP", "k", "0"]) +
                encode(["GET", "before"]) + b'SET inline "a b"\r\n' + encode(["BLPOP", "k", "0"]) +
                b"GET inline\r\n" + encode(["GET", "before"])[:-4])
    assert client.read() == Status(b"OK")
    eventually(client.is_blocked, "it to wait")
    assert node.call("EXISTS", "inline") == 0
    client.send(encode(["GET", "before"])[-4:])
    node.call("RPUSH", "k", "first")
    assert [client.read() for _ in range(3)] == [[b"k", b"first"], b"1", Status(b"OK")]
    eventually(client.is_blocked, "it to wait once more")
    node.call("RPUSH", "k", "second")
    assert [client.read() for _ in range(3)] == [[b"k", b"second"], b"a b", b"1"]


def test_client_unblock(node):
    client = waiter(node, "BLPOP", "k", "0")
    assert node.call("CLIENT", "UNBLOCK", client.id) == 1
    assert client.read() is None
    client.wait("BZPOPMIN", "k", "0")
    assert node.call("CLIENT", "UNBLOCK", client.id, "error") == 1
    assert client.read() == Error(b"UNBLOCKED client unblocked via CLIENT UNBLOCK")
    assert node.call("CLIENT", "UNBLOCK", client.id) == 0
    assert node.call("CLIENT", "UNBLOCK", 1 << 40) == 0
    # It has left the queue.
    assert node.call("RPUSH", "k", "a") == 1 and node.call("LLEN", "k") == 1


def test_wait_is_unblocked_too(node):
    client = waiter(node, "WAIT", "3", "0")
    assert blocked_count(node) == 1
    assert node.call("CLIENT", "UNBLOCK", client.id) == 1
    assert client.read() == 0
    client.wait("WAIT", "3", "0")
    assert node.call("CLIENT", "UNBLOCK", client.id, "ERROR") == 1
    assert client.read() == Error(b"UNBLOCKED client unblocked via CLIENT UNBLOCK")
    assert client.call("WAIT", "3", "10") == 0
    assert blocked_count(node) == 0


def test_who_goes_away_leaves_the_queue(node):
    gone, killed, stays = (waiter(node, "BLPOP", "k", "0") for _ in range(3))
    gone.close()
    node.call("CLIENT", "KILL", "ID", killed.id)
    eventually(lambda: blocked_count(node) == 1, "the two to be forgotten")
    node.call("RPUSH", "k", "a")
    assert stays.read() == [b"k", b"a"]


def test_client_reply_off_and_skip(node):
    client = waiter(node)
    client.send(encode(["CLIENT", "REPLY", "SKIP"]) + encode(["BLPOP", "k", "0"]) +
                encode(["PING"]))
    eventually(client.is_blocked, "it to wait")
    node.call("RPUSH", "k", "a")
    assert client.read() == Status(b"PONG")
    assert node.call("EXISTS", "k") == 0


def test_events_and_statistics(node):
    before = node.info("commandstats").get("cmdstat_blpop", {"calls": 0})["calls"]
    client = waiter(node, "BLPOP", "k", "0")
    node.call("RPUSH", "k", "a")
    client.read()
    client.call("BLPOP", "k", "0.01")
    assert node.info("commandstats")["cmdstat_blpop"]["calls"] == before + 2


def test_replicas_get_the_form_that_does_not_wait(start_node):
    digest = ("--enable-debug-command", "yes")
    master = start_node(*digest)
    replica = start_node(*digest, "--replicaof", harness.HOST, str(master.port))
    eventually(lambda: replica.info("replication")["master_link_status"] == "up", "the link")
    clients = [
        waiter(master, "BLMOVE", "a", "b", "LEFT", "LEFT", "0"),
        waiter(master, "BRPOPLPUSH", "b", "c", "0"),
        waiter(master, "BLPOP", "d", "0"),
        waiter(master, "BZPOPMAX", "z", "0"),
        waiter(master, "BLMPOP", "0", "1", "e", "RIGHT", "COUNT", "2"),
    ]
    master.call("RPUSH", "a", "1")
    master.call("RPUSH", "d", "2", "3")
    master.call("ZADD", "z", 1, "m", 2, "n")
    master.call("RPUSH", "e", "4", "5", "6")
    for client in clients:
        assert client.read()
    eventually(lambda: replica.call("DEBUG", "DIGEST") == master.call("DEBUG", "DIGEST"),
               "the replica to have the same data")
    assert replica.call("LRANGE", "c", 0, -1) == ["1"]
    assert waiter(replica).call("BLPOP", "k", "1") == Error(
        b"READONLY You can't write against a read only replica.")


def test_a_master_that_becomes_a_replica_ends_the_waits(start_node):
    master, other = start_node(), start_node()
    client = waiter(master, "BLPOP", "k", "0")
    master.call("REPLICAOF", harness.HOST, other.port)
    assert client.read() == Error(
        b"UNBLOCKED force unblock from blocking operation, instance state changed "
        b"(master -> replica?)")
    assert client.file.read() == b"", "the connection is closed"


def test_a_slot_that_goes_elsewhere_takes_its_clients_along(start_node):
    node = start_node("--cluster-enabled", "yes")
    assert node.call("CLUSTER", "ADDSLOTSRANGE", 0, 16383) == "OK"
    eventually(lambda: node.call("SET", "x", "1"), "the slots to be served")
    client = waiter(node, "BLPOP", "k", "0")
    stays = waiter(node, "BLPOP", "other", "0")
    node.call("CLUSTER", "DELSLOTS", node.call("CLUSTER", "KEYSLOT", "k"))
    error = client.read()
    assert isinstance(error, Error) and error.startswith((b"MOVED", b"CLUSTERDOWN")), error
    assert stays.is_blocked() or isinstance(stays.read(), Error)


def test_waits_end_when_another_master_takes_over(plain_group):
    """Also on a master that was frozen: what it then executes is no effect and no reply."""
    master = plain_group.settled()
    client = waiter(master, "BLPOP", "k", "0")
    plain_group.sentinels[0].call("SENTINEL", "FAILOVER", "mymaster")
    answer = client.file.readline()
    assert answer == b"" or answer.startswith(b"-UNBLOCKED"), answer
    new = plain_group.wait_settled()
    assert new is not master
    client = waiter(new, "BLPOP", "k", "0")
    assert new.call("RPUSH", "k", "a") == 1
    assert client.read() == [b"k", b"a"]
    client.wait("BLPOP", "k", "0")
    new.signal(signal.SIGSTOP)
    tasks = pathlib.Path(f"/proc/{new.pid}/task")
    # The signal stops one thread after another.
    eventually(lambda: all(") T " in (task / "stat").read_text() for task in tasks.iterdir()),
               "all threads to stand still")
    # It finds this in its socket when it wakes up, and may think that it is the master still.
    pusher = Connection(new.port)
    pusher.send(encode(["RPUSH", "k", "late"]))
    try:
        third = eventually(lambda: (port := plain_group.master_port()) != new.port and
                           plain_group.node_at(port), "another master")
    finally:
        new.signal(signal.SIGCONT)
    for connection in (client, pusher):
        answer = connection.file.readline()
        assert answer == b"" or answer.startswith((b"-UNBLOCKED", b"-READONLY", b"-MASTERDOWN")), answer
    eventually(lambda: new.call("ROLE")[0] == "slave", "the old master to follow")
    eventually(lambda: third.call("EXISTS", "k") == 0, "the new master")


# --- against the real one

WAITS = [
    ("wait", ["BLPOP", "b", "0"]), ("wait", ["BRPOP", "c", "0"]),
    ("wait", ["BLMOVE", "a", "b", "LEFT", "RIGHT", "0"]), ("wait", ["BRPOPLPUSH", "c", "a", "0"]),
    ("wait", ["BLMPOP", "0", "1", "a", "RIGHT", "COUNT", "2"]),
    ("wait", ["BZPOPMIN", "z", "0"]), ("wait", ["BZMPOP", "0", "1", "z", "MAX"]),
]
# Before 7.2, Redis served such a client from the key that became ready; since then it runs the
# command again, as we do.
WAITS_FOR_SEVERAL = [
    ("wait", ["BLPOP", "a", "b", "0"]), ("wait", ["BRPOP", "b", "c", "0"]),
    ("wait", ["BLMPOP", "0", "2", "a", "c", "RIGHT", "COUNT", "2"]),
    ("wait", ["BZPOPMIN", "a", "z", "0"]),
]
STEPS = [
    ("do", ["RPUSH", "a", "1"]), ("do", ["LPUSH", "b", "2", "3"]),
    ("do", ["RPUSH", "c", "4", "5", "6"]), ("do", ["ZADD", "z", "1", "m", "2", "n"]),
    ("do", ["SET", "a", "x"]), ("do", ["DEL", "a", "b"]),
    ("do", ["RENAME", "b", "c"]), ("do", ["LMOVE", "c", "a", "LEFT", "LEFT"]),
    ("do", ["SORT", "c", "ALPHA", "STORE", "b"]), ("do", ["RPOP", "a"]), ("do", ["COPY", "a", "b"]),
    ("do", ["MULTI", "RPUSH a 7", "RPUSH a 8", "LPOP a", "EXEC"]),
    ("do", ["MULTI", "RPUSH c 9", "DEL c", "ZADD z 5 q", "EXEC"]),
    ("do", ["MULTI", "DEL a", "RPUSH a 10 11", "EXEC"]),
    ("unblock", []), ("unblock", ["ERROR"]),
]


class Story:
    """Runs steps on one server; `told` is all that anybody was told, in a comparable form."""

    def __init__(self, server):
        self.server = server
        self.main = Connection(server.port)
        self.main.call("FLUSHALL")
        self.waiting = {}
        self.told = []

    def step(self, number, kind, words):
        if kind == "wait":
            client = waiter(self.server)
            client.wait(*words, blocks=False)
            # Either it is answered at once, or it waits.
            self.waiting[number] = client
        elif kind == "unblock":
            if self.waiting:
                first = self.waiting[min(self.waiting)]
                self.told.append(self.main.call("CLIENT", "UNBLOCK", first.id, *words))
        elif words[0] == "MULTI":
            for line in words:
                self.told.append(self.main.call(*line.split()))
        else:
            self.told.append(self.main.call(*words))
        self.settle()

    def settle(self):
        """Collects the answers of those that do not wait any more."""
        def known():
            listed = self.main.call("CLIENT", "LIST").decode().splitlines()
            flags = {}
            for line in listed:
                fields = dict(field.split("=", 1) for field in line.split() if "=" in field)
                flags[int(fields["id"])] = (fields["flags"], fields["cmd"])
            for number, client in list(self.waiting.items()):
                flag, command = flags[client.id]
                if "b" in flag:
                    continue
                if command.startswith("client"):
                    return False
                self.told.append((number, client.read()))
                client.close()
                del self.waiting[number]
            return True
        eventually(known, "everybody to wait or to be answered")

    def end(self):
        for key in "abcz":
            kind = self.main.call("TYPE", key)
            read = {b"list": ["LRANGE", key, "0", "-1"], b"string": ["GET", key],
                    b"zset": ["ZRANGE", key, "0", "-1", "WITHSCORES"]}.get(bytes(kind))
            self.told.append((key, read and self.main.call(*read)))
        self.told.append(sorted(self.waiting))
        for client in self.waiting.values():
            client.close()


@pytest.mark.parametrize("seed", range(12))
def test_the_same_as_redis(node, start_redis, seed):
    real = start_redis()
    ours, theirs = Story(node), Story(real)
    version = [int(part) for part in real.info("server")["redis_version"].split(".")]
    steps = STEPS + WAITS + (WAITS_FOR_SEVERAL if version >= [7, 2] else [])
    chance = random.Random(seed)
    done = []
    for number in range(60):
        kind, words = chance.choice(steps)
        done.append((kind, words))
        for story in (ours, theirs):
            story.step(number, kind, words)
        assert sorted(map(repr, ours.told)) == sorted(map(repr, theirs.told)), done[-8:]
        ours.told.clear()
        theirs.told.clear()
    for story in (ours, theirs):
        story.end()
    assert ours.told == theirs.told


# --- many at once

@pytest.mark.parametrize("across_slots", [False, True])
def test_nothing_is_lost_or_served_twice(start_node, across_slots):
    node = start_node("--io-threads", "4")
    keys = [f"k{i}" if across_slots else f"{{t}}k{i}" for i in range(4)]
    per_pusher, pushers = 400, 4
    total = per_pusher * pushers
    taken, lock = [], threading.Lock()
    failures = []

    def pull(number):
        chance = random.Random(number)
        client = Connection(node.port)
        mine = []
        try:
            while True:
                kind = chance.randrange(4)
                shuffled = chance.sample(keys, len(keys))
                timeout = chance.choice(["0.001", "0.005", "0.2"])
                if kind == 0:
                    reply = client.call("BLPOP", *shuffled, timeout)
                    elements = reply[1:] if reply else []
                elif kind == 1:
                    reply = client.call("BLMPOP", timeout, "2", *shuffled[:2], "LEFT", "COUNT", "3")
                    elements = reply[1] if reply else []
                elif kind == 2:
                    client.call("BLMOVE", shuffled[0], shuffled[1], "LEFT", "RIGHT", timeout)
                    elements = []
                else:
                    reply = client.call("BRPOP", shuffled[0], timeout)
                    elements = reply[1:] if reply else []
                mine.extend(elements)
                if b"stop" in elements:
                    return
        except Exception as error:  # noqa: BLE001
            failures.append(error)
        finally:
            with lock:
                taken.extend(element for element in mine if element != b"stop")

    def push(number):
        chance = random.Random(1000 + number)
        client = Connection(node.port)
        for i in range(per_pusher):
            element = f"{number}-{i}"
            if chance.random() < 0.3:
                client.call("MULTI")
                client.call("RPUSH", chance.choice(keys), element)
                client.call("PING")
                client.call("EXEC")
            else:
                client.call("RPUSH", chance.choice(keys), element)

    pullers = [threading.Thread(target=pull, args=(i,)) for i in range(12)]
    pushing = [threading.Thread(target=push, args=(i,)) for i in range(pushers)]
    for thread in pullers + pushing:
        thread.start()
    for thread in pushing:
        thread.join()
    eventually(lambda: node.call("DBSIZE") == 0 or failures, "everything to be taken")
    while any(thread.is_alive() for thread in pullers):
        if node.call("DBSIZE") == 0:
            node.call("RPUSH", keys[0], "stop")
        time.sleep(0.005)
    assert not failures
    left = [element for key in keys for element in node.call("LRANGE", key, 0, -1)]
    assert len(taken) == total and len(set(taken)) == total, left
    assert blocked_count(node) == 0


def test_the_order_of_one_key_is_kept_under_load(start_node):
    """Elements of one pusher come to the clients of one queue in the order of the pushes."""
    node = start_node("--io-threads", "4")
    clients = [waiter(node, "BLPOP", "k", "0") for _ in range(200)]
    pusher = Connection(node.port)
    pusher.send(b"".join(encode(["RPUSH", "k", str(i)]) for i in range(200)))
    assert [pusher.read() for _ in range(200)] == [1] * 200
    assert [client.read()[1] for client in clients] == [str(i).encode() for i in range(200)]


def test_many_waiting_clients_cost_a_push_nothing(start_node):
    """Bounds are generous: what must not be is a look at every client with every push."""
    node = start_node("--maxclients", "20000", "--io-threads", "2")
    crowd = []
    for i in range(2000):
        client = Connection(node.port)
        client.send(encode(["BLPOP", "same" if i % 2 else f"other{i}", "0"]))
        crowd.append(client)
    eventually(lambda: blocked_count(node) == 2000, "all to wait")
    pusher = Connection(node.port)
    begun = time.monotonic()
    for _ in range(500):
        pusher.call("RPUSH", "same", "x")
    assert [client.read() for client in crowd[1::2][:500]] == [[b"same", b"x"]] * 500
    assert time.monotonic() - begun < 10
    for client in crowd:
        client.close()
    eventually(lambda: blocked_count(node) == 0, "all to be forgotten")


def test_who_waits_for_more_elements_lets_others_pass(node):
    picky = waiter(node, "BLMOVEM", "{k}", "{k}2", "LEFT", "RIGHT", "0", "EXACTLY", "3", "BULK")
    easy = waiter(node, "BLPOP", "{k}", "0")
    assert node.call("RPUSH", "{k}", "a") == 1
    assert easy.read() == [b"{k}", b"a"]
    assert node.call("RPUSH", "{k}", "b", "c") == 2
    assert picky.is_blocked()
    assert node.call("RPUSH", "{k}", "d") == 3
    assert picky.read() == [b"b", b"c", b"d"]
    assert node.call("LRANGE", "{k}2", "0", "-1") == ["b", "c", "d"]
    any_number = waiter(node, "BLMOVEM", "{k}", "{k}2", "LEFT", "LEFT", "0", "COUNT", "2", "OBO")
    node.call("RPUSH", "{k}", "e")
    assert any_number.read() == [b"e"]
