"""Resident memory per key and per element, beside Redis and Valkey: `make bench-memory`.

Each case fills an empty process of its own and prints what its resident memory grew by, divided by
the number of keys or elements. Memory that was used on the way but given back does not count.

Options: --only NAME,NAME, --share F (of the keys and elements; bars are for 1).
"""

import argparse
import os
import pathlib
import socket
import statistics
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
import harness  # noqa: E402
from resp import encode  # noqa: E402

MILLION = 1_000_000
BATCH = 5000


def strings(count):
    return (("SET", b"key:%012d" % n, b"v" * 24 + b"%08d" % n) for n in range(count))


def expiring(count):
    return (("SET", b"key:%012d" % n, b"v" * 24 + b"%08d" % n, "EX", "100000") for n in range(count))


def hashes(count):
    return (("HSET", b"hash:%08d" % n, "name", b"user %d" % n, "age", "42", "city", b"city %d" % (n % 99),
             "mail", b"u%d@example.org" % n, "score", str(n)) for n in range(count))


def in_pieces(command, key, elements, at_once=50):
    piece = []
    for element in elements:
        piece.extend(element)
        if len(piece) >= at_once:
            yield (command, key, *piece)
            piece = []
    if piece:
        yield (command, key, *piece)


def sorted_set(count):
    # Scores in no order, as they come in life; 2^k + 1 steps over all of them.
    return in_pieces("ZADD", "zset", ((str(n * 611_953 % count), b"member:%09d" % n) for n in range(count)))


def integers(count):
    return in_pieces("SADD", "set", ((str(n * 611_953 % (10 * count)),) for n in range(count)))


def words(count):
    return in_pieces("RPUSH", "list", ((b"element:%08d" % n,) for n in range(count)))


def small(command, count, elements):
    """Keys with five elements each; `elements` makes them of the key's number and theirs."""
    return ((command, b"small:%08d" % n, *(part for at in range(5) for part in elements(n, at))) for n in range(count))


def small_lists(count):
    return small("RPUSH", count, lambda n, at: (b"job %d of %d" % (n * at, n),))


def small_sets(count):
    return small("SADD", count, lambda n, at: (b"tag-%d-%d" % (n % 1000, at),))


def small_zsets(count):
    return small("ZADD", count, lambda n, at: (b"%d" % (n * at % 1009), b"player %d %d" % (n % 5000, at)))


def hashes_of_20(count):
    return (("HSET", b"hash:%08d" % n, *(part for at in range(20) for part in (b"field%d" % at, b"value %d" % (n * at))))
            for n in range(count))


def ends_of_fields(count):
    # Hashes of which two fields end.
    for command in hashes(count):
        yield command
        yield ("HEXPIRE", command[1], "100000", "FIELDS", "2", "age", "score")


def long_strings(count):
    # From one to four KiB, evenly.
    return (("SET", b"key:%012d" % n, b"v" * (1024 + n * 611_953 % 3072)) for n in range(count))


def stream(count):
    return (("XADD", "stream", b"%d-0" % (1_700_000_000_000 + n), "sensor", b"%d" % (n % 1000), "value", b"%d" % n)
            for n in range(count))


# Name, what fills it, how many.
CASES = [
    *((f"{millions} M keys", strings, millions * MILLION) for millions in (1, 2, 3, 4, 5, 8)),
    ("2 M keys with TTL", expiring, 2 * MILLION),
    ("200 k hashes of 5", hashes, 200_000),
    ("100 k hashes of 20", hashes_of_20, 100_000),
    ("200 k lists of 5", small_lists, 200_000),
    ("200 k sets of 5", small_sets, 200_000),
    ("200 k zsets of 5", small_zsets, 200_000),
    ("100 k of 1 to 4 KiB", long_strings, 100_000),
    ("100 k hashes, TTL", ends_of_fields, 100_000),
    ("zset of 1 M", sorted_set, MILLION),
    ("set of 1 M integers", integers, MILLION),
    ("list of 1 M x 16 B", words, MILLION),
    ("stream of 500 k", stream, 500_000),
]


def servers():
    peers = harness.peers()
    return {
        "slotward": [os.environ.get("BINARY", ROOT / "target/release/slotward"), "server"],
        "redis": [peers["redis-8.2"], "--save", ""],
        "valkey": [peers["valkey-9.1"], "--save", ""],
    }


def fill(port, commands):
    """Sends the commands, some thousand at a time, and looks for errors among the replies."""
    with socket.create_connection((harness.HOST, port)) as connection:
        replies = connection.makefile("rb")
        batch = []

        def flush():
            connection.sendall(b"".join(batch))
            for _ in batch:
                line = replies.readline()
                if line[:1] == b"$":
                    replies.readline()
                elif line[:1] == b"*":
                    # Of numbers, each in a line.
                    for _ in range(int(line[1:])):
                        replies.readline()
                elif line[:1] not in (b"+", b":"):
                    sys.exit(f"bench: {line!r}")
            batch.clear()

        for command in commands:
            batch.append(encode(command))
            if len(batch) == BATCH:
                flush()
        flush()


def grown_by(command, commands):
    """Bytes by which a fresh process grows."""
    port = harness.free_port()
    with tempfile.TemporaryDirectory(prefix="slotward-bench-") as folder:
        process = harness.Process([*command, "--port", port, "--bind", harness.HOST, "--dir", folder], port, folder)
        process.start()
        try:
            empty = harness.resident_bytes(process.pid)
            fill(port, commands)
            return harness.resident_bytes(process.pid) - empty
        finally:
            process.kill()


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--only", default="", help="names of cases, separated by commas")
    options.add_argument("--share", type=float, default=1.0)
    chosen = options.parse_args()
    only = {name.strip() for name in chosen.only.split(",") if name}
    commands = servers()
    print("Resident bytes per key or element")
    print(f"{'':22}" + "".join(f"{name:>10}" for name in commands) + f"{'of better':>11}")
    plain = []
    for title, make, count in CASES:
        if only and title not in only:
            continue
        count = int(count * chosen.share)
        each = {name: grown_by(command, make(count)) / count for name, command in commands.items()}
        if make is strings:
            plain.append(each["slotward"])
        ratio = each["slotward"] / min(each["redis"], each["valkey"])
        print(f"{title:22}" + "".join(f"{value:10.1f}" for value in each.values()) + f"{ratio:11.2f}", flush=True)
    if plain:
        print(f"plain keys of slotward: mean {statistics.mean(plain):.1f} B, worst {max(plain):.1f} B")


if __name__ == "__main__":
    main()
