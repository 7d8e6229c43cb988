"""Sentinels with equal configuration files, no peers named, find each other and form one group."""

import json
import os
import pathlib
import random
import signal
import time

import pytest
import redis

import harness
from harness import HOST, eventually

ROUNDS = int(os.environ.get("DISCOVERY_ROUNDS", "6"))


class Found:
    """Sentinels that know of a watched server and not of each other."""

    def __init__(self, folder, master_port, count=3, quorum=2, lines=(), host=HOST):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file = self.folder / "sentinel.conf"
        self.file.write_text("\n".join([
            f"sentinel monitor mymaster {host} {master_port} {quorum}",
            "sentinel resolve-hostnames yes",
            "sentinel announce-hostnames yes",
            "sentinel down-after-milliseconds mymaster 5000",
            "sentinel failover-timeout mymaster 60000",
            "sentinel parallel-syncs mymaster 1",
            *lines, ""]))
        self.sentinels = [self.sentinel() for _ in range(count)]

    def sentinel(self):
        port = harness.free_port()
        folder = self.folder / f"sentinel-{port}"
        command = [harness.BINARY, "sentinel", self.file, "--port", port, "--dir", folder,
                   "--bind", HOST]
        return harness.Process(command, port, folder)

    def start(self):
        for sentinel in self.sentinels:
            sentinel.start(wait=False)

    def kill(self):
        for sentinel in self.sentinels:
            sentinel.kill()

    def reports(self):
        return [json.loads(sentinel.call("SENTINEL", "SLOTWARD-STATUS"))
                for sentinel in self.sentinels if sentinel.alive()]

    def one_group(self, voters=None):
        """One group, one leader, all of them in it; the group's name."""
        voters = voters or len(self.sentinels)
        reports = self.reports()
        assert len({report["group"] for report in reports}) == 1, [r["group"] for r in reports]
        assert reports[0]["group"]
        assert len({report["leader"] for report in reports}) == 1
        assert reports[0]["leader"]
        everybody = {sentinel.address for sentinel in self.sentinels}
        for report in reports:
            members = report["sentinels"]
            assert len(members) == voters, members
            assert all(member["voter"] for member in members), members
            assert {member["address"] for member in members} <= everybody | {None}
        return reports[0]["group"]

    def wait_one_group(self, voters=None):
        return eventually(lambda: self.one_group(voters), "one group of all sentinels")

    def names(self):
        """Every group's name that any sentinel ever logged to have belonged to."""
        found = set()
        for sentinel in self.sentinels:
            for line in sentinel.log.splitlines():
                if "belongs to the group from its start" in line or "formed the group" in line:
                    found.add(line.split("group=")[1].split()[0])
        return found


@pytest.fixture
def found(folder, start_node):
    """Makes sentinels that watch a server; kills them at the end."""
    made = []

    def make(port, **options):
        made.append(Found(pathlib.Path(folder) / f"found-{len(made)}", port, **options))
        return made[-1]

    yield make
    for one in made:
        one.kill()
        harness.assert_no_panic(one.sentinels)


