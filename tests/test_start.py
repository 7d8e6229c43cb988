"""How a process starts, and what it says when it cannot."""

import os
import socket

import pytest

from harness import BINARY, HOST, Process, eventually, free_port, run_binary


@pytest.mark.parametrize("why, arguments, words", [
    ("unknown option", ["--maxmemry", "1gb"], ["maxmemry", "did you mean 'maxmemory'"]),
    ("bad number", ["--port", "abc"], ["port", "abc", "integer"]),
    ("out of range", ["--port", "70000"], ["port", "70000", "between"]),
    ("missing value", ["--port", "--loglevel", "verbose"],
     ['\'port "--loglevel" "verbose"\'', "wrong number of arguments"]),
    ("bad choice", ["--maxmemory-policy", "sometimes"], ["maxmemory-policy", "noeviction"]),
    ("no such file", ["/nonexistent/redis.conf"], ["/nonexistent/redis.conf"]),
    ("bad sentinel", ["--sentinels", "127.0.0.1"], ["sentinels", "port is missing"]),
    ("unsafe lease", ["--lease-ms", "5000"], ["lease-ms", "down-after-ms"]),
    ("unwritable folder", ["--dir", "/proc/nowhere"], ["/proc/nowhere"]),
])
def test_a_bad_start_ends_and_names_the_cause(why, arguments, words, folder):
    status, out, err = run_binary("server", *arguments, cwd=folder)
    assert status != 0, why
    for word in words:
        assert word in out + err, f"{why}: {out}{err}"


def test_a_taken_port_is_named(folder):
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        status, out, err = run_binary("server", "--port", port, "--bind", HOST, cwd=folder)
    assert status != 0
    assert str(port) in out + err and "in use" in out + err, out + err


def test_version_and_help():
    for name in ("server", "sentinel"):
        status, out, _ = run_binary(name, "-v")
        assert status == 0 and "v=7.2.4" in out
        status, out, _ = run_binary(name, "--help")
        assert status == 0 and "--OPTION" in out


def test_it_answers_to_the_name_redis_server(folder):
    link = os.path.join(folder, "redis-server")
    os.symlink(BINARY, link)
    port = free_port()
    process = Process([link, "--port", port, "--bind", HOST, "--save", ""], port, folder)
    try:
        process.start()
        assert process.client().info("server")["tcp_port"] == port
    finally:
        process.kill()


def test_settings_come_from_all_sources(folder):
    port = free_port()
    conf = os.path.join(folder, "redis.conf")
    more = os.path.join(folder, "more.yml")
    with open(conf, "w") as file:
        file.write(f'# comment\nport 1\nrequirepass "a b"\nhz 20\nsave 900 1\nsave 300 10\ninclude {more}\n')
    with open(more, "w") as file:
        file.write("maxmemory: 100mb\ncluster:\n  node-timeout: 5000\ntimeout: 7\n")
    process = Process([BINARY, "server", conf, "--port", port, "--bind", HOST], port, folder)
    os.environ["SLOTWARD_TIMEOUT"] = "9"
    try:
        process.start()
    finally:
        del os.environ["SLOTWARD_TIMEOUT"]
    try:
        client = process.client(password="a b")
        for name, want in [("hz", "20"), ("maxmemory", str(100 << 20)), ("timeout", "9"),
                           ("save", "900 1 300 10"), ("cluster-node-timeout", "5000"),
                           ("port", str(port))]:
            assert client.config_get(name) == {name: want}
    finally:
        process.kill()


def test_the_lines_that_redis_test_suite_waits_for(start_node):
    process = start_node()
    assert f" PID: {process.pid}" in process.log
    assert "Server initialized" in process.log
    assert "Ready to accept" in process.log
    assert process.log.index(" PID: ") < process.log.index("Server initialized")


def test_sigterm_ends_it_in_good_order(start_node):
    process = start_node()
    process.call("SET", "a", "1")
    assert process.stop() == 0


def test_the_pid_file_is_written_and_removed(folder):
    port = free_port()
    path = os.path.join(folder, "pid")
    process = Process([BINARY, "server", "--port", port, "--pidfile", path, "--dir", folder], port, folder)
    try:
        process.start()
        with open(path) as file:
            assert int(file.read()) == process.pid
        process.stop()
        assert not os.path.exists(path)
    finally:
        process.kill()


def test_a_daemon_leaves_the_terminal(folder):
    port = free_port()
    path = os.path.join(folder, "pid")
    daemon = Process([BINARY], port, folder)
    status, out, err = run_binary("server", "--port", port, "--daemonize", "yes", "--pidfile", path,
                                  "--dir", folder, "--logfile", "log.txt")
    assert status == 0, out + err
    try:
        eventually(lambda: daemon.call("PING"), "the daemon to answer")
        assert os.path.exists(os.path.join(folder, "log.txt"))
    finally:
        with open(path) as file:
            os.kill(int(file.read()), 9)


def test_config_rewrite_keeps_what_was_set(folder):
    port = free_port()
    conf = os.path.join(folder, "redis.conf")
    with open(conf, "w") as file:
        file.write(f"# mine\nport {port}\nhz 20\n")
    process = Process([BINARY, "server", "redis.conf", "--bind", HOST], port, folder)
    try:
        process.start()
        process.call("CONFIG", "SET", "maxmemory", "5mb", "hz", "30")
        assert process.call("CONFIG", "REWRITE")
        with open(conf) as file:
            text = file.read()
        assert text.startswith(f"# mine\nport {port}\nhz 30\n") and "maxmemory 5242880" in text
        process.stop()
        process.start()
        assert process.client().config_get("maxmemory") == {"maxmemory": str(5 << 20)}
    finally:
        process.kill()
