"""Orderly and disorderly ends under writes: `slotward drill`, `SIGTERM`, `SHUTDOWN`, loss reports."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time

import pytest
import redis

import harness
from harness import HOST, Cluster, eventually, free_ports, redis_cli, run_binary
from resp import Connection, encode


@pytest.fixture(scope="module")
def running():
    """A cluster of 3 + 3 started by `cluster up`, whose processes a drill may start anew."""
    folder = tempfile.mkdtemp(prefix="slotward-drill-")
    sentinel_port, port = free_ports(3)[0], free_ports(6)[0]
    layout = ["--dir", os.path.join(folder, "data"), "--port", port, "--sentinel-port", sentinel_port]
    try:
        # On a busy machine a change may take the sentinels too long; `up` goes on where it was.
        eventually(lambda: run_binary("cluster", "up", *layout)[0] == 0, "the cluster to be up")
        yield {"port": port, "sentinels": [f"{HOST}:{sentinel_port + n}" for n in range(3)]}
    finally:
        status, out, err = run_binary("cluster", "down", *layout)
        logs = [os.path.join(path, "log") for path, _, files in os.walk(folder) if "log" in files]
        panics = [log for log in logs if "panicked at" in open(log, errors="replace").read()]
        shutil.rmtree(folder, ignore_errors=True)
        assert status == 0 and not panics, out + err + str(panics)


def drill(running, fault, *options):
    """The report of a drill that went as it must."""
    status, out, err = run_binary(
        "drill", "--sentinels", ",".join(running["sentinels"]), "--fault", fault, "--json", *options)
    assert status == 0, out + err
    report = json.loads(out)
    assert report["problems"] == 0 and report["fault"] == fault
    # The machine may be busy: this is what a client would call down, not what we promise.
    assert report["outage_max_ms"] < 10_000, out
    return report


def sentinel_status(running):
    host, port = running["sentinels"][0].split(":")
    return json.loads(redis_cli("-h", host, "-p", port, "SENTINEL", "SLOTWARD-STATUS"))


def test_a_master_that_is_asked_to_stop_hands_over(running):
    report = drill(running, "stop", "--rounds", "2")
    assert report["stop_max_ms"] < 10_000
    for outcome in report["rounds"]:
        (affected,) = [shard for shard in outcome["shards"] if shard["affected"]]
        assert affected["lost_acknowledged"] == 0
        refusals = set(affected["errors"]) - {"timeout", "lost", "unreachable"}
        assert not refusals, f"clients were refused instead of being sent on: {affected}"
        (loss,) = outcome["loss_reports"]
        assert loss["exact"] and loss["lost_bytes"] == 0, loss
        assert outcome["reads_gone_backwards"] == 0


def test_a_killed_master_is_succeeded_and_what_is_known_is_on_record(running):
    report = drill(running, "kill")
    (outcome,) = report["rounds"]
    (loss,) = outcome["loss_reports"]
    assert not loss["exact"], "a process that was killed cannot have said where its history ended"
    assert loss["end"] >= loss["taken"] > 0


def test_a_frozen_master_executes_nothing_when_it_goes_on(running):
    report = drill(running, "freeze")
    (outcome,) = report["rounds"]
    assert outcome["writes_to_the_frozen"] > 0 and outcome["executed_by_the_thawed"] == 0
    (loss,) = outcome["loss_reports"]
    assert loss["exact"], "the old master came back and said where its history ended"
    # The same in INFO, on the old master and on the new one.
    (shard,) = [shard for shard in sentinel_status(running)["shards"]
                if shard["name"] == outcome["shard"]]
    for member in shard["members"]:
        host, port = member["address"].split(":")

        def told():
            info = redis.Redis(host, port).info("replication")
            assert info["slotward_last_failover_epoch"] == loss["epoch"]
            assert info["slotward_last_failover_lost_bytes"] == loss["lost_bytes"]
            return info["slotward_last_failover_lost_exact"] == 1
        eventually(told, "the node to know of the loss report")


def test_the_leader_and_a_master_die_at_once(running):
    report = drill(running, "leader-and-master")
    assert len(report["rounds"][0]["victims"]) == 2


def test_clients_do_not_notice_that_all_sentinels_are_gone(running):
    drill(running, "sentinels", "--duration", "2")


def test_a_replica_and_a_sentinel_leave_in_order(running):
    report = sentinel_status(running)
    replica = report["shards"][0]["members"][1]
    assert replica["role"] == "replica"
    for node in (replica["address"], report["leader"]):
        outcome = drill(running, "stop", "--node", node)["rounds"][0]
        assert outcome["shard"] is None and outcome["victims"] == [node]
        assert not any(shard["errors"] for shard in outcome["shards"]), outcome
    epochs = [shard["epoch"] for shard in report["shards"]]
    assert [shard["epoch"] for shard in sentinel_status(running)["shards"]] == epochs


def test_what_a_drill_cannot_do_is_said(running):
    sentinels = ",".join(running["sentinels"])
    for options, words in [
        (["--fault", "isolate"], "needs --exec"),
        (["--shard", "nowhere"], "there is no shard nowhere"),
        (["--node", f"{HOST}:1"], "is not a process of this machine"),
        (["--exec", "false"], "false ended with"),
    ]:
        status, out, err = run_binary("drill", "--sentinels", sentinels, *options)
        assert status == 1 and words in out + err, (options, out, err)
    status, _, err = run_binary("drill", "--sentinels", f"{HOST}:1")
    assert status == 1 and "no sentinel tells its status" in err


def test_a_hook_is_used_in_place_of_signals(running, folder):
    """What a drill of containers does, with a script that knows the processes of this one."""
    script = os.path.join(folder, "hook")
    with open(script, "w") as file:
        file.write('#!/bin/sh\necho "$1 $2" >> "$0.said"\n'
                   'pid=$(cat "$0.pid" 2>/dev/null ||'
                   ' redis-cli -p "${2##*:}" INFO server | sed -n "s/process_id:\\([0-9]*\\).*/\\1/p")\n'
                   'case $1 in\n freeze) echo "$pid" > "$0.pid"; kill -STOP "$pid";;\n'
                   ' thaw) kill -CONT "$pid";;\n *) exit 1;;\nesac\n')
    os.chmod(script, 0o755)
    seed = f"{HOST}:{running['port']}"
    status, out, err = run_binary("drill", "--seed", seed, "--fault", "freeze", "--exec", script)
    assert status == 0, out + err
    said = open(script + ".said").read().split()
    assert said[::2] == ["freeze", "thaw"] and said[1] == said[3], said
    assert "loss report" in out and "cells of" in out


def test_an_interrupted_drill_leaves_nobody_frozen(running):
    command = [harness.BINARY, "drill", "--seed", f"{HOST}:{running['port']}", "--fault", "freeze",
               "--duration", "60"]
    drilling = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    report = sentinel_status(running)
    pids = {redis.Redis(*member["address"].split(":")).info("server")["process_id"]
            for shard in report["shards"] for member in shard["members"]}

    def frozen():
        states = [open(f"/proc/{pid}/stat").read().rsplit(") ", 1)[1][0] for pid in pids]
        return states.count("T")
    try:
        eventually(lambda: frozen() == 1, "a node to be frozen")
        drilling.send_signal(signal.SIGINT)
        assert drilling.wait(harness.DEADLINE_S) == 130
        assert frozen() == 0
    finally:
        drilling.kill()
        drilling.wait()


def test_a_plain_group_is_drilled_too(plain_group):
    group = {"sentinels": [sentinel.address for sentinel in plain_group.sentinels]}
    (outcome,) = drill(group, "freeze")["rounds"]
    assert outcome["shard"] == "mymaster" and outcome["executed_by_the_thawed"] == 0


def test_a_plain_master_stops_without_losing_what_it_acknowledged(plain_group):
    old = plain_group.settled()
    client, acknowledged, last = old.client(), [], []

    def write():
        for number in range(1_000_000):
            try:
                acknowledged.append(client.rpush("numbers", number) and number)
            except redis.RedisError as error:
                last.append(error)
                return
    thread = threading.Thread(target=write)
    thread.start()
    eventually(lambda: len(acknowledged) > 100, "writes")
    begun = time.monotonic()
    assert old.stop() == 0
    assert time.monotonic() - begun < 10
    thread.join()
    # Held until it was clear who is master, then told so; or it came after the end.
    assert isinstance(last[0], (redis.exceptions.ReadOnlyError, redis.ConnectionError)), last
    new = plain_group.wait_settled()
    assert new is not old
    assert [int(item) for item in new.client().lrange("numbers", 0, -1)] == acknowledged
    info = new.info("replication")
    assert info["slotward_last_failover_lost_bytes"] == 0
    assert info["slotward_last_failover_lost_exact"] == 1


def test_what_a_stopping_master_executed_it_answered(plain_group):
    """Clients that send many writes at once get the answer to each that took effect."""
    old = plain_group.settled()
    started, results = threading.Barrier(5), {}

    def pipeline(name):
        connection, acknowledged = Connection(old.port, timeout=30), []
        batch = [encode(["RPUSH", name, number]) for number in range(30)]
        refused = 0
        try:
            for _ in range(1_000_000):
                connection.send(b"".join(batch))
                if not acknowledged:
                    started.wait(harness.DEADLINE_S)
                for _ in batch:
                    reply = connection.read()
                    if isinstance(reply, int):
                        acknowledged.append(reply)
                    else:
                        assert bytes(reply).startswith(b"READONLY"), reply
                        refused += 1
                if refused:
                    break
        except OSError:
            pass
        results[name] = (acknowledged, refused)
    threads = [threading.Thread(target=pipeline, args=(f"list:{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    started.wait(harness.DEADLINE_S)
    assert old.stop() == 0
    for thread in threads:
        thread.join()
    new = plain_group.wait_settled()
    for name, (acknowledged, refused) in results.items():
        assert acknowledged == list(range(1, len(acknowledged) + 1))
        assert new.client().llen(name) == len(acknowledged), "executed and not answered, or lost"
        assert refused > 0, "it was cut off instead of being sent away"


def test_a_master_that_finds_no_successor_does_not_wait_for_ever(plain_group):
    old = plain_group.settled()
    replicas = [node for node in plain_group.nodes if node is not old]
    for replica in replicas:
        replica.signal(signal.SIGSTOP)
    begun = time.monotonic()
    assert old.stop() == 0
    assert time.monotonic() - begun < 10
    assert "nobody has taken this master's place" in old.log
    for replica in replicas:
        replica.signal(signal.SIGCONT)


def test_the_loss_report_accounts_for_acknowledged_writes_that_were_lost(folder):
    """A replica that stands still gets no further than its socket's buffers; then its master does."""
    group = harness.Group(folder, sentinel_options=("--down-after-ms", "4000"))
    for _ in range(2):
        group.add_node("--shard-name", "mymaster")
    megabyte, count = b"x" * 1_000_000, 30
    try:
        group.start()
        eventually(group.promotable, "the group to form")
        roles = {node.info("replication")["role"]: node for node in group.nodes}
        old, new = roles["master"], roles["slave"]
        new.signal(signal.SIGSTOP)
        client = old.client()
        for number in range(count):
            assert client.set(f"big:{number}", megabyte)
        old.signal(signal.SIGSTOP)
        new.signal(signal.SIGCONT)
        eventually(lambda: new.client().set("taken", "over"), "the replica to take over")
        kept = sum(new.client().exists(f"big:{number}") for number in range(count))
        assert kept < count, "the buffers took everything: nothing was lost"
        old.signal(signal.SIGCONT)

        def told():
            info = new.info("replication")
            assert info["slotward_last_failover_lost_exact"] == 1, info
            return info
        info = eventually(told, "the old master to say where its history ended")
        # Each lost write is its value, and a few words around it.
        lost_bytes = info["slotward_last_failover_lost_bytes"]
        of_it = (count - kept) * len(megabyte)
        assert of_it <= lost_bytes < of_it + 100_000, (kept, info)
        eventually(lambda: old.info("replication")["master_link_status"] == "up", "it to follow")
        assert f"{lost_bytes} bytes that were executed here were not taken over" in old.log
        report = json.loads(group.sentinels[0].call("SENTINEL", "SLOTWARD-STATUS"))
        (takeover,) = report["shards"][0]["takeovers"]
        assert takeover["lost_bytes"] == takeover["end"] - takeover["taken"] == lost_bytes
        assert any("+left-behind" in sentinel.log for sentinel in group.sentinels)
    finally:
        group.kill()
        harness.assert_no_panic(group.sentinels + group.nodes)


