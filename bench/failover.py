"""How long a killed master's slots take no writes: `make failover`.

A cluster of 3 + 3 with default settings and one writer per shard. Each round: kill -9 of a master,
the time from the last acknowledged write to its slots before to the first after (by another node),
errors on the healthy shards meanwhile, and the return of the killed node as a replica.

Options: --rounds N.
"""

import argparse
import os
import pathlib
import shutil
import statistics
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
import harness  # noqa: E402
from resp import Connection, Status  # noqa: E402


class Writer(threading.Thread):
    """Writes to one shard, one write after the other, and notes when each was acknowledged."""

    def __init__(self, key, ports):
        super().__init__(daemon=True)
        self.key = key
        self.ports = ports
        self.target = ports[0]
        self.stopping = threading.Event()
        self.last_acknowledged = None
        self.last_port = None
        self.longest = 0.0
        self.count = 0
        self.errors = []

    def run(self):
        connection = None
        while not self.stopping.is_set():
            try:
                connection = connection or Connection(self.target, timeout=1)
                reply = connection.call("SET", self.key, self.count)
            except OSError as error:
                self.errors.append((time.monotonic(), repr(error)))
                connection = self.elsewhere(connection)
                continue
            if reply == Status(b"OK"):
                self.acknowledged()
                continue
            self.errors.append((time.monotonic(), repr(reply)))
            words = bytes(reply).split()
            if words[:1] == [b"MOVED"]:
                self.target = int(words[2].rpartition(b":")[2])
                connection.close()
                connection = None
            else:
                connection = self.elsewhere(connection)

    def acknowledged(self):
        now = time.monotonic()
        if self.last_acknowledged is not None:
            self.longest = max(self.longest, now - self.last_acknowledged)
        self.last_acknowledged = now
        self.last_port = self.target
        self.count += 1

    def elsewhere(self, connection):
        if connection is not None:
            connection.close()
        self.target = self.ports[(self.ports.index(self.target) + 1) % len(self.ports)]
        time.sleep(0.001)
        return None


def shards(cluster):
    """A key and the ports of the nodes of each shard, master first."""
    topology = cluster.topology()
    found = []
    for id, entry in topology.items():
        if "master" in entry["flags"] and entry["slots"]:
            replicas = [other["port"] for other in topology.values() if other["master"] == id]
            found.append([entry["port"], *replicas])
    keys = {}
    number = 0
    while len(keys) < len(found):
        number += 1
        keys.setdefault(cluster.master_of(f"key:{number}").port, f"key:{number}")
    return [(keys[ports[0]], ports) for ports in found]


def one_round(cluster, writers, victim_index):
    """Kills the master of one shard: (outage in ms, errors elsewhere, return in s)."""
    writer = writers[victim_index]
    for each in writers:
        each.errors.clear()
        each.longest = 0.0
    counts = [each.count for each in writers]
    harness.eventually(lambda: all(e.count > c + 100 for e, c in zip(writers, counts)), "writes")
    victim = cluster.node_at(writer.last_port)
    writer.longest = 0.0
    killed_at = time.monotonic()
    victim.kill()
    harness.eventually(
        lambda: writer.last_port != victim.port and writer.last_acknowledged > killed_at,
        "another node to acknowledge writes")
    count = writer.count
    harness.eventually(lambda: writer.count > count + 100, "writes to go on")
    outage = writer.longest
    elsewhere = [error for each in writers if each is not writer for error in each.errors]
    begun = time.monotonic()
    victim.start(wait=False)
    cluster.wait_healthy()
    assert victim.info("replication")["role"] == "slave", "the killed node came back as a master"
    return outage * 1000, elsewhere, time.monotonic() - begun


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=20)
    chosen = options.parse_args()
    folder = tempfile.mkdtemp(prefix="slotward-failover-")
    cluster = harness.Cluster(folder)
    try:
        cluster.start()
        cluster.create()
        writers = [Writer(key, ports) for key, ports in shards(cluster)]
        for writer in writers:
            writer.start()
        outages, errors = [], []
        print(f"load before {os.getloadavg()[0]:.2f}, {len(os.sched_getaffinity(0))} cores")
        for number in range(chosen.rounds):
            outage, elsewhere, back = one_round(cluster, writers, number % len(writers))
            outages.append(outage)
            errors += elsewhere
            print(f"round {number + 1:2}: no writes to its slots for {outage:6.0f} ms, "
                  f"{len(elsewhere)} errors on healthy shards, back as a replica after {back:.1f} s",
                  flush=True)
        for writer in writers:
            writer.stopping.set()
        for writer in writers:
            writer.join()
        print(f"median {statistics.median(outages):.0f} ms, longest {max(outages):.0f} ms, "
              f"{len(errors)} errors on healthy shards, {sum(w.count for w in writers)} writes")
        for _, error in errors[:5]:
            print(f"  {error}")
        return 0 if statistics.median(outages) <= 300 and max(outages) <= 1000 and not errors else 1
    finally:
        cluster.kill()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
