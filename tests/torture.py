"""Random commands of every kind on many connections at once; at random moments all views of the data agree.

`make torture` keeps a master busy with what torture_words.py draws, changes its settings, breaks its links,
cuts clients off in the middle of transactions, and now and then lets nobody write for a moment. Then the live
data, those of replicas, and those that went through dumps must be the same, by digest.

    .venv/bin/python tests/torture.py --minutes 30 --seed 7 --variant eviction

What each connection sends follows from the seed; when it meets the others' commands does not, unless there is
one (`--connections 1`). A difference is printed with the first key that differs, what each view holds of it,
and the last commands of every connection that name it.
"""

import argparse
import itertools
import multiprocessing
import random
import sys
import tempfile
import threading
import time

import harness
import redis
from resp import Connection, Error, Status, encode
from torture_words import DATABASES, endless

BATCH = 32
# Longer than any check takes.
PAUSE_MS = 120_000
# Ends that come are at most a third of a second away: then nothing changes any more.
SETTLED_S = 30
VARIANTS = {
    "plain": [],
    # One worker, and a log that is too short for replicas that were away.
    "narrow": ["--io-threads", "1", "--repl-backlog-size", "16kb"],
    "eviction": ["--maxmemory", "12mb", "--maxmemory-policy", "allkeys-random"],
}
POLICIES = ["allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-ttl", "noeviction", "volatile-lru"]
# What the stream of any key is about.
WHOLE = (b"FLUSHALL", b"FLUSHDB", b"SWAPDB", b"MULTI", b"EXEC")
# Where compact values end, drawn anew all the time, for master and replica alike.
THRESHOLDS = {
    "hash-max-listpack-entries": ["0", "4", "512"], "hash-max-listpack-value": ["4", "64"],
    "set-max-intset-entries": ["0", "8", "512"], "set-max-listpack-entries": ["0", "8", "128"],
    "zset-max-listpack-entries": ["0", "4", "128"], "zset-max-listpack-value": ["4", "64"],
    "list-max-listpack-size": ["-2", "-1", "3", "100"], "stream-node-max-entries": ["1", "3", "100"],
    "stream-node-max-bytes": ["64", "4096"],
}


class Difference(AssertionError):
    """Two views of the data are not the same."""


def command(connection, *words):
    """The reply, which is no error."""
    reply = connection.call(*words)
    assert not isinstance(reply, Error), (words, reply)
    return reply


def text(connection, *words):
    return bytes(command(connection, *words)).decode()


def info(connection, section):
    """A section of INFO."""
    lines = text(connection, "INFO", section).splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def load(port, seed, stopping, sent, failures, protocol):
    """One connection: batch after batch until it is told to stop. `sent` counts its commands."""
    commands, connection = endless(seed), None
    while not stopping.is_set():
        batch = list(itertools.islice(commands, BATCH))
        sent.value += len(batch)
        try:
            if connection is None:
                connection = Connection(port, timeout=300)
                if protocol == 3:
                    connection.call("HELLO", "3")
            connection.send(b"".join(map(encode, batch)))
            for each in batch:
                reply = connection.read()
                if isinstance(reply, Error) and b"internal" in bytes(reply).lower():
                    raise AssertionError((each, reply))
        except (ConnectionError, BrokenPipeError) as error:
            # Cut off, or the node is gone: the next attempt tells.
            connection = None
            try:
                Connection(port, timeout=300).close()
            except OSError:
                failures.put(f"{seed}: {error!r}")
                return
        except Exception as error:  # Whatever it is, the parent has to hear of it.
            failures.put(f"{seed}: {error!r}")
            return


class Crowd:
    """The connections, each in a process of its own."""

    def __init__(self, port, seed, count):
        self.seeds = [f"{seed}/{number}" for number in range(count)]
        self.stopping = multiprocessing.Event()
        self.failures = multiprocessing.SimpleQueue()
        self.sent = [multiprocessing.Value("q", 0) for _ in self.seeds]
        self.marks = [0] * count
        self.processes = [
            multiprocessing.Process(target=load, daemon=True, args=(
                port, of, self.stopping, sent, self.failures, 2 + number % 2))
            for number, (of, sent) in enumerate(zip(self.seeds, self.sent))]
        for process in self.processes:
            process.start()

    def total(self):
        return sum(sent.value for sent in self.sent)

    def check(self):
        if not self.failures.empty():
            raise AssertionError(f"a connection ended: {self.failures.get()}")

    def stop(self):
        self.stopping.set()
        for process in self.processes:
            process.join(300)
        self.check()

    def kill(self):
        for process in self.processes:
            process.kill()

    def mark(self):
        """What comes after this moment is what a difference is explained with."""
        self.marks = [sent.value for sent in self.sent]

    def naming(self, key):
        """What each connection has sent since that names the key."""
        for of, sent, mark in zip(self.seeds, self.sent, self.marks):
            # The last batch before the mark may not have been executed when it was made.
            since = itertools.islice(enumerate(endless(of)), max(mark - BATCH, 0), sent.value)
            yield of, [(at, words) for at, words in since if key in words]


