"""What befalls containers, done to docker-compose.yml in network namespaces (netns.py), and what
has to hold then. Each drill begins and ends with a settled topology; `say` tells its times."""

import json
import time

import resp
from harness import eventually
from netns import Hook, Writer

NODES = [f"node{number}" for number in range(1, 7)]
SENTINELS = [f"sentinel{number}" for number in range(1, 4)]
PLAIN_NODES = ["redis-master", "redis-replica-1", "redis-replica-2"]
PLAIN_SENTINELS = [f"sentinel-{number}" for number in range(1, 4)]
CLIENTS = ["client-a", "client-b"]
# For the comparison of data; everything else is as in the compose file.
ENVIRONMENT = {"SLOTWARD_ENABLE_DEBUG_COMMAND": "yes"}

# A sentinel holds a node down after 1.2 s of silence; the rest is for a busy machine.
SILENCE_OUTAGE_S = 6.0
# A death that the kernel tells of need not be waited for: well below the 1.2 s of silence.
KILL_OUTAGE_S = 1.1


def say(text):
    print(f"  {text}", flush=True)


def is_cluster(network):
    return "node1" in network.containers


def nodes(network):
    return [network[name] for name in (NODES if is_cluster(network) else PLAIN_NODES)]


def sentinels(network):
    return [network[name] for name in (SENTINELS if is_cluster(network) else PLAIN_SENTINELS)]


def living(containers):
    return [container for container in containers if container.alive()]


def form_cluster(network):
    """As `docker compose up`."""
    network.start(*SENTINELS, *NODES)
    network.wait_healthy(*SENTINELS, *NODES)
    form = network["form"]
    # As `restart: on-failure`.
    assert any(form.start().process.wait(120) == 0 for _ in range(3)), form.log
    settled(network)
    # Once more finds nothing to do.
    before = network["node1"].text("CLUSTER", "NODES").count("\n")
    assert form.start().process.wait(120) == 0, form.log
    assert network["node1"].text("CLUSTER", "NODES").count("\n") == before


def start_plain(network):
    """As `docker compose --profile sentinel up redis-master … sentinel-3`."""
    network.start(*PLAIN_SENTINELS, *PLAIN_NODES)
    network.wait_healthy(*PLAIN_SENTINELS, *PLAIN_NODES)
    settled(network)


def report(network):
    """What a sentinel that hears the leader knows."""
    answers = [json.loads(sentinel.text("SENTINEL", "SLOTWARD-STATUS"))
               for sentinel in living(sentinels(network))]
    return max(answers, key=lambda answer: (answer["term"], answer["version"]))


def shards(network):
    """{shard: (its master, its replicas)}."""
    found = {}
    for shard in report(network)["shards"]:
        names = {member["role"]: [] for member in shard["members"]}
        for member in shard["members"]:
            names[member["role"]].append(network[member["address"].rsplit(":", 1)[0]])
        assert len(names.get("master", [])) == 1, names
        (master,) = names["master"]
        found[shard["name"]] = (master, names.get("replica", []))
    return found


def leader(network):
    """The leader of the sentinels' group."""
    return network[report(network)["leader"].rsplit(":", 1)[0]]


def topology_of(node):
    """CLUSTER NODES without what differs by who looks and when."""
    lines = []
    for line in node.text("CLUSTER", "NODES").splitlines():
        words = line.split(" ")
        flags = words[2].replace("myself,", "")
        lines.append((words[0], words[1], flags, words[3], words[6], *words[8:]))
    return sorted(lines)