def test_shutdown_goes_the_same_way_and_can_be_taken_back(plain_group):
    old = plain_group.settled()
    with pytest.raises(redis.ResponseError, match="No shutdown in progress"):
        old.call("SHUTDOWN", "ABORT")
    for words in (["NOSAVE", "SAVE"], ["ABORT", "NOW"], ["LATER"]):
        with pytest.raises(redis.ResponseError, match="syntax error"):
            old.call("SHUTDOWN", *words)
    # With its replicas standing still nobody can take over, and the stop waits for that.
    replicas = [node for node in plain_group.nodes if node is not old]
    for replica in replicas:
        replica.signal(signal.SIGSTOP)
    try:
        asking = Connection(old.port, timeout=30)
        asking.send(encode(["SHUTDOWN", "NOSAVE"]))
        other = Connection(old.port, timeout=30)
        eventually(lambda: bytes(other.call("SHUTDOWN", "ABORT")) == b"OK", "a shutdown to abort")
        assert b"Errors trying to SHUTDOWN" in bytes(asking.read())
    finally:
        for replica in replicas:
            replica.signal(signal.SIGCONT)
    # A consent that was given is final; whoever is master now, everybody lives.
    plain_group.wait_settled()
    assert all(node.alive() for node in plain_group.nodes)
    master = plain_group.settled()
    redis_cli("-p", master.port, "SHUTDOWN", check=False)
    assert master.process.wait(harness.DEADLINE_S) == 0
    assert plain_group.wait_settled() is not master


def test_a_second_signal_hurries(plain_group):
    old = plain_group.settled()
    for replica in plain_group.nodes:
        if replica is not old:
            replica.signal(signal.SIGSTOP)
    try:
        old.signal(signal.SIGTERM)
        eventually(lambda: "scheduling shutdown" in old.log, "the stop to begin")
        old.signal(signal.SIGINT)
        assert old.process.wait(harness.DEADLINE_S) == 0
        assert "waiting for nobody" in old.log
    finally:
        for replica in plain_group.nodes:
            if replica is not old:
                replica.signal(signal.SIGCONT)


def test_all_stop_at_once(folder):
    cluster = Cluster(folder)
    try:
        cluster.start()
        cluster.create()
        everybody = cluster.nodes + cluster.sentinels
        begun = time.monotonic()
        for process in everybody:
            process.signal(signal.SIGTERM)
        for process in everybody:
            assert process.process.wait(harness.DEADLINE_S) == 0, process.log[-2000:]
        assert time.monotonic() - begun < 10
    finally:
        cluster.kill()
        harness.assert_no_panic(cluster.sentinels + cluster.nodes)
