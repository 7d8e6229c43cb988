"""docker-compose.yml without Docker: every service in a network namespace of its own.

Each container gets an address on a bridge, its names from a hosts file that changes as containers
come and go, the command and environment of the compose file, and the image's entrypoint. Its
address vanishes when it stops, as a container's does. The host of the containers is a namespace
too, whose loopback publishes ports as Docker's proxy does. Nothing leaves these namespaces, so
that runs beside each other do not meet. Needs root.
"""

import contextlib
import ctypes
import itertools
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import yaml

import harness
import resp

CLONE_NEWNET = 0x40000000
SUBNET = "10.213.7"
GATEWAY = f"{SUBNET}.1"
_libc = ctypes.CDLL(None, use_errno=True)


def why_not():
    """Why namespaces cannot be made here; None if they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program in ("ip", "setpriv"):
        if not shutil.which(program):
            return f"{program} is missing: run `make test`, which installs it"
    name = f"slw-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode != 0:
        return f"network namespaces cannot be made here: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return None


def _ip(*commands):
    """Runs commands of `ip`, up to the first that fails."""
    script = "\n".join(f"ip {command}" for command in commands)
    done = subprocess.run(["sh", "-ec", script], text=True, capture_output=True)
    assert done.returncode == 0, f"ip: {done.stderr}in\n{script}"


@contextlib.contextmanager
def inside(namespace):
    """This thread's new sockets belong to the namespace."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    other = os.open(f"/var/run/netns/{namespace}", os.O_RDONLY)
    try:
        _enter(other)
        yield
    finally:
        _enter(own)
        os.close(own)
        os.close(other)


def _enter(descriptor):
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Place:
    """A namespace with one address on the bridge: where a container or a client is."""

    def __init__(self, network, name, number):
        self.network = network
        self.name = name
        self.namespace = f"{network.prefix}-{name}"
        self.address = f"{SUBNET}.{number}"
        self.port = f"p{number}"
        # Derived from the address, as Docker does it: a container that comes back has the same.
        self.mac = f"02:42:0a:d5:07:{number:02x}"
        self.plugged = False

    def make(self):
        # The loopback must be there before the address; `plug` does the rest.
        return [f"netns add {self.namespace}", f"-n {self.namespace} link set lo up"]

    def plug(self):
        """Its address appears."""
        switch, here = self.network.switch, self.namespace
        _ip(f"-n {switch} link add {self.port} type veth peer name eth0 netns {here}",
            f"-n {switch} link set {self.port} master br0 up",
            f"-n {here} link set eth0 address {self.mac}",
            f"-n {here} addr add {self.address}/24 dev eth0",
            f"-n {here} link set eth0 up",
            *([f"-n {here} route add default via {GATEWAY}"] if self.address != GATEWAY else []))
        self.plugged = True

    def unplug(self):
        """Its address vanishes; whatever was under way to or from it is lost."""
        _ip(f"-n {self.network.switch} link del {self.port}")
        self.plugged = False

    def no_way_to(self, others):
        """Packets from here to the others are lost without a word; those from there arrive."""
        _ip(*(f"-n {self.namespace} neigh replace {other.address} lladdr 02:00:00:00:00:00 "
              "dev eth0 nud permanent" for other in others))

    def way_to(self, others):
        """Undoes `no_way_to`."""
        _ip(*(f"-n {self.namespace} neigh del {other.address} dev eth0" for other in others))

    def connect(self, address, port, timeout=1.0):
        """A connection from here."""
        with inside(self.namespace):
            return resp.Connection(port, address, timeout)

    def run(self, *command, **options):
        """A command that runs here, to its end."""
        options.setdefault("timeout", 60)
        command = ["ip", "netns", "exec", self.namespace, *map(str, command)]
        return subprocess.run(command, text=True, capture_output=True, **options)


