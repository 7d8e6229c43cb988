"""How often a full cache has what is asked for, beside Redis and Valkey: `make bench-hits`.

A cache of a tenth of the keys is read along a zipfian trace; what is missing is written. Printed is
the share of reads that found their key, in the second half of the trace.

Options: --keys N, --reads N, --skew S.
"""

import argparse
import bisect
import itertools
import os
import pathlib
import random
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
import harness  # noqa: E402
from resp import Connection, encode  # noqa: E402

POLICIES = ["allkeys-lru", "allkeys-lfu", "allkeys-random"]
VALUE = b"v" * 200
BATCH = 50


def trace(keys, reads, skew):
    """Key numbers by Zipf's law; which number is how popular is shuffled."""
    draw = random.Random(1)
    total = list(itertools.accumulate(1 / (rank + 1) ** skew for rank in range(keys)))
    names = list(range(keys))
    draw.shuffle(names)
    return [names[bisect.bisect_left(total, draw.random() * total[-1])] for _ in range(reads)]


def hit_rate(command, policy, numbers, keys):
    port = harness.free_port()
    with tempfile.TemporaryDirectory(prefix="slotward-bench-") as folder:
        process = harness.Process([*command, "--port", port, "--bind", harness.HOST, "--dir", folder], port, folder)
        process.start()
        try:
            connection = Connection(port)
            client = process.client()
            # A tenth of the keys, whatever a key takes there.
            fill = client.pipeline(transaction=False)
            for number in range(keys // 10):
                fill.set(f"probe:{number:09}", VALUE)
            fill.execute()
            client.config_set("maxmemory", client.info("memory")["used_memory"])
            client.flushall()
            client.config_set("maxmemory-policy", policy)
            hits = reads = 0
            for start in range(0, len(numbers), BATCH):
                batch = [b"probe:%09d" % number for number in numbers[start:start + BATCH]]
                connection.send(b"".join(encode(("GET", key)) for key in batch))
                found = [connection.read() for _ in batch]
                missing = [key for key, value in zip(batch, found) if value is None]
                connection.send(b"".join(encode(("SET", key, VALUE)) for key in missing))
                for _ in missing:
                    connection.read()
                if start >= len(numbers) // 2:
                    reads += len(batch)
                    hits += len(batch) - len(missing)
            return hits / reads, client.dbsize()
        finally:
            process.kill()


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--keys", type=int, default=200_000)
    options.add_argument("--reads", type=int, default=1_000_000)
    options.add_argument("--skew", type=float, default=0.9)
    chosen = options.parse_args()
    peers = harness.peers()
    servers = {
        "slotward": [os.environ.get("BINARY", ROOT / "target/release/slotward"), "server"],
        "redis": [peers["redis-8.2"], "--save", ""],
        "valkey": [peers["valkey-9.1"], "--save", ""],
    }
    numbers = trace(chosen.keys, chosen.reads, chosen.skew)
    print(f"Share of reads that hit, in % (and keys held), skew {chosen.skew}")
    print(f"{'':16}" + "".join(f"{name:>20}" for name in servers))
    for policy in POLICIES:
        cells = []
        for command in servers.values():
            rate, held = hit_rate(command, policy, numbers, chosen.keys)
            cells.append(f"{100 * rate:12.2f} ({held:5})")
        print(f"{policy:16}" + "".join(f"{cell:>20}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
