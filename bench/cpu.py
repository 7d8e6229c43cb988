"""Server CPU per command, beside Redis and Valkey: `make bench`.

Runs redis-benchmark against each server in turn, five interleaved rounds, and prints the median of
(user + system time of the server) / commands in microseconds. CPU time, not throughput: on a
machine that also runs the load generator, throughput measures the generator.

Options: --rounds N, --requests N, --only GET,SET, --keys N.
"""

import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
import harness  # noqa: E402

TICK_US = 1_000_000 / os.sysconf("SC_CLK_TCK")

# Name, redis-benchmark's test, depth of the pipeline, share of the requests.
CASES = [
    ("PING", "ping_mbulk", 16, 1), ("SET", "set", 16, 1), ("GET", "get", 16, 1),
    ("INCR", "incr", 16, 1), ("LPUSH", "lpush", 16, 1), ("SADD", "sadd", 16, 1),
    ("HSET", "hset", 16, 1), ("ZADD", "zadd", 16, 1), ("MSET 10", "mset", 16, 0.25),
    ("LRANGE 100", "lrange_100", 16, 0.1), ("SET, no pipeline", "set", 1, 0.2),
    ("GET, no pipeline", "get", 1, 0.2),
]


def servers(folder):
    """Name and process of each server; ours also with its default number of workers."""
    binary = os.environ.get("BINARY", ROOT / "target/slotward-bench")
    peers = harness.peers()
    redis, valkey = peers["redis-8.2"], peers["valkey-9.1"]
    commands = {
        "slotward": [binary, "server", "--io-threads", "1"],
        "slotward, default workers": [binary, "server"],
        "redis": [redis, "--save", "", "--io-threads", "1"],
        "valkey": [valkey, "--save", "", "--io-threads", "1"],
    }
    found = {}
    for name, command in commands.items():
        port = harness.free_port()
        place = pathlib.Path(folder) / name.replace(", ", "-").replace(" ", "-")
        found[name] = harness.Process(
            [*command, "--port", port, "--bind", harness.HOST, "--dir", place], port, place)
    return found


def cpu_us(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_US


def measure(process, test, depth, requests, keys):
    """CPU of one run, in microseconds per command."""
    command = ["redis-benchmark", "-p", str(process.port), "-t", test, "-n", str(requests),
               "-P", str(depth), "-c", "50", "-r", str(keys), "-q"]
    before = cpu_us(process.pid)
    done = subprocess.run(command, capture_output=True, text=True)
    after = cpu_us(process.pid)
    text = done.stdout + done.stderr
    if done.returncode or "rror" in text:
        sys.exit(f"bench: {' '.join(command)}: {text}")
    return (after - before) / requests


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--requests", type=int, default=1_000_000)
    options.add_argument("--keys", type=int, default=100_000)
    options.add_argument("--only", default="", help="names of cases, separated by commas")
    chosen = options.parse_args()
    only = {name.strip().upper() for name in chosen.only.split(",") if name}
    cases = [case for case in CASES if not only or case[0].upper() in only]

    folder = tempfile.mkdtemp(prefix="slotward-bench-")
    running = servers(folder)
    try:
        for process in running.values():
            process.start()
        idle = settled_memory(running)
        for name, process in running.items():
            info = process.info("server")
            version = info.get("slotward_version") or info.get("valkey_version") or info["redis_version"]
            print(f"{name}: version {version}, idle {idle[name]:.1f} MiB resident")
        print(f"{len(os.sched_getaffinity(0))} cores, {chosen.rounds} rounds, 50 clients, "
              f"{chosen.keys} keys, load before {os.getloadavg()[0]:.2f}\n", flush=True)
        report(cases, running, run(cases, running, chosen))
    finally:
        for process in running.values():
            process.kill()
        shutil.rmtree(folder, ignore_errors=True)


def settled_memory(running):
    """Resident memory once it has stopped changing."""
    seen = {}

    def steady():
        now = {name: harness.resident_bytes(process.pid) / 2**20 for name, process in running.items()}
        same = seen.get("last") == now
        seen["last"] = now
        time.sleep(0.5)
        return same and now
    return harness.eventually(steady, "memory to settle")


def run(cases, running, chosen):
    names = list(running)
    figures = {(case[0], name): [] for case in cases for name in names}
    for round_number in range(chosen.rounds):
        for title, test, depth, share in cases:
            requests = max(10_000, int(chosen.requests * share))
            # Another order each round: what one leaves in the caches hits all alike.
            for index in range(len(names)):
                name = names[(index + round_number) % len(names)]
                figures[title, name].append(
                    measure(running[name], test, depth, requests, chosen.keys))
        for process in running.values():
            process.call("FLUSHALL")
        print(f"round {round_number + 1} of {chosen.rounds} done", file=sys.stderr, flush=True)
    return figures


def report(cases, running, figures):
    names = list(running)
    print("Server CPU per command, µs (median of the rounds)")
    print(f"{'':18}" + "".join(f"{name.replace(', default workers', '*'):>12}" for name in names)
          + f"{'of redis':>10}{'of valkey':>10}")
    for title, *_ in cases:
        medians = [statistics.median(figures[title, name]) for name in names]
        ours, redis, valkey = medians[0], medians[names.index("redis")], medians[names.index("valkey")]
        print(f"{title:18}" + "".join(f"{median:12.2f}" for median in medians)
              + f"{ours / redis:10.2f}{ours / valkey:10.2f}")
    print("* with its default number of workers")


if __name__ == "__main__":
    main()