def keys(connection):
    """All keys of the selected database."""
    cursor, found = b"0", set()
    while True:
        cursor, some = command(connection, "SCAN", cursor, "COUNT", "1000")
        found.update(some)
        if cursor == b"0":
            return sorted(found)


def pipelined(connection, commands):
    """Their replies; sent a few at a time, so that neither side's buffers fill up."""
    replies = []
    for start in range(0, len(commands), BATCH):
        batch = commands[start:start + BATCH]
        connection.send(b"".join(map(encode, batch)))
        replies += [connection.read() for _ in batch]
    return replies


def carry(source, target):
    """Everything from one server to another, by DUMP and RESTORE."""
    command(target, "FLUSHALL")
    for database in range(DATABASES):
        for side in (source, target):
            command(side, "SELECT", database)
        names = keys(source)
        dumps = pipelined(source, [["DUMP", name] for name in names])
        ends = pipelined(source, [["PEXPIRETIME", name] for name in names])
        restores = [["RESTORE", name, max(end, 0), dump, "ABSTTL"]
                    for name, dump, end in zip(names, dumps, ends) if dump is not None and end != -2]
        for restore, reply in zip(restores, pipelined(target, restores)):
            if reply != Status(b"OK"):
                raise Difference(f"RESTORE of database {database}, {restore[1]!r}: {reply!r}\n    {restore!r}")
    for side in (source, target):
        command(side, "SELECT", 0)


class Recorder(threading.Thread):
    """Follows the master as a replica would and keeps the stream: what a difference is explained with."""


    def __init__(self, port):
        super().__init__(daemon=True)
        self.port = port
        self.history, self.next = b"?", -1
        self.stream = bytearray()
        self.start()

    def run(self):
        while True:
            try:
                self.follow(Connection(self.port, timeout=3))
            except ConnectionRefusedError:
                return
            except OSError:
                # Cut, like every link now and then: it goes on from where it was.
                pass

    def follow(self, connection):
        connection.call("REPLCONF", "capa", "eof", "capa", "psync2")
        connection.send(encode(["PSYNC", self.history, self.next]))
        # Empty lines are signs of life.
        while not (line := connection.file.readline()).strip():
            pass
        words = line.split()
        if words[0] == b"+FULLRESYNC":
            assert self.next == -1, "the recorder was away for too long"
            self.history, self.next = words[1], int(words[2]) + 1
            self.skip_data_set(connection)
        while True:
            try:
                connection.send(encode(["REPLCONF", "ACK", self.next - 1]))
                got = connection.file.read1(1 << 20)
            except TimeoutError:
                continue
            if not got:
                return
            self.stream += got
            self.next += len(got)

    @staticmethod
    def skip_data_set(connection):
        while not (line := connection.file.readline()).startswith(b"$"):
            pass
        mark = line[5:].strip()
        tail = b"" if line.startswith(b"$EOF") else mark
        while not tail.endswith(mark):
            tail = tail[-len(mark):] + connection.file.read1(1 << 16)

    def mark(self):
        """What comes after this moment is what a difference is explained with."""
        del self.stream[:]

    def naming(self, key):
        """The pieces of the stream that name the key, and those about whole databases."""
        naming, at, database = [], 0, b"?"
        while at < len(self.stream):
            count, at = line_at(self.stream, at)
            words = []
            for _ in range(int(count[1:] or 0) if count[:1] == b"*" else 0):
                size, at = line_at(self.stream, at)
                words.append(bytes(self.stream[at:at + int(size[1:])]))
                at += int(size[1:]) + 2
            if words and words[0].upper() == b"SELECT":
                database = words[1]
            if key in words or (words and words[0].upper() in WHOLE):
                naming.append((database, words))
        return naming


def line_at(stream, at):
    end = stream.find(b"\r\n", at)
    end = len(stream) if end < 0 else end
    return bytes(stream[at:end]), end + 2


