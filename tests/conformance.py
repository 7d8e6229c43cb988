"""Sends the same random commands to a node and to real servers and compares every reply.

`make conformance` runs a million commands: against Redis 7.0 from Debian, and against the newer
Redis and Valkey that PyPI's wheels carry; in RESP2 and RESP3, alone and in cluster mode. A
difference is shrunk to the few commands that show it and printed; the exit status is then 1.

    .venv/bin/python tests/conformance.py --commands 100000 --peer redis-7.0 --seed 5
"""

import argparse
import sys
import tempfile
import time

import harness
from differences import FAMILIES, YOUNG, Words, comparable, near
from resp import Connection, Error, Status, encode

# Commands between two FLUSHALLs: short enough to shrink, long enough for values to grow.
EPISODE = 1500
BATCH = 50
QUEUED = Status(b"QUEUED")


def is_error(reply, words):
    return isinstance(reply, Error) and words in bytes(reply)


def same_number(ours, theirs):
    # A string in RESP2, (",", digits) in RESP3.
    digits = [reply[1] if isinstance(reply, tuple) and len(reply) == 2 else reply for reply in (ours, theirs)]
    try:
        return all(isinstance(each, bytes) for each in digits) and float(digits[0]) == float(digits[1])
    except ValueError:
        return False


# Differences that are known and meant: (peers, command, are these replies it, why). The reasons are
# the lines of "Replies that differ" in docs/compatibility.md.
EXPLAINED = [
    (("redis-7.0", "valkey-9.1"), "BITCOUNT",
     lambda ours, theirs: isinstance(ours, Error),
     "BITCOUNT checks its arguments before it looks at the key and takes no start without an end, as Redis 7.2."),
    (("redis-7.0", "valkey-9.1"), "BITPOS", lambda ours, theirs: is_error(ours, b"not an integer"),
     "BITPOS checks its arguments before it looks at the key, as Redis does since 7.2."),
    (("redis-7.0", "redis-8.2", "valkey-9.1"), "OBJECT",
     lambda ours, theirs: (ours, theirs) == (b"listpack", b"skiplist"),
     "SORT of a small sorted set leaves its encoding alone."),
    (("redis-7.0", "redis-8.2", "valkey-9.1"), "SORT",
     lambda ours, theirs: isinstance(ours, list) and isinstance(theirs, list) and sorted(ours) == sorted(theirs)
     and any(b"\0" in item for item in ours),
     "SORT ALPHA compares all bytes, also those after a zero byte."),
    (("redis-7.0",), "OBJECT", lambda ours, theirs: {ours, theirs} == {b"listpack", b"quicklist"},
     "OBJECT ENCODING of a short list is listpack, as in Redis since 7.2."),
    (("redis-7.0",), "OBJECT", lambda ours, theirs: (ours, theirs) == (b"listpack", b"hashtable"),
     "OBJECT ENCODING of a small set is listpack, as in Redis since 7.2."),
    (("redis-8.2", "valkey-9.1"), "SORT", lambda ours, theirs: is_error(theirs, b"converted into double"),
     "SORT takes numbers with leading blanks and the empty string as 0, as Redis did before 8.2."),
    (("redis-7.0", "redis-8.2", "valkey-9.1"), "OBJECT",
     lambda ours, theirs: ours == 1 and isinstance(theirs, int),
     "OBJECT REFCOUNT is 1, for small integers and in transactions too: nothing is shared."),
    (("redis-7.0", "redis-8.2", "valkey-9.1"), "EXEC",
     lambda ours, theirs: is_error(ours, b"EXECABORT") and is_error(theirs, b"CROSSSLOT"),
     "EXEC of a transaction that cannot succeed says EXECABORT before it looks at slots."),
    (("valkey-9.1",), "GETEX", lambda ours, theirs: is_error(theirs, b"invalid expire time"),
     "GETEX looks at the key before it checks the range of the time, as in Redis."),
    (("valkey-9.1",), "MULTI", lambda ours, theirs: is_error(ours, b"nested") and is_error(theirs, b"not allowed"),
     "MULTI inside of MULTI is refused in Redis's words."),
    (("valkey-9.1",), "WATCH", lambda ours, theirs: is_error(theirs, b"not allowed inside a transaction"),
     "WATCH inside of MULTI is refused in Redis's words."),
    (("valkey-9.1",), "EXEC", lambda ours, theirs: is_error(theirs, b"EXECABORT"),
     "MULTI and WATCH inside of MULTI do not spoil the transaction, as in Redis."),
    (("valkey-9.1",), "SCAN", lambda ours, theirs: is_error(theirs, b"unknown type name"),
     "SCAN of an unknown TYPE finds nothing, as in Redis."),
    (("valkey-9.1",), "OBJECT", lambda ours, theirs: {ours, theirs} == {b"raw", b"embstr"},
     "OBJECT ENCODING of a string of up to 44 bytes is embstr, as in Redis."),
    (("valkey-9.1",), "GEO", lambda ours, theirs: is_error(ours, b"could not decode") and is_error(theirs, b"does not exist"),
     "GEO commands around a member that is not there fail in Redis's words."),
    (("valkey-9.1",), "GEO", lambda ours, theirs: is_error(ours, b"BYRADIUS and BYBOX") and is_error(theirs, b"BYPOLYGON"),
     "GEO commands without a shape fail in Redis's words, which do not name BYPOLYGON."),
    (("redis-7.0", "redis-8.2", "valkey-9.1"), "PFADD",
     lambda ours, theirs: is_error(ours, b"INVALIDOBJ") and theirs in (0, 1),
     "PFADD into a damaged HyperLogLog fails and changes nothing."),
    (("redis-7.0", "redis-8.2", "valkey-9.1"), "INCRBYFLOAT",
     lambda ours, theirs: isinstance(ours, bytes) and isinstance(theirs, bytes) and abs(float(ours)) > 2 ** 63
     and abs(float(ours) / float(theirs) - 1) < 1e-15,
     "INCRBYFLOAT adds in exact decimal, where Redis adds in 80 bits of binary."),
    (("valkey-9.1",), "MSETEX",
     lambda ours, theirs: is_error(ours, b"numkeys") and is_error(theirs, b"numkeys")
     or is_error(ours, b"number of key-value pairs") and is_error(theirs, b"syntax"),
     "MSETEX with a wrong number of keys fails in Redis's words."),
    (("valkey-9.1",), "MOVE", lambda ours, theirs: is_error(ours, b"not allowed in cluster mode"),
     "MOVE in a cluster of one database is refused in Redis's words."),
    (("redis-8.2", "valkey-9.1"), "SELECT", lambda ours, theirs: is_error(ours, b"not allowed in cluster mode"),
     "SELECT in a cluster of one database is refused in Redis's words."),
    (("redis-7.0",), "Z", same_number,
     "Doubles are printed in the fewest digits that tell them, as in Redis since 7.2."),
    (("valkey-9.1",), "Z", lambda ours, theirs: ours == [] and isinstance(theirs, list),
     "Ranges BYLEX with a negative offset are empty, as in Redis."),
]


