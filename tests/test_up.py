"""`slotward cluster up|down|status`: the one command, on ports of our own."""

import json
import os
import signal
import socket

import pytest

from harness import HOST, Cluster, eventually, free_ports, redis_cli, run_binary


@pytest.fixture
def layout(folder):
    """The arguments of a cluster of our own; `down` and a check that nothing is left at the end."""
    sentinel_port = free_ports(3)[0]
    port = free_ports(6)[0]
    data = os.path.join(folder, "data")
    arguments = ["--dir", data, "--port", port, "--sentinel-port", sentinel_port]
    yield {"arguments": arguments, "port": port, "sentinel_port": sentinel_port, "data": data}
    started = pids(data)
    status, out, err = run_binary("cluster", "down", *arguments)
    left = [pid for pid in started.values() if lives(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert status == 0 and not left, out + err


def pids(data):
    found = {}
    for name in os.listdir(data):
        path = os.path.join(data, name, "pid")
        if os.path.exists(path):
            with open(path) as file:
                found[name] = int(file.read())
    return found


def lives(pid):
    """Whether it runs; one that nobody has waited for yet does not."""
    try:
        with open(f"/proc/{pid}/cmdline") as file:
            return bool(file.read())
    except FileNotFoundError:
        return False


def up(layout, **options):
    status, out, err = run_binary("cluster", "up", *layout["arguments"], **options)
    assert status == 0, out + err
    return out, err


def test_up_forms_finds_and_heals(layout):
    port = layout["port"]
    out, err = up(layout)
    assert "16384 slots" in out and f"redis-cli -c -h {HOST} -p {port}" in out, out
    check = redis_cli("--cluster", "check", f"{HOST}:{port}")
    assert "[OK] All 16384 slots covered." in check
    assert redis_cli("-c", "-p", port, "SET", "kept", "1").strip().endswith("OK")
    before = pids(layout["data"])
    assert len(before) == 9

    # Again: it finds what is there.
    out, err = up(layout)
    assert "already running" in err and "16384 slots" in out, out + err
    assert pids(layout["data"]) == before

    # Something is missing: it heals.
    os.kill(before[f"node-{port}"], signal.SIGKILL)
    os.kill(before[f"sentinel-{layout['sentinel_port']}"], signal.SIGKILL)
    eventually(lambda: not lives(before[f"node-{port}"]), "it to be dead")
    out, err = up(layout)
    assert "2 missing processes" in err, err
    assert redis_cli("-c", "-p", port, "GET", "kept").strip().endswith("1")


def test_status_as_table_and_json(layout):
    up(layout)
    sentinels = ",".join(f"{HOST}:{layout['sentinel_port'] + n}" for n in range(3))
    status, out, err = run_binary("cluster", "status", "--sentinels", sentinels)
    assert status == 0, err
    assert out.count("master") == 3 and out.count("replica") == 3, out
    assert "leader" in out and "lease" in out
    status, out, err = run_binary("cluster", "status", "--json", "--sentinels", sentinels)
    report = json.loads(out)
    assert len(report["shards"]) == 3


def test_a_taken_port_is_said_clearly(layout):
    os.makedirs(layout["data"])
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind((HOST, layout["port"] + 2))
        other.listen()
        status, out, err = run_binary("cluster", "up", *layout["arguments"])
    assert status != 0
    assert f"port {layout['port'] + 2}" in err and "did not start" in err, err
    assert not pids(layout["data"]), "nothing was started"


def test_down_twice(layout):
    up(layout)
    status, out, err = run_binary("cluster", "down", *layout["arguments"])
    assert status == 0, err
    status, out, err = run_binary("cluster", "down", *layout["arguments"])
    assert status == 0 and "Nothing" in out, out + err
    # And up again keeps the topology, for the sentinels remember.
    up(layout)


def test_form_does_what_is_missing_and_clients_from_elsewhere_are_told_their_host(folder):
    outside = ("--announce-to", f"{HOST}/32 outside.example")
    cluster = Cluster(folder, masters=2, options=outside, sentinel_options=outside)
    try:
        cluster.start()
        form = ["cluster", "form", "--masters", 2,
                "--sentinels", ",".join(sentinel.address for sentinel in cluster.sentinels),
                *(node.address for node in cluster.nodes)]
        for _ in range(2):
            status, out, err = run_binary(*form)
            assert status == 0 and "2 shards, 16384 slots" in out, out + err
        node, sentinel = cluster.nodes[0], cluster.sentinels[0]
        for asked in (node, sentinel):
            lines = redis_cli("-p", asked.port, "CLUSTER", "NODES").splitlines()
            hosts = {line.split(" ")[1].split(":")[0] for line in lines if line}
            assert len(lines) >= 4 and hosts == {"outside.example"}, lines
        slots = node.call("CLUSTER", "SLOTS")
        assert len(slots) == 2 and HOST not in str(slots), slots
        answers = [redis_cli("-p", node.port, "GET", key) for key in "abcdefgh"]
        moved = [answer.split() for answer in answers if answer.startswith("MOVED")]
        assert moved and all(words[2].startswith("outside.example:") for words in moved), answers
        # Among themselves they go by the announced addresses.
        replicas = [node.info("replication") for node in cluster.nodes]
        assert {info["master_host"] for info in replicas if info["role"] == "slave"} == {HOST}
    finally:
        cluster.kill()


def test_form_refuses_what_cannot_be():
    for arguments, why in [
        (["--sentinels", "h:1", "nowhere"], "is no address of a node"),
        (["h:1"], "--sentinels"),
        (["--sentinels", "h:1", "--masters", "2", f"{HOST}:1"], "cannot be chosen among 1 nodes"),
    ]:
        status, out, err = run_binary("cluster", "form", *arguments)
        assert status != 0 and why in err, out + err