class World:
    """The servers, their views, and the random events between them."""

    def __init__(self, folder, seed, variant, connections, record=False):
        self.random = random.Random(f"{seed} world")
        self.variant = variant
        options = ["--enable-debug-command", "yes"]
        self.master = harness.node(folder, "--io-threads", "4", *options, *VARIANTS[variant])
        self.replicas = [harness.node(folder, "--io-threads", "3", *options) for _ in range(2)]
        self.spare = harness.node(folder, *options)
        peers = harness.peers()
        self.peer = harness.real_redis(folder) if "redis-8.2" in peers else None
        if self.peer:
            self.peer.command[0] = str(peers["redis-8.2"])
        self.servers = [self.master, *self.replicas, self.spare, *([self.peer] if self.peer else [])]
        for server in self.servers:
            server.start()
        self.memory_before = int(info(self.operator(), "memory")["used_memory"])
        for replica in self.replicas:
            replica.call("REPLICAOF", harness.HOST, self.master.port)
        self.crowd = Crowd(self.master.port, seed, connections)
        self.recorder = Recorder(self.master.port) if record else None
        self.checks, self.happened = 0, []

    def operator(self, server=None):
        return Connection((server or self.master).port, timeout=300)

    def close(self):
        self.crowd.kill()
        for server in self.servers:
            server.kill()
        harness.assert_no_panic([server for server in self.servers if server is not self.peer])

    # Events.

    def event(self):
        """Something happens that no client asked for."""
        operator = self.operator()
        happens = self.random.choice([self.thresholds, self.thresholds, self.cut_client, self.cut_client,
                                      self.unblock, self.cut_links, self.policy, self.reload_live,
                                      self.stray, self.restart])
        self.happened.append(happens.__name__)
        happens(operator)
        operator.close()

    def thresholds(self, operator):
        name = self.random.choice(list(THRESHOLDS))
        to = self.random.choice([operator, self.operator(self.random.choice(self.replicas))])
        command(to, "CONFIG", "SET", name, self.random.choice(THRESHOLDS[name]))

    def clients(self, operator):
        lines = text(operator, "CLIENT", "LIST", "TYPE", "NORMAL").splitlines()
        mine = command(operator, "CLIENT", "ID")
        ids = [int(line.split("id=", 1)[1].split(" ")[0]) for line in lines]
        return [each for each in ids if each != mine]

    def cut_client(self, operator):
        operator.call("CLIENT", "KILL", "ID", self.random.choice(self.clients(operator) or [0]))

    def unblock(self, operator):
        for each in self.clients(operator):
            operator.call("CLIENT", "UNBLOCK", each, self.random.choice(["TIMEOUT", "ERROR"]))

    def cut_links(self, operator):
        command(operator, "CLIENT", "KILL", "TYPE", "replica")

    def policy(self, operator):
        command(operator, "CONFIG", "SET", "maxmemory-policy", self.random.choice(POLICIES))

    def reload_live(self, operator):
        """Values are replaced by what a dump of them holds, under the clients' hands."""
        command(operator, "DEBUG", "RELOAD")

    def stray(self, _):
        """A replica writes for itself and has to begin anew."""
        replica = self.random.choice(self.replicas)
        command(self.operator(replica), "REPLICAOF", "NO", "ONE")
        command(self.operator(replica), "SET", "stray", "x")
        command(self.operator(replica), "REPLICAOF", harness.HOST, self.master.port)

    def restart(self, _):
        replica = self.random.choice(self.replicas)
        replica.kill()
        replica.start()
        replica.call("REPLICAOF", harness.HOST, self.master.port)

    # Checks.

    def check(self):
        """Nobody writes; all views agree."""
        operator = self.operator()
        command(operator, "CLIENT", "PAUSE", PAUSE_MS, "WRITE")
        try:
            for replica in self.replicas:
                harness.eventually(lambda: self.has_all(operator, replica), f"{replica.port} to have everything")
            for name, view in self.views():
                self.compare(operator, name, view)
            self.count(operator)
            self.checks += 1
            self.happened.append("check")
            self.crowd.mark()
            if self.recorder:
                self.recorder.mark()
        finally:
            command(operator, "CLIENT", "UNPAUSE")
            operator.close()

    def has_all(self, operator, replica):
        theirs = info(self.operator(replica), "replication")
        ours = info(operator, "replication")["master_repl_offset"]
        return theirs.get("master_link_status") == "up" and theirs["slave_repl_offset"] == ours

    def views(self):
        """(name, server that shows it), made one after the other; the dear ones not every time."""
        for number, replica in enumerate(self.replicas):
            yield f"replica {number}", replica
        if self.random.random() < 0.5:
            command(self.operator(self.replicas[1]), "DEBUG", "RELOAD")
            yield "reloaded replica", self.replicas[1]
        if self.random.random() < 0.3:
            carry(self.operator(), self.operator(self.spare))
            yield "dumped and restored", self.spare
        elif self.peer and self.random.random() < 0.3:
            carry(self.operator(), self.operator(self.peer))
            carry(self.operator(self.peer), self.operator(self.spare))
            yield "dumped through a real Redis", self.spare

    def compare(self, operator, name, server):
        other, begun = self.operator(server), time.monotonic()
        while True:
            digests = [text(on, "DEBUG", "DIGEST") for on in (operator, other, operator)]
            if digests[0] == digests[1]:
                return
            # Something may have ended between the two.
            if time.monotonic() > begun + SETTLED_S:
                raise Difference(f"{name}: {digests}\n" + self.explain(operator, other))
            time.sleep(0.2)

    def count(self, operator):
        """What is counted is there: keys whose time has come are counted until they are removed."""
        for database in range(DATABASES):
            command(operator, "SELECT", database)
            counted, there = command(operator, "DBSIZE"), len(keys(operator))
            assert counted >= there, f"database {database}: counted {counted}, found {there}"
            if there == 0:
                assert command(operator, "RANDOMKEY") is None

    def explain(self, operator, other):
        """The first keys that differ."""
        lines = [f"events: {self.happened[-10:]}"]
        for database in range(DATABASES):
            for side in (operator, other):
                command(side, "SELECT", database)
            for name in sorted({*keys(operator), *keys(other)}):
                ours, theirs = (text_of(side, name) for side in (operator, other))
                if ours["digest"] != theirs["digest"] and len(lines) < 40:
                    lines.append(f"database {database}, key {name!r}:\n    live {ours}\n    view {theirs}")
                    lines += [f"    {of}, {at}: {shown(words)}" for of, naming in
                              self.crowd.naming(name.decode(errors="replace")) for at, words in naming]
                    if self.recorder:
                        lines += [f"    stream, database {to.decode()}: {shown(words)}"
                                  for to, words in self.recorder.naming(name)]
        return "\n".join(lines)

    def finish(self):
        """Nobody is left: everything is given back."""
        self.check()
        self.crowd.stop()
        operator = self.operator()
        self.check()
        command(operator, "FLUSHALL")
        command(operator, "CONFIG", "SET", "maxmemory", "0")

        def given_back():
            memory = info(operator, "memory")
            # The log of the stream and what the allocator keeps for the next client stay.
            return int(memory["used_memory"]) < self.memory_before + (16 << 20)
        harness.eventually(given_back, "memory to be given back")
        clients = info(operator, "clients")
        assert clients["blocked_clients"] == "0", clients
        assert all(command(operator, "DBSIZE") == 0 for database in range(DATABASES)
                   if command(operator, "SELECT", database))