# After these the data differ, too.
DIVERGING = {"EXEC", "PFADD", "INCRBYFLOAT"}


def is_explained(peer, command, ours, theirs):
    name = command[0].upper()
    return any(peer in peers and name.startswith(which) and matches(ours, theirs)
               for peers, which, matches, _ in EXPLAINED)


class Transcript:
    """Takes the replies of `EXEC` apart: what of them may differ, the queued commands tell."""

    def __init__(self):
        self.queued = []

    def pairs(self, command, reply):
        if reply == QUEUED:
            self.queued.append(command)
        elif command[0] in ("EXEC", "DISCARD") and not is_error(reply, b"without MULTI"):
            queued, self.queued = self.queued, []
            if command[0] == "EXEC" and isinstance(reply, list) and len(reply) == len(queued):
                return [(command, len(reply)), *zip(queued, reply)]
        return [(command, reply)]


class Pair:
    """A connection to each, that have seen the same commands."""

    def __init__(self, peer, ours, theirs, protocol):
        self.peer = peer
        self.connections = [Connection(ours.port), Connection(theirs.port)]
        for connection in self.connections:
            # A slow machine is no difference.
            connection.socket.settimeout(120)
            if protocol == 3:
                connection.call("HELLO", "3")

    def known(self):
        """The commands that both have."""
        lists = [connection.call("COMMAND", "LIST") for connection in self.connections]
        # An array in RESP2, ("~", array) in RESP3.
        ours, theirs = ({name.decode().upper() for name in (names[1] if isinstance(names, tuple) else names)}
                        for names in lists)
        return ours & theirs

    def run(self, commands):
        """Runs from an empty data set; where and how the replies first differ, or None."""
        for connection in self.connections:
            # What the run before may have left open.
            for command in (["DISCARD"], ["UNWATCH"], ["SELECT", "0"]):
                connection.call(*command)
            flushed = connection.call("FLUSHALL")
            assert not isinstance(flushed, Error), flushed
        seen = [Transcript(), Transcript()]
        for start in range(0, len(commands), BATCH):
            batch = commands[start:start + BATCH]
            raw = b"".join(encode(command) for command in batch)
            for connection in self.connections:
                connection.send(raw)
            # All replies are read before they are compared: a connection is never left half read.
            replies = [[connection.read() for _ in batch] for connection in self.connections]
            for at, (command, ours, theirs) in enumerate(zip(batch, *replies)):
                left, right = (of.pairs(command, reply) for of, reply in zip(seen, (ours, theirs)))
                if len(left) == len(right):
                    parts = zip(left, right)
                else:
                    parts = [((command, ours), (command, theirs))]
                for (part, a), (_, b) in parts:
                    if near(comparable(part, a), comparable(part, b)):
                        continue
                    if not is_explained(self.peer, part, a, b):
                        return start + at, a, b
                    if part[0] in DIVERGING:
                        # One holds now what the other does not: nothing more to compare.
                        for connection in self.connections:
                            connection.call("DISCARD")
                        return None
        return None

    def shrink(self, commands):
        """The fewest commands found that still end in a difference."""
        found = self.run(commands)
        if found is None:
            return commands, None
        commands = commands[:found[0] + 1]
        size = len(commands) // 2
        while size >= 1:
            at = 0
            while at < len(commands) - 1:
                fewer = commands[:at] + commands[min(at + size, len(commands) - 1):]
                again = self.run(fewer)
                if again is not None:
                    commands, found = fewer[:again[0] + 1], again
                else:
                    at += size
            size //= 2
        return commands, found

    def close(self):
        for connection in self.connections:
            connection.close()