def test_equal_files_form_one_group_and_watch_the_master(found, start_node):
    master = start_node()
    master.call("SET", "from", "before")
    three = found(master.port)
    three.start()
    name = three.wait_one_group()
    def known():
        return all(tuple(s.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster") or ()) ==
                   (HOST, str(master.port)) for s in three.sentinels)
    eventually(known, "the sentinels to know the master")
    eventually(lambda: master.call("SET", "after", "1"), "the master to serve under its lease")
    assert master.call("GET", "from") == "before"
    assert three.names() == {name}
    for sentinel in three.sentinels:
        assert len(sentinel.call("SENTINEL", "SENTINELS", "mymaster")) == 2
        assert "OK 3 usable" in str(sentinel.call("SENTINEL", "CKQUORUM", "mymaster"))


def test_a_master_is_known_by_the_name_under_which_it_is_watched(found, start_node):
    master = start_node()
    replica = start_node("--replicaof", HOST, master.port)
    three = found(master.port, host="localhost")
    three.start()
    three.wait_one_group()
    def named():
        return all(s.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster") ==
                   ["localhost", str(master.port)] for s in three.sentinels)
    eventually(named, "the sentinels to know the master by its name")
    def follows():
        info = replica.info("replication")
        return (info.get("master_host"), info.get("master_link_status")) == ("localhost", "up")
    eventually(follows, "the replica to follow the name")


def test_they_start_at_once_and_die_in_between(found, start_node):
    """The same again and again: random order and pauses, some killed and started anew, some frozen
    (to the others: cut off) in the middle. DISCOVERY_ROUNDS says how often."""
    master = start_node()
    chance = random.Random(4711)
    for round_number in range(ROUNDS):
        # A master belongs to one group for life: each round has its own name and server.
        server = master if round_number == 0 else start_node()
        three = found(server.port)
        order = three.sentinels[:]
        chance.shuffle(order)
        for sentinel in order:
            sentinel.start(wait=False)
            time.sleep(chance.choice([0, 0, 0.02, 0.3]))
        victim = chance.choice(order)
        if round_number % 3:
            time.sleep(chance.random() * 2)
        if round_number % 3 == 1:
            victim.kill()
            time.sleep(chance.choice([0, 0.2]))
            victim.start(wait=False)
        elif round_number % 3 == 2:
            victim.signal(signal.SIGSTOP)
            time.sleep(chance.choice([0.5, 3]))
            victim.signal(signal.SIGCONT)
        name = three.wait_one_group()
        assert three.names() == {name}, f"round {round_number}"
        three.kill()


def test_one_that_comes_later_joins(found, start_node):
    master = start_node()
    three = found(master.port)
    late = three.sentinels.pop()
    three.start()
    name = three.wait_one_group()
    three.sentinels.append(late)
    late.start()
    assert three.wait_one_group() == name
    assert three.names() == {name}


def test_too_few_form_nothing(found, start_node):
    master = start_node()
    three = found(master.port, quorum=2)
    alone = three.sentinels[0]
    alone.start()
    eventually(lambda: "waits for others to form the group" in alone.log, "it to wait")
    assert json.loads(alone.call("SENTINEL", "SLOTWARD-STATUS"))["group"] is None
    assert master.call("SET", "nobody", "interferes")
    for sentinel in three.sentinels[1:]:
        sentinel.start(wait=False)
    three.wait_one_group()


def test_one_with_a_new_disk_takes_the_place_of_the_old(found, start_node):
    import shutil
    master = start_node()
    three = found(master.port)
    three.start()
    name = three.wait_one_group()
    lost = three.sentinels[0]
    before = lost.call("SENTINEL", "MYID")
    lost.kill()
    shutil.rmtree(lost.folder)
    lost.folder.mkdir()
    lost.start()
    def replaced():
        assert lost.call("SENTINEL", "MYID") != before
        return three.one_group() == name
    eventually(replaced, "the newcomer in the place of the old one")


def test_a_master_that_restarts_while_they_meet(found, start_node):
    master = start_node()
    three = found(master.port)
    three.start()
    for _ in range(3):
        master.kill()
        time.sleep(0.2)
        master.start()
    name = three.wait_one_group()
    eventually(lambda: master.call("SET", "x", "1"), "the master to serve")
    assert three.names() == {name}


def settled(three, nodes):
    """One master that serves, the rest its linked replicas, all promotable."""
    reports = three.reports()
    assert all(len(report["shards"]) == 1 for report in reports)
    (shard,) = reports[0]["shards"]
    assert shard["state"] == "ok", shard
    alive = [node for node in nodes if node.alive()]
    members = {member["address"]: member for member in shard["members"]}
    for node in alive:
        member = members.get(node.address)
        assert member and member["promotable"] and member["state"] == "online", member
    masters = [node for node in alive if members[node.address]["role"] == "master"]
    assert len(masters) == 1, masters
    master = masters[0]
    for node in alive:
        if node is not master:
            info = node.info("replication")
            assert info["role"] == "slave" and info["master_port"] == master.port
            assert info["master_link_status"] == "up"
    assert master.call("SET", "settled?", "yes")
    return master


def test_nodes_that_name_no_sentinels_fail_over(found, start_node):
    """A plain master with plain replicas, `--replicaof`, as the sentinels of Redis take them over."""
    master = start_node()
    master.call("SET", "precious", "data")
    replicas = [start_node("--replicaof", HOST, master.port) for _ in range(2)]
    eventually(lambda: all(r.call("GET", "precious") == "data" for r in replicas), "the replicas")
    nodes = [master, *replicas]
    three = found(master.port)
    three.start()
    three.wait_one_group()
    assert eventually(lambda: settled(three, nodes), "all nodes in the shard") is master
    with pytest.raises(redis.ResponseError, match="the sentinels decide"):
        master.call("REPLICAOF", "NO", "ONE")
    master.call("SET", "precious", "more")
    assert master.call("WAIT", 2, 30_000) == 2
    master.kill()
    new = eventually(lambda: settled(three, nodes), "another master")
    assert new is not master and new.call("GET", "precious") == "more"
    # Started as it was, without a word about sentinels: it remembers them and comes back a replica.
    master.start()
    eventually(lambda: settled(three, nodes) is new and
               master.call("GET", "precious") == "more", "the old master as a replica")


def test_a_watched_node_that_lost_its_folder_comes_back_as_a_replica(found, start_node):
    import shutil
    master = start_node()
    replica = start_node("--replicaof", HOST, master.port)
    # Known by a name, found again under it.
    three = found(master.port, host="localhost")
    three.start()
    three.wait_one_group()
    def promotable():
        (shard,) = [shard for report in three.reports()[:1] for shard in report["shards"]] or [None]
        return shard and shard["state"] == "ok" and len(shard["members"]) == 2 and all(
            member["promotable"] for member in shard["members"])
    eventually(promotable, "both nodes in the shard")
    master.call("SET", "precious", "data")
    assert master.call("WAIT", 1, 30_000) == 1
    master.kill()
    eventually(lambda: replica.call("SET", "more", "data"), "the replica to serve")
    shutil.rmtree(master.folder)
    master.folder.mkdir()
    master.start()
    eventually(lambda: master.call("GET", "precious") == "data", "the old master as a replica")
    assert master.info("replication")["role"] == "slave"


def test_a_node_with_data_of_its_own_does_not_rejoin(start_node):
    node = start_node()
    node.call("SET", "mine", "1")
    with pytest.raises(redis.ResponseError, match="data of its own"):
        node.call("SLOTWARD", "REJOIN", "0" * 32, "mymaster", "", f"{HOST}:1")
    assert node.call("GET", "mine") == "1"


def test_a_replica_is_watched(found, start_node):
    """The name in the file may have become a replica's: they meet there, and find the master."""
    master = start_node()
    replica = start_node("--replicaof", HOST, master.port)
    three = found(replica.port)
    three.start()
    three.wait_one_group()
    assert eventually(lambda: settled(three, [master, replica]), "both nodes") is master


def test_all_sentinels_gone_and_back(found, start_node):
    master = start_node()
    replica = start_node("--replicaof", HOST, master.port)
    nodes = [master, replica]
    three = found(master.port)
    three.start()
    name = three.wait_one_group()
    eventually(lambda: settled(three, nodes), "the shard")
    ids = [sentinel.call("SENTINEL", "MYID") for sentinel in three.sentinels]
    epoch = three.reports()[0]["shards"][0]["epoch"]
    for sentinel in three.sentinels:
        sentinel.kill()
    client = master.client()
    end = time.monotonic() + 4  # The lease is 1 s, down-after 5 s.
    count = 0
    while time.monotonic() < end:
        assert client.incr("still here")
        count += 1
    three.start()
    assert three.wait_one_group() == name
    assert eventually(lambda: settled(three, nodes), "the shard again") is master
    assert three.reports()[0]["shards"][0]["epoch"] == epoch, "nobody was failed over"
    assert ids == [sentinel.call("SENTINEL", "MYID") for sentinel in three.sentinels]
    assert int(client.get("still here")) == count


@pytest.mark.parametrize("password", ["", "secret"])
def test_a_server_of_redis_is_a_meeting_point(found, start_redis, password):
    options = ["--requirepass", password] if password else []
    server = start_redis(*options)
    lines = [f"sentinel auth-pass mymaster {password}"] if password else []
    three = found(server.port, lines=lines)
    three.start()
    three.wait_one_group()
    assert any("is no Slotward node" in sentinel.log for sentinel in three.sentinels)
    assert three.sentinels[0].call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster") is None


def test_the_sentinels_of_redis_do_not_count_ours(found, start_redis):
    harness.need("redis-server")
    server = start_redis()
    three = found(server.port)
    port = harness.free_port()
    conf = three.folder / "redis-sentinel.conf"
    conf.write_text(f"port {port}\nbind {HOST}\nsentinel monitor mymaster {HOST} {server.port} 2\n")
    theirs = harness.Process(["redis-server", conf, "--sentinel"], port, three.folder / "theirs")
    theirs.start()
    try:
        three.start()
        three.wait_one_group()
        assert theirs.call("SENTINEL", "SENTINELS", "mymaster") == []
    finally:
        theirs.kill()


def test_seeds_instead_of_a_server(found, start_node, folder):
    ports = [harness.free_port() for _ in range(3)]
    three = found(1)
    three.sentinels = []
    for at, port in enumerate(ports):
        seeds = " ".join(f"{HOST}:{other}" for other in (ports[:2] if at == 2 else ports))
        where = pathlib.Path(folder) / f"seeded-{port}"
        three.sentinels.append(harness.Process(
            [harness.BINARY, "sentinel", "--port", port, "--dir", where, "--bind", HOST,
             "--seeds", seeds], port, where))
    three.start()
    name = three.wait_one_group()
    assert three.names() == {name}


def test_all_come_back_at_other_addresses(found, start_node):
    """What a restart does to containers: other addresses, the same disks."""
    master = start_node()
    three = found(master.port)
    three.start()
    name = three.wait_one_group()
    eventually(lambda: settled(three, [master]), "the master to serve")
    three.kill()
    ports = harness.free_ports(3)
    for sentinel, port in zip(three.sentinels, ports):
        sentinel.command[sentinel.command.index(str(sentinel.port))] = str(port)
        sentinel.port = port
    three.start()
    assert three.wait_one_group() == name
    # The master hears of it from the leader, over its client port.
    def heartbeats():
        return all(member["connected"] for report in three.reports()
                   for shard in report["shards"] for member in shard["members"])
    eventually(heartbeats, "the master at the sentinels")
    eventually(lambda: settled(three, [master]), "the master to serve again")


def test_a_sentinel_that_is_gone_for_good_leaves(found, start_node):
    master = start_node()
    three = found(master.port)
    three.start()
    three.wait_one_group()
    gone = three.sentinels.pop()
    gone.kill()
    def left():
        for sentinel in three.sentinels:
            assert sentinel.call("SENTINEL", "RESET", "*") == 1
        return three.one_group(voters=2)
    eventually(left, "the silent one to leave")
    three.sentinels.append(gone)


def test_a_node_belongs_to_one_group(found, start_node):
    master = start_node()
    first = found(master.port)
    first.start()
    first.wait_one_group()
    def attended():
        files = list(master.folder.glob("slotward-sentinels-*"))
        return files and first.one_group() in files[0].read_text()
    eventually(attended, "the master to attend to the group")
    with pytest.raises(redis.ResponseError, match="belongs to the shard mymaster"):
        master.call("SLOTWARD", "ATTEND", "0" * 32, "mymaster", "", f"{HOST}:1")
    # Settings name a group for a node that has none: the file is for those without.
    lonely = start_node("--cluster-enabled", "yes")
    with pytest.raises(redis.ResponseError, match="told its sentinels by its setting"):
        lonely.call("SLOTWARD", "ATTEND", "0" * 32, "mymaster", "", f"{HOST}:1")