def text_of(connection, name):
    """What a difference of a key may lie in."""
    asked = {"digest": ["DEBUG", "DIGEST-VALUE", name], "type": ["TYPE", name], "end": ["PEXPIRETIME", name],
             "encoding": ["OBJECT", "ENCODING", name], "dump": ["DUMP", name]}
    return {what: connection.call(*words) for what, words in asked.items()}


def shown(words):
    return " ".join(map(repr, words))[:400]


def torture(minutes, seed, variant, connections, say=lambda line: None, record=False):
    """Runs one world; raises what it finds."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(folder, seed, variant, connections, record)
        begun = time.monotonic()
        try:
            while time.monotonic() < begun + minutes * 60:
                # Not to let anybody settle: the moment is to be a random one.
                threading.Event().wait(world.random.uniform(0.05, 1.5))
                world.crowd.check()
                if world.random.random() < 0.6:
                    world.event()
                else:
                    world.check()
                    say(f"{world.crowd.total()} commands, {world.checks} checks, {len(world.happened) - world.checks} events")
            world.finish()
            assert world.crowd.total() > 0 and world.checks > 0, "the run was dull"
            return world.crowd.total(), world.checks, len(world.happened) - world.checks
        except BaseException:
            for server in world.servers:
                if not server.alive():
                    say(f"{server.port} ended: {server.log[-3000:]}")
            raise
        finally:
            world.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=30, help="in all")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--connections", type=int, default=6)
    parser.add_argument("--variant", choices=list(VARIANTS), action="append", help="default: all in turn")
    parser.add_argument("--record", action="store_true", help="the stream, and show it with a difference")
    options = parser.parse_args()
    chosen = options.variant or list(VARIANTS)

    def say(line):
        if sys.stderr.isatty():
            print(f"\r{line}", end="", file=sys.stderr, flush=True)

    for variant in chosen:
        name = f"torture {variant}, seed {options.seed}"
        try:
            done, checks, events = torture(
                options.minutes / len(chosen), options.seed, variant, options.connections, say, options.record)
        except (AssertionError, redis.RedisError, OSError) as error:
            sys.exit(f"{name}: {error}")
        print(f"{name}: {done} commands, {checks} checks, {events} events: all views agree", flush=True)


if __name__ == "__main__":
    main()