def _settled(network):
    for shard in report(network)["shards"]:
        assert shard["state"] == "ok", shard
        for member in shard["members"]:
            if network[member["address"].rsplit(":", 1)[0]].alive():
                assert member["state"] == "online" and member["promotable"], member
    grouped = shards(network)
    members = {node.name for master, replicas in grouped.values() for node in [master, *replicas]}
    assert members == {node.name for node in nodes(network)}, f"in shards: {members}"
    for name, (master, replicas) in grouped.items():
        assert master.replication()["role"] == "master", (name, master.name)
        for replica in living(replicas):
            replication = replica.replication()
            assert replication["role"] == "slave" and replication.get("master_host") == master.name, (
                replica.name, replication)
            assert replication.get("master_link_status") == "up", replica.name
        digests = {node.name: bytes(node.call("DEBUG", "DIGEST"))
                   for node in [master, *living(replicas)]}
        assert len(set(digests.values())) == 1, f"{name}: data differ: {digests}"
    if is_cluster(network):
        views = {node.name: topology_of(node) for node in living(nodes(network))}
        views |= {s.name: topology_of(s) for s in living(sentinels(network))}
        assert len({str(view) for view in views.values()}) == 1, views
        slots = [word for line in next(iter(views.values())) for word in line[5:]]
        assert len(slots) == 3, f"one master per range: {slots}"
    else:
        answers = {str(s.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"))
                   for s in living(sentinels(network))}
        assert len(answers) == 1, answers
    return True


def settled(network):
    """Waits until everybody agrees: who is master, who follows whom, and what the data are."""
    eventually(lambda: _settled(network), "everybody to agree")


def key_of(network, shard):
    """A key of the shard."""
    if not is_cluster(network):
        return "drill"
    master, _ = shards(network)[shard]
    for number in range(10_000):
        answer = master.call("EXISTS", f"drill:{number}")
        if not isinstance(answer, resp.Error):
            return f"drill:{number}"
    raise AssertionError(f"{shard} has no slots")


def first_shard(network):
    name = sorted(shards(network))[0]
    return name, *shards(network)[name]


def found_from_everywhere(network):
    """The host's clients are told its loopback, those inside the containers' names."""
    for port in (7000, 7001, 7002, 7005):
        for key in ("a", "b", "c", "d"):
            done = network.host.run("redis-cli", "-c", "-p", port, "SET", key, key)
            assert done.stdout.strip().endswith("OK"), done
    assert ".213." not in network.host.run("redis-cli", "-p", 7000, "CLUSTER", "SLOTS").stdout
    check = network.host.run("redis-cli", "--cluster", "check", "127.0.0.1:7003").stdout
    assert "[OK] All 16384 slots covered." in check, check
    for key in ("a", "b", "c", "d"):
        done = network["node4"].run("redis-cli", "-c", "-h", "node4", "-p", 7003, "GET", key)
        assert done.stdout.strip().endswith(key), done
    # From its own loopback as well, as after `docker compose exec node1 redis-cli -c`.
    done = network["node1"].run("redis-cli", "-c", "-p", 7000, "MGET", "{a}", "b{a}")
    assert "127.0.0.1" not in done.stdout and done.returncode == 0, done
    for port, sentinel in zip((26379, 26380, 26381), sentinels(network)):
        seen = network.host.run("redis-cli", "-p", port, "CLUSTER", "NODES").stdout
        assert seen.count("127.0.0.1:700") == 6, seen
        assert sentinel.text("CLUSTER", "NODES").count("node") == 6


def master_found_from_everywhere(network):
    """A Sentinel client finds the master from the host and from inside."""
    (shard,) = shards(network).values()
    master = shard[0]
    for port, sentinel in zip((26479, 26480, 26481), sentinels(network)):
        ask = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"]
        outside = network.host.run("redis-cli", "-p", port, *ask).stdout.split()
        assert outside == ["127.0.0.1", str(master.client_port)], outside
        assert network.host.run("redis-cli", "-p", outside[1], "SET", "a", port).stdout == "OK\n"
        assert sentinel.call(*ask) == [master.name.encode(), str(master.client_port).encode()]


def loss(network, writer, key):
    """How many acknowledged writes the shard has not kept, by its last acknowledged one."""
    owner = next(node for node in nodes(network) if node.alive()
                 and not isinstance(node.call("GET", key), resp.Error))
    kept = int(owner.call("GET", key) or 0)
    return sum(number > kept for number, _, _ in writer.acknowledged)


def _fails_over(network, what, at_most_s, act):
    """Writes go on elsewhere after something happened to a master; it comes back as a replica."""
    shard, master, _ = first_shard(network)
    key = key_of(network, shard)
    with Writer(network["client-b"], [master, *(n for n in nodes(network) if n is not master)],
                key) as writer:
        writer.wait_writes()
        begun = time.monotonic()
        act(master)
        acted = time.monotonic()
        eventually(lambda: shards(network)[shard][0] is not master, "another master")
        writer.wait_writes()
    seconds, last, first = writer.outage()
    new = shards(network)[shard][0]
    say(f"{what} {master.name} ({1000 * (acted - begun):.0f} ms): last write acknowledged "
        f"{1000 * (last - begun):+.0f} ms, first by {new.name} {1000 * (first - begun):+.0f} ms; "
        f"no writes for {1000 * seconds:.0f} ms, {len(writer.errors)} errors")
    assert seconds < at_most_s, f"no writes for {seconds:.3f} s"
    if not master.alive():
        master.start()
    elif not master.plugged:
        master.plug()
    settled(network)
    assert shards(network)[shard][0] is new, "who comes back does not take over"
    return loss(network, writer, key)


def stopped(network):
    """`docker stop`: the master hands over, then its address vanishes. Nothing is lost."""
    def act(master):
        status = master.stop()
        assert status == 0, f"{master.name} ended with {status}"
    lost = _fails_over(network, "stop", KILL_OUTAGE_S, act)
    assert lost == 0, f"{lost} acknowledged writes lost by a stop in good order"


def killed(network):
    """`docker kill`: the kernel closes the connections, then nobody answers at the address."""
    say(f"lost: {_fails_over(network, 'kill', KILL_OUTAGE_S, lambda master: master.kill())}")


def vanished(network):
    """The address is gone at the same instant: no connection ends, nobody refuses."""
    lost = _fails_over(network, "vanish", SILENCE_OUTAGE_S, lambda master: master.vanish())
    say(f"lost: {lost}")


def disconnected(network):
    """`docker network disconnect`: the master lives, alone, and follows when it is back."""
    lost = _fails_over(network, "disconnect", SILENCE_OUTAGE_S, lambda master: master.unplug())
    say(f"lost: {lost}")


def partition(network, with_leader=False):
    """The master, its clients and one sentinel on one side: it stops before the others promote."""
    shard, master, _ = first_shard(network)
    key = key_of(network, shard)
    elsewhere = [node for node in nodes(network) if node is not master]
    chief = leader(network)
    companion = chief if with_leader else next(s for s in sentinels(network) if s is not chief)
    with Writer(network["client-a"], [master], key) as old_side:
        old_side.wait_writes()
        with Writer(network["client-b"], elsewhere, key) as new_side:
            network.cut(master.name, "client-a", companion.name)
            cut_at = time.monotonic()
            new_side.wait_writes()
            promoted_at = new_side.acknowledged[0][2]
            # Not to synchronise: whoever takes writes again without a lease has time to show it.
            time.sleep(1.5)
            healed_at = time.monotonic()
            network.heal()
            settled(network)
        old_writes = [at for _, _, at in old_side.acknowledged if at < healed_at]
    last_old, first_new = max(old_writes), promoted_at
    say(f"partition of {master.name}, client-a and {companion.name}"
        f"{' (the leader)' if with_leader else ''}: last write acknowledged on the old side "
        f"{1000 * (last_old - cut_at):+.0f} ms, first on the new side "
        f"{1000 * (first_new - cut_at):+.0f} ms, {1000 * (first_new - last_old):.0f} ms later")
    assert last_old < first_new, "two masters took writes at one time"
    assert last_old - cut_at < 1.2, "a master without a lease took writes"
    assert first_new - cut_at < SILENCE_OUTAGE_S


def one_way(network):
    """The master hears everybody, and nobody hears it: it stops before the others promote."""
    shard, master, _ = first_shard(network)
    key = key_of(network, shard)
    others = [node for node in nodes(network) if node is not master]
    deaf = [*sentinels(network), *others]
    with Writer(network["client-a"], [master], key) as old_side:
        old_side.wait_writes()
        with Writer(network["client-b"], others, key) as new_side:
            master.no_way_to(deaf)
            cut_at = time.monotonic()
            new_side.wait_writes()
            first_new = new_side.acknowledged[0][2]
            time.sleep(1.5)
            healed_at = time.monotonic()
            master.way_to(deaf)
            settled(network)
    last_old = max(at for _, _, at in old_side.acknowledged if at < healed_at)
    say(f"nobody hears {master.name}: last write acknowledged by it "
        f"{1000 * (last_old - cut_at):+.0f} ms, first by another "
        f"{1000 * (first_new - cut_at):+.0f} ms")
    assert last_old < first_new, "two masters took writes at one time"
    assert first_new - cut_at < SILENCE_OUTAGE_S


def by_the_operators_tool(network, faults=("stop", "kill", "isolate")):
    """`slotward drill` from a client's place, with a hook that acts on containers."""
    hook = Hook(network)
    try:
        group = ",".join(f"{s.name}:{s.client_port}" for s in sentinels(network))
        for fault in faults:
            done = network["client-a"].run(network.bin / "slotward", "drill", "--fault", fault,
                                           "--sentinels", group, "--exec", hook.command,
                                           timeout=120)
            say("\n  ".join(done.stdout.splitlines()))
            assert done.returncode == 0, done.stdout + done.stderr
            settled(network)
    finally:
        hook.close()
    assert [action.split()[0] for action in hook.actions] == [
        "stop", "start", "kill", "start", "isolate", "heal"], hook.actions


def no_sentinels(network, for_s=10.0):
    """All sentinels' addresses gone: the data plane goes on; when they are back, nobody fails over."""
    shard, master, _ = first_shard(network)
    key = key_of(network, shard)
    before = {name: pair[0].name for name, pair in shards(network).items()}
    with Writer(network["client-b"], nodes(network), key) as writer:
        writer.wait_writes()
        for sentinel in sentinels(network):
            sentinel.vanish()
        time.sleep(for_s)
        writer.wait_writes()
        for sentinel in sentinels(network):
            sentinel.start()
        settled(network)
        writer.wait_writes()
    say(f"no sentinels for {for_s:.0f} s: longest time without a write "
        f"{1000 * writer.outage()[0]:.0f} ms, {writer.count()} writes")
    assert writer.outage()[0] < 1.0, "the data plane depends on the sentinels"
    assert {name: pair[0].name for name, pair in shards(network).items()} == before
