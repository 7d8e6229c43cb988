"""One node: tools, protocol, settings, introspection."""

import re
import socket
import subprocess
import threading

import pytest
import redis

from harness import HOST, eventually, redis_cli
from resp import Connection, Error, Status, Tagged, encode


@pytest.fixture(autouse=True)
def empty(shared_node):
    shared_node.call("FLUSHALL")


def test_redis_cli_talks_to_it(shared_node):
    port = shared_node.port
    assert redis_cli("-p", port, "SET", "greeting", "hello").strip() == "OK"
    assert redis_cli("-p", port, "GET", "greeting").strip() == "hello"
    assert "redis_version:7.2.4" in redis_cli("-p", port, "INFO", "server")
    # Interactive use asks for COMMAND DOCS.
    assert "hello" in redis_cli("-p", port, input="GET greeting\n")
    assert "proto" in redis_cli("-p", port, "-3", "HELLO", "3")


def test_redis_benchmark_runs_its_whole_default_list(shared_node):
    done = subprocess.run(
        ["redis-benchmark", "-p", str(shared_node.port), "-q", "-n", "2000", "-c", "20"],
        text=True, capture_output=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    text = done.stdout + done.stderr
    assert "rror" not in text, text
    for name in ("PING_INLINE", "SET", "GET", "INCR", "LPUSH", "SADD", "HSET", "SPOP", "ZADD",
                 "ZPOPMIN", "LRANGE_600", "MSET (10 keys)"):
        assert re.search(re.escape(name) + r".*requests per second", text), f"{name}: {text}"


@pytest.mark.parametrize("why, raw, words", [
    ("bad multibulk length", b"*x\r\n", "invalid multibulk length"),
    ("huge multibulk length", b"*99999999999\r\n", "invalid multibulk length"),
    ("too many arguments", b"*2147483648\r\n", "invalid multibulk length"),
    ("bad bulk length", b"*1\r\n$x\r\n", "invalid bulk length"),
    ("huge bulk length", b"*1\r\n$99999999999\r\n", "invalid bulk length"),
    ("negative bulk length", b"*1\r\n$-5\r\n", "invalid bulk length"),
    ("not a bulk", b"*1\r\n:5\r\n", "expected '$', got ':'"),
    ("endless inline", b"A" * (1 << 17), "too big inline request"),
    ("endless length line", b"*" + b"1" * (1 << 17), "too big mbulk count string"),
    ("unbalanced quotes", b'SET a "b\r\n', "unbalanced quotes in request"),
])
def test_a_malformed_frame_gets_an_error_and_the_connection_closed(shared_node, why, raw, words):
    with socket.create_connection((HOST, shared_node.port), 30) as client:
        client.sendall(raw)
        answer = b""
        while True:
            try:
                chunk = client.recv(4096)
            except ConnectionResetError:
                break
            if not chunk:
                break
            answer += chunk
    assert answer.startswith(b"-ERR Protocol error: "), (why, answer)
    assert words in answer.decode(), why
    assert shared_node.call("PING")


def test_an_announced_size_reserves_nothing(shared_node):
    before = resident_kib(shared_node)
    clients = [Connection(shared_node.port) for _ in range(50)]
    for client in clients:
        client.send(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$536870000\r\n")
    assert shared_node.call("PING")
    assert resident_kib(shared_node) - before < 20 * 1024
    for client in clients:
        client.close()


def resident_kib(process):
    with open(f"/proc/{process.pid}/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1))


def test_an_idle_node_is_small(start_node):
    process = start_node()
    assert process.call("PING")
    assert resident_kib(process) <= 15 * 1024


def test_pieces_of_a_command_may_come_one_by_one(shared_node):
    client = Connection(shared_node.port)
    for byte in encode(["SET", "slow", "value"]):
        client.send(bytes([byte]))
    assert client.read() == Status(b"OK")
    client.send(encode(["GET", "slow"]) * 1000)
    assert [client.read() for _ in range(1000)] == [b"value"] * 1000
    client.send(b"PING\r\nGET slow\r\nSET quoted 'a b'\r\n\r\nGET quoted\r\n")
    assert [client.read() for _ in range(4)] == [Status(b"PONG"), b"value", Status(b"OK"), b"a b"]
    client.close()


def test_a_client_that_does_not_read_does_not_stop_others(shared_node):
    shared_node.call("SET", "big", "x" * 100_000)
    greedy = Connection(shared_node.port)
    greedy.socket.settimeout(1)
    try:
        for _ in range(2000):
            greedy.send(encode(["GET", "big"]))
    except TimeoutError:
        pass
    assert shared_node.call("PING")
    greedy.close()


def test_hello_auth_and_protocol_versions(start_node):
    process = start_node("--requirepass", "secret")
    client = Connection(process.port)
    assert client.call("GET", "a") == Error(b"NOAUTH Authentication required.")
    assert client.call("HELLO").startswith(b"NOAUTH")
    assert client.call("AUTH", "wrong").startswith(b"WRONGPASS")
    assert client.call("HELLO", "9").startswith(b"NOPROTO")
    answer = client.call("HELLO", "3", "AUTH", "default", "secret", "SETNAME", "me")
    assert isinstance(answer, Tagged) and answer[0] == "map"
    fields = dict(answer[1])
    assert fields[b"version"] == b"7.2.4" and fields[b"proto"] == 3
    assert fields[b"role"] == b"master" and fields[b"mode"] == b"standalone"
    assert client.call("CLIENT", "GETNAME") == b"me"
    assert client.call("GET", "absent") == Tagged(("null",))
    assert isinstance(client.call("HELLO", "2"), list)
    assert client.call("GET", "absent") is None
    client.close()
    assert process.call("PING", password="secret")


def test_config_get_and_set(shared_node):
    client = shared_node.client()
    assert client.config_get("maxmemory") == {"maxmemory": "0"}
    assert client.config_set("maxmemory", "100mb")
    assert client.config_get("maxm*")["maxmemory"] == str(100 << 20)
    client.config_set("maxmemory", "0")
    everything = client.config_get("*")
    for name in ("save", "appendonly", "list-max-listpack-size", "list-max-ziplist-size",
                 "set-max-listpack-entries", "zset-max-listpack-value", "hash-max-ziplist-value",
                 "notify-keyspace-events", "latency-monitor-threshold", "repl-ping-replica-period",
                 "loading-process-events-interval-bytes", "slowlog-log-slower-than"):
        assert name in everything
        if everything[name]:
            assert client.execute_command("CONFIG", "SET", name, everything[name])
    with pytest.raises(redis.ResponseError, match="Unknown option or number of arguments"):
        client.config_set("no-such-option", "1")
    with pytest.raises(redis.ResponseError, match="can't set immutable config"):
        client.config_set("databases", "3")
    with pytest.raises(redis.ResponseError, match="argument must be a memory value"):
        client.execute_command("CONFIG", "SET", "timeout", "77", "maxmemory", "x")
    assert client.config_get("timeout") == {"timeout": "0"}


def test_info_has_the_fields_that_tools_read(shared_node):
    client = shared_node.client()
    client.set("a", 1)
    info = client.info("everything")
    for name in ("redis_version", "slotward_version", "process_id", "tcp_port", "uptime_in_seconds",
                 "connected_clients", "used_memory", "used_memory_rss", "total_commands_processed",
                 "total_connections_received", "keyspace_hits", "expired_keys", "role",
                 "master_replid", "master_repl_offset", "connected_slaves", "used_cpu_sys",
                 "used_cpu_user", "cluster_enabled"):
        assert name in info, name
    assert info["process_id"] == shared_node.pid
    assert info["db0"]["keys"] == 1
    assert client.info("commandstats")["cmdstat_set"]["calls"] >= 1
    client.config_resetstat()
    assert "cmdstat_set" not in client.info("commandstats")


def test_every_command_describes_itself(shared_node):
    connection = Connection(shared_node.port)
    # Subcommands are listed too, with a bar.
    names = [name for name in connection.call("COMMAND", "LIST") if b"|" not in name]
    assert connection.call("COMMAND", "COUNT") == len(names) > 100
    infos = connection.call("COMMAND", "INFO", *names)
    assert len(infos) == len(names) and all(infos)
    for info in infos:
        name, arity = info[0].decode(), info[1]
        docs = connection.call("COMMAND", "DOCS", name)
        fields = dict(zip(docs[1][::2], docs[1][1::2]))
        assert docs[0].decode() == name and fields[b"summary"], name
        # Too few arguments are refused with Redis's words by every command.
        if abs(arity) > 1:
            answer = connection.call(name)
            assert answer == Error(b"ERR wrong number of arguments for '%s' command" % name.encode())
    assert connection.call("COMMAND", "GETKEYS", "MSET", "a", "1", "b", "2") == [b"a", b"b"]
    assert connection.call("NOSUCH", "x").startswith(b"ERR unknown command 'NOSUCH', with args")
    connection.close()


def test_databases_are_apart(shared_node):
    one, two = shared_node.client(db=1), shared_node.client(db=2)
    one.set("a", "1")
    assert two.get("a") is None
    with pytest.raises(redis.ResponseError, match="DB index is out of range"):
        shared_node.call("SELECT", "16")
    assert shared_node.client().info("keyspace")["db1"]["keys"] == 1


def test_keys_expire_lazily_and_actively(shared_node):
    client = shared_node.client()
    client.set("lazy", "1", px=50)
    eventually(lambda: client.get("lazy") is None, "the key to expire", 10)
    for number in range(500):
        client.set(f"active:{number}", "1", px=50)
    # Nobody touches them: the background has to find them.
    eventually(lambda: client.dbsize() == 0, "expired keys to be removed", 20)
    assert client.info("stats")["expired_keys"] >= 500


def test_scan_finds_everything_that_stays(shared_node):
    client = shared_node.client()
    client.mset({f"key:{number}": number for number in range(5000)})
    stop = threading.Event()

    def churn():
        mine = shared_node.client()
        number = 0
        while not stop.is_set():
            mine.set(f"noise:{number}", "1")
            mine.delete(f"noise:{number - 500}")
            number += 1

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        found = set(client.scan_iter(match="key:*", count=100))
    finally:
        stop.set()
        thread.join()
    assert len(found) == 5000
    assert sorted(client.keys("key:12??")) == sorted(f"key:{n}" for n in range(1200, 1300))


def test_many_writers_lose_nothing(shared_node):
    def add():
        mine = shared_node.client()
        pipe = mine.pipeline(transaction=False)
        for number in range(2000):
            pipe.incr("hot")
            pipe.incr(f"cold:{number % 50}")
        pipe.execute()

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client = shared_node.client()
    assert client.get("hot") == "16000"
    assert sum(int(client.get(f"cold:{n}")) for n in range(50)) == 16000


@pytest.mark.parametrize("command, size", [
    (["INCR", "hot"], "GET"), (["APPEND", "hot", "x"], "STRLEN"), (["LPUSH", "hot", "x"], "LLEN"),
    (["RPUSH", "hot", "x"], "LLEN"), (["HINCRBY", "hot", "f", "1"], "HVALS"),
])
def test_one_hot_key_is_changed_by_one_at_a_time(start_node, command, size):
    """Every change returns a number of its own, on more workers than cores or not."""
    process = start_node("--io-threads", "3")
    replies = []

    def change():
        mine = Connection(process.port)
        mine.send(encode(command) * 3000)
        replies.extend([mine.read() for _ in range(3000)])
        mine.close()

    threads = [threading.Thread(target=change) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(replies) == list(range(1, 24001))
    assert "24000" in str(process.call(size, "hot"))


def test_debug_helps_tests(shared_node):
    client = shared_node.client()
    empty_digest = client.execute_command("DEBUG", "DIGEST")
    assert empty_digest == "0" * 40
    client.rpush("l", "a", "b")
    client.hset("h", mapping={"f": "1", "g": "2"})
    first = client.execute_command("DEBUG", "DIGEST")
    assert re.fullmatch("[0-9a-f]{40}", first) and first != empty_digest
    client.flushall()
    client.hset("h", mapping={"g": "2", "f": "1"})
    client.rpush("l", "a", "b")
    assert client.execute_command("DEBUG", "DIGEST") == first
    assert client.execute_command("DEBUG", "SLEEP", "0") == "OK"
    assert "encoding:" in str(client.execute_command("DEBUG", "OBJECT", "h"))


def test_a_pipeline_library_and_a_transaction_free_client_connect(shared_node):
    """redis-py in both protocol versions, as applications use it."""
    for protocol in (2, 3):
        client = shared_node.client(protocol=protocol)
        client.flushall()
        assert client.set("s", "v", ex=100) and 0 < client.ttl("s") <= 100
        assert client.hset("h", mapping={"a": "1", "b": "2"}) == 2
        assert client.hgetall("h") == {"a": "1", "b": "2"}
        assert client.zadd("z", {"x": 1.5, "y": 2}) == 2
        assert client.zrange("z", 0, -1) == ["x", "y"] and client.zscore("z", "x") == 1.5
        assert client.sadd("set", "m", "n") == 2 and client.smembers("set") == {"m", "n"}
        assert client.rpush("l", 1, 2, 3) == 3 and client.lrange("l", 0, -1) == ["1", "2", "3"]
        assert client.type("z") == "zset" and client.exists("s", "h", "nothing") == 2
        assert client.client_id() > 0 and client.client_list()