class Container(Place):
    """A service of the compose file."""

    def __init__(self, network, name, number, service):
        super().__init__(network, name, number)
        self.service = service
        self.folder = network.folder / name
        self.folder.mkdir()
        self.log_path = network.folder / f"{name}.log"
        self.process = None
        self.command = [str(word) for word in service.get("command", ["redis-server"])]
        for volume in service.get("volumes", []):
            source, _, target = volume.removesuffix(":ro").partition(":")
            if source.startswith("./"):
                copy = network.folder / f"{name}-{pathlib.Path(target).name}"
                shutil.copy(harness.ROOT / source, copy)
                self.command = [str(copy) if word == target else word for word in self.command]
        self.published = [(int(host), int(inner)) for host, inner in
                          (port.split(":")[-2:] for port in service.get("ports", []))]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))

    @property
    def client_port(self):
        """Where it serves, as far as its published port tells."""
        return self.published[0][1]

    def environment(self):
        bins = f"{self.network.bin}:{harness.ROOT / 'deploy/docker'}"
        return {"PATH": f"{bins}:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/", "RUST_BACKTRACE": "1",
                **{name: str(value) for name, value in self.service.get("environment", {}).items()},
                **self.network.environment}

    def start(self):
        """As `docker start`."""
        if not self.plugged:
            self.plug()
        self.network.write_hosts(self)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", self.namespace, "docker-entrypoint.sh", *self.command],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                env=self.environment(), preexec_fn=harness._die_with_us)
        self.network.write_hosts()
        return self

    @property
    def pid(self):
        return self.process.pid

    @property
    def log(self):
        return self.log_path.read_text(errors="replace")

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def stop(self, deadline_s=20):
        """As `docker stop`: SIGTERM, and when the process has ended its address is gone. Its exit
        status."""
        self.process.terminate()
        status = self.process.wait(deadline_s)
        self._gone()
        return status

    def kill(self):
        """As `docker kill`: the kernel closes the sockets, then the address is gone."""
        self.process.kill()
        self.process.wait()
        self._gone()

    def vanish(self):
        """The machine is gone: nobody is told that connections have ended."""
        self.unplug()
        self.process.kill()
        self.process.wait()
        self.network.write_hosts()

    def _gone(self):
        if self.plugged:
            self.unplug()
        self.network.write_hosts()

    def signal(self, number):
        os.kill(self.pid, number)

    def call(self, *arguments, timeout=5.0):
        """The reply of the node or sentinel to a client that stands beside it."""
        connection = self.connect(self.address, self.client_port, timeout)
        try:
            return connection.call(*arguments)
        finally:
            connection.close()

    def text(self, *arguments):
        answer = self.call(*arguments)
        if isinstance(answer, tuple):
            answer = answer[1]
        assert isinstance(answer, bytes) and not isinstance(answer, resp.Error), answer
        return answer.decode()

    def healthcheck(self):
        """The image's health check in this container."""
        done = self.run("docker-healthcheck.sh", self.pid, env=self.environment(), cwd=self.folder)
        return done.returncode == 0

    def replication(self):
        lines = self.text("INFO", "replication").splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)


class Network:
    """The services of a compose file, their network and its host."""

    def __init__(self, folder, services, clients=(), environment=None):
        self.prefix = f"slw{os.getpid() % 100000}{random.randrange(36 ** 2):03d}"
        self.switch = f"{self.prefix}-switch"
        self.folder = pathlib.Path(folder)
        # The user that nodes run as reads and enters these.
        self.folder.chmod(0o755)
        self.environment = environment or {}
        self.bin = self.folder / "bin"
        self.bin.mkdir()
        shutil.copy(harness.BINARY, self.bin / "slotward")
        for name in ("redis-server", "redis-sentinel"):
            (self.bin / name).symlink_to("slotward")
        compose = yaml.safe_load((harness.ROOT / "docker-compose.yml").read_text())
        numbers = itertools.count(2)
        self.containers = {name: Container(self, name, next(numbers), compose["services"][name])
                           for name in services}
        self.clients = {name: Place(self, name, next(numbers)) for name in clients}
        self.host = Place(self, "host", 1)
        self.proxies = []

    def __getitem__(self, name):
        return self.containers.get(name) or self.clients[name]

    def places(self):
        return [self.host, *self.containers.values(), *self.clients.values()]

    def __enter__(self):
        try:
            _ip(f"netns add {self.switch}",
                *(f"-n {self.switch} link add {bridge} type bridge" for bridge in ("br0", "br1")),
                *(f"-n {self.switch} link set {bridge} up" for bridge in ("br0", "br1")),
                *(command for place in self.places() for command in place.make()))
            self.host.plug()
            for client in self.clients.values():
                client.plug()
            self.publish()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for proxy in self.proxies:
            proxy.close()
        for container in self.containers.values():
            if container.alive():
                container.process.kill()
                container.process.wait()
        for namespace in [self.switch, *(place.namespace for place in self.places())]:
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True)
            shutil.rmtree(f"/etc/netns/{namespace}", ignore_errors=True)
        with contextlib.suppress(OSError):
            os.rmdir("/etc/netns")
        for container in self.containers.values():
            if container.log_path.exists():
                assert "panicked at" not in container.log, f"{container.name} panicked"

    def write_hosts(self, new=None):
        """Who has an address has a name, and nobody else, as with Docker's DNS."""
        here = [place for place in self.containers.values() if place.alive() or place is new]
        lines = [f"{place.address} {place.name}\n" for place in here]
        for place in [*here, *self.clients.values()]:
            folder = pathlib.Path("/etc/netns") / place.namespace
            folder.mkdir(parents=True, exist_ok=True)
            # Written in place: the file is mounted over the container's /etc/hosts.
            (folder / "hosts").write_text("127.0.0.1 localhost\n" + "".join(lines))
            resolver = folder / "resolv.conf"
            if not resolver.exists():
                # Nobody listens there: an unknown name is refused at once.
                resolver.write_text("nameserver 127.0.0.11\noptions attempts:1 timeout:1\n")

    def publish(self):
        for container in self.containers.values():
            for host_port, inner in container.published:
                self.proxies.append(Proxy(self.host, host_port, container.address, inner))

    def start(self, *names):
        for name in names or self.containers:
            self.containers[name].start()

    def wait_healthy(self, *names):
        for name in names or self.containers:
            container = self.containers[name]

            def answers():
                if not container.alive():
                    raise RuntimeError(f"{name} ended:\n{container.log[-3000:]}")
                return container.call("PING") == resp.Status(b"PONG")
            harness.eventually(answers, f"{name} to answer")

    def cut(self, *names):
        """Takes these to the other side of a partition: two bridges that share nothing."""
        _ip(*(f"-n {self.switch} link set {self[name].port} master br1" for name in names))

    def heal(self):
        _ip(*(f"-n {self.switch} link set {place.port} master br0"
              for place in self.places() if place.plugged))