def episodes(seed, known, peer):
    """Endless lists of commands: most about one family, each with some of all others."""
    words = Words(seed)
    words.peer = peer
    generators = [*FAMILIES.values(), *YOUNG.get(peer, {}).values()]
    while True:
        family = words.one([None, *generators])
        commands = []
        while len(commands) < EPISODE:
            chosen = family if family is not None and not words.chance(0.1) else words.one(generators)
            command = chosen(words)
            if command[0].upper() in known:
                commands.append(command)
        yield commands


def own_all_slots(process):
    assert process.call("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    harness.eventually(lambda: "cluster_state:ok" in harness.redis_cli("-p", process.port, "CLUSTER", "INFO"),
                       "the node to own all slots")


def start_pair(folder, binary, cluster):
    """A node of ours and a real server, each alone or owning all slots."""
    options = ["--cluster-enabled", "yes"] if cluster else []
    ours = harness.node(folder, *options, "--enable-debug-command", "yes")
    theirs = harness.real_redis(folder, *options)
    theirs.command[0] = str(binary)
    for process in (ours, theirs):
        process.start()
        if cluster:
            own_all_slots(process)
    return ours, theirs


def compare(peer, binary, protocol, cluster, count, seed):
    """Compares so many commands; prints each difference; returns how many there were."""
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = start_pair(folder, binary, cluster)
        try:
            pair = Pair(peer, ours, theirs, protocol)
            name = f"{peer} RESP{protocol} {'cluster' if cluster else 'alone'}"
            differences = run(pair, name, peer, count, seed)
            pair.close()
            harness.assert_no_panic([ours])
            return differences
        finally:
            for process in (ours, theirs):
                process.kill()


def run(pair, name, peer, count, seed):
    begun, done, differences, seen = time.monotonic(), 0, 0, set()
    for commands in episodes(f"{seed} {name}", pair.known(), peer):
        if done >= count:
            break
        done += len(commands)
        if pair.run(commands) is not None:
            commands, found = pair.shrink(commands)
            if found is None:
                print(f"{name}: a difference that does not come again", flush=True)
                differences += 1
                continue
            at, ours, theirs = found
            # One bug shows often: told once per command and kind of reply.
            kind = (commands[at][0], repr(ours)[:24], repr(theirs)[:24])
            if kind not in seen:
                seen.add(kind)
                differences += 1
                print(f"{name}: DIFFERENCE", flush=True)
                for command in commands[-12:]:
                    print("   ", " ".join(map(repr, command)))
                print(f"    ours   {ours!r}\n    theirs {theirs!r}", flush=True)
        if sys.stderr.isatty():
            print(f"\r{name}: {done} of {count}", end="", file=sys.stderr)
    seconds = time.monotonic() - begun
    print(f"{name}: {done} commands, {differences} differences, {seconds:.0f} s", flush=True)
    return differences


def main():
    peers = harness.peers()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--commands", type=int, default=1_000_000, help="in all")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--peer", choices=sorted(peers), action="append", help="default: all found")
    parser.add_argument("--resp", type=int, choices=[2, 3], action="append")
    parser.add_argument("--mode", choices=["alone", "cluster"], action="append")
    options = parser.parse_args()
    chosen = options.peer or sorted(peers)
    if not chosen:
        sys.exit("no real server found: run `make test` once, it installs redis-server")
    runs = [(peer, protocol, mode) for peer in chosen for protocol in options.resp or [2, 3]
            for mode in options.mode or ["alone", "cluster"]]
    each = -(-options.commands // len(runs))
    total = sum(compare(peer, peers[peer], protocol, mode == "cluster", each, options.seed)
                for peer, protocol, mode in runs)
    print(f"{each * len(runs)} commands, {total} differences")
    sys.exit(1 if total else 0)


if __name__ == "__main__":
    main()
