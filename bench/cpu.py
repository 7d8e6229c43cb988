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



class Case:
    """A kind of command: what redis-benchmark is told, and the bar."""

    def __init__(self, name, command, bar=None, depth=16, share=1.0):
        self.name = name
        # A test of redis-benchmark, or a command.
        self.command = ["-t", command] if isinstance(command, str) else command
        # At most this much of the better peer's CPU.
        self.bar = bar
        self.depth = depth
        # Of the requests: slow commands need fewer for the same accuracy.
        self.share = share


CASES = [
    Case("PING", "ping_mbulk"),
    Case("SET", "set", 0.7),
    Case("GET", "get", 0.85),
    Case("INCR", "incr", 0.7),
    Case("LPUSH", "lpush", 0.7),
    Case("SADD", "sadd", 0.7),
    Case("HSET", "hset", 0.7),
    Case("ZADD", "zadd", 0.85),
    Case("XADD", ["XADD", "bench:stream", "*", "field", "value"], 0.7, share=0.5),
    Case("MSET 10", "mset", 0.7, share=0.25),
    Case("LRANGE 100", "lrange_100", 0.9, share=0.1),
    Case("HGETALL", ["HGETALL", "bench:hash"], 0.9, share=0.1),
    Case("ZRANGE", ["ZRANGE", "bench:zset", "0", "99"], 0.9, share=0.1),
    Case("SET, 64 deep", "set", 0.6, depth=64, share=2),
    Case("GET, 64 deep", "get", 0.6, depth=64, share=2),
    Case("SET, no pipeline", "set", 1.0, depth=1, share=0.2),
    Case("GET, no pipeline", "get", 1.0, depth=1, share=0.2),
]


def prepare(process):
    """What the reading commands read: a hash of 50 fields and a sorted set of 200 members."""
    fields = [word for number in range(50) for word in (f"field:{number}", f"value:{number}")]
    members = [word for number in range(200) for word in (number * 1.5, f"member:{number}")]
    process.call("HSET", "bench:hash", *fields)
    process.call("ZADD", "bench:zset", *members)


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
    """What the scheduler has counted for all threads: exact, unlike the ticks of `stat`."""
    total_ns = 0
    for thread in pathlib.Path(f"/proc/{pid}/task").iterdir():
        total_ns += int((thread / "schedstat").read_text().split()[0])
    return total_ns / 1000


def measure(process, case, requests, keys):
    """CPU of one run, in microseconds per command."""
    command = ["redis-benchmark", "-p", str(process.port), "-n", str(requests),
               "-P", str(case.depth), "-c", "50", "-r", str(keys), "-q", *case.command]
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
    cases = [case for case in CASES if not only or case.name.upper() in only]

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
    figures = {(case.name, name): [] for case in cases for name in names}
    for round_number in range(chosen.rounds):
        for process in running.values():
            prepare(process)
        for case in cases:
            requests = max(10_000, int(chosen.requests * case.share))
            # Another order each round: what one leaves in the caches hits all alike.
            for index in range(len(names)):
                name = names[(index + round_number) % len(names)]
                figures[case.name, name].append(
                    measure(running[name], case, requests, chosen.keys))
        for process in running.values():
            process.call("FLUSHALL")
        print(f"round {round_number + 1} of {chosen.rounds} done", file=sys.stderr, flush=True)
    return figures


def report(cases, running, figures):
    names = list(running)
    print("Server CPU per command, µs (median of the rounds)")
    print(f"{'':18}" + "".join(f"{name.replace(', default workers', '*'):>12}" for name in names)
          + f"{'of redis':>10}{'of valkey':>10}{'of better':>10}{'bar':>6}")
    missed = []
    for case in cases:
        medians = [statistics.median(figures[case.name, name]) for name in names]
        ours, redis, valkey = medians[0], medians[names.index("redis")], medians[names.index("valkey")]
        ratio = ours / min(redis, valkey)
        verdict = ""
        if case.bar is not None:
            met = round(ratio, 2) <= case.bar
            verdict = f"{case.bar:6.2f} {'met' if met else 'MISSED'}"
            missed += [] if met else [case.name]
        print(f"{case.name:18}" + "".join(f"{median:12.2f}" for median in medians)
              + f"{ours / redis:10.2f}{ours / valkey:10.2f}{ratio:10.2f}{verdict}")
    print("All bars are met." if not missed else "Missed: " + ", ".join(missed))
    print("* with its default number of workers")


if __name__ == "__main__":
    main()