class Proxy:
    """A port of the host's loopback that leads into a container, as Docker's userland proxy: the
    container sees the gateway's address."""

    def __init__(self, host, port, address, inner):
        self.host, self.target = host, (address, inner)
        with inside(host.namespace):
            self.listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        with contextlib.suppress(OSError):
            # Wakes the thread that waits in accept.
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self):
        with inside(self.host.namespace):
            while True:
                try:
                    client, _ = self.listener.accept()
                except OSError:
                    return  # It was closed.
                try:
                    server = socket.create_connection(self.target, timeout=5)
                    server.settimeout(None)
                except OSError:
                    client.close()
                    continue
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=_copy, args=pair, daemon=True).start()


def _copy(source, target):
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


class Hook:
    """Acts on containers for `slotward drill --exec`, which runs in a namespace itself."""

    def __init__(self, network):
        self.network = network
        self.path = network.folder / "hook"
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen()
        self.actions = []
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def command(self):
        return f"{sys.executable} {harness.ROOT / 'tests/drill_hook.py'} {self.path}"

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _serve(self):
        while True:
            try:
                asker, _ = self.listener.accept()
            except OSError:
                return  # It was closed.
            with asker, asker.makefile("rw") as lines:
                try:
                    self._act(*lines.readline().split())
                    answer = "done"
                except Exception as error:  # The asker is told, and fails.
                    answer = repr(error)
                lines.write(f"{answer}\n")

    def _act(self, action, address):
        container = self.network[address.rsplit(":", 1)[0]]
        {
            "stop": container.stop,
            "kill": container.kill,
            "start": container.start,
            "freeze": lambda: container.signal(signal.SIGSTOP),
            "thaw": lambda: container.signal(signal.SIGCONT),
            "isolate": container.unplug,
            "heal": container.plug,
        }[action]()
        self.actions.append(f"{action} {address}")


class Writer:
    """Writes numbers to one key of a shard for as long as it is told, and remembers which were
    acknowledged and when. Follows redirects among the nodes that it is given; where one does not
    answer it tries the next."""

    PATIENCE_S = 0.25

    def __init__(self, place, nodes, key):
        self.place, self.nodes, self.key = place, list(nodes), key
        self.acknowledged = []  # (number, sent at, received at)
        self.errors = []  # (at, text)
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join(10)

    def _run(self):
        with inside(self.place.namespace):
            turn, connection = 0, None
            for number in itertools.count(1):
                while not self.stopping.is_set():
                    node = self.nodes[turn % len(self.nodes)]
                    sent = time.monotonic()
                    try:
                        connection = connection or resp.Connection(
                            node.client_port, node.address, self.PATIENCE_S)
                        answer = connection.call("SET", self.key, number)
                    except OSError as error:
                        answer = resp.Error(str(error).encode() or repr(error).encode())
                    now = time.monotonic()
                    if not isinstance(answer, resp.Error):
                        self.acknowledged.append((number, sent, now))
                        break
                    text = answer.decode(errors="replace")
                    self.errors.append((now, text))
                    turn = self._next(turn, text)
                    if connection:
                        connection.close()
                    connection = None
                    time.sleep(0.005)
                if self.stopping.is_set():
                    return
                time.sleep(0.001)

    def _next(self, turn, text):
        moved = re.match(r"MOVED \d+ (\S+):\d+$", text)
        for index, node in enumerate(self.nodes):
            if moved and moved[1] in (node.name, node.address):
                return index
        return turn + 1

    def count(self):
        return len(self.acknowledged)

    def wait_writes(self, more=20, deadline_s=30):
        """Waits for further acknowledged writes."""
        enough = self.count() + more
        harness.eventually(lambda: self.count() >= enough, f"writes by {self.place.name}",
                           deadline_s)

    def outage(self):
        """The longest time without an acknowledged write: (seconds, its begin, its end)."""
        times = [received for _, _, received in self.acknowledged]
        gaps = ((after - before, before, after) for before, after in zip(times, times[1:]))
        return max(gaps)
