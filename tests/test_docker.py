"""What the image is made of: Dockerfile, compose file, entrypoint and health check, without an
engine. tests/test_netns.py runs the compose file."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
import yaml

import harness
from harness import ROOT

SCRIPTS = ROOT / "deploy/docker"
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SETTINGS = set(re.findall(r"^\| `([\w.-]+)`", (ROOT / "docs/configuration.md").read_text(), re.M))


def linted(*command):
    done = subprocess.run(list(map(str, command)), text=True, capture_output=True, cwd=ROOT)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def test_linters_are_content():
    linted(pathlib.Path(sys.executable).with_name("hadolint"), "--no-color", "Dockerfile")
    harness.need("shellcheck")
    linted("shellcheck", *SCRIPTS.glob("*.sh"))


@pytest.mark.parametrize("profile", [[], ["--profile", "sentinel"]], ids=["cluster", "sentinel"])
def test_compose_accepts_its_file(profile):
    harness.need("docker-compose")
    shown = yaml.safe_load(linted("docker-compose", *profile, "config"))
    wanted = {name for name, service in COMPOSE["services"].items()
              if profile or "profiles" not in service}
    # Old versions show the services of all profiles.
    assert wanted <= set(shown["services"])


def test_the_files_that_the_image_copies_reach_the_builder():
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines()
            if line.startswith("!")}
    for path in kept:
        assert (ROOT / path).exists(), path
    for words in re.findall(r"^COPY (?!--)(.+)$", (ROOT / "Dockerfile").read_text(), re.M):
        for source in words.split()[:-1]:
            assert source == "." or any(source == k or source.startswith(f"{k}/") for k in kept)
    # Members of the workspace and everything they are built from.
    assert {"Cargo.toml", "Cargo.lock", ".cargo", "crates", "proto"} <= kept


def test_every_setting_in_the_compose_file_exists_and_ports_agree():
    for name, service in COMPOSE["services"].items():
        command = service.get("command", [])
        environment = service.get("environment", {})
        for variable in environment:
            setting = variable.removeprefix("SLOTWARD_").lower().replace("_", "-")
            assert setting in SETTINGS, f"{name}: {variable}"
        if command[0] == "slotward":
            continue
        options = {word: value for word, value in zip(command, [*command[1:], ""])
                   if word.startswith("--")}
        for option in options:
            assert option.removeprefix("--") in SETTINGS, f"{name}: {option}"
        published = [port.split(":") for port in service["ports"]]
        assert all(address == "127.0.0.1" for address, _, _ in published), f"{name}: no password"
        if "--port" in options:
            # A client outside is told our port at its own host.
            assert published == [["127.0.0.1", options["--port"], options["--port"]]], name
        if "--announce-ip" in options:
            assert options["--announce-ip"] == name == service["hostname"]


@pytest.fixture
def image(folder):
    """A folder of programs that say how they were called, in front of the real ones."""
    bins = pathlib.Path(folder) / "bin"
    bins.mkdir()
    for name in ("redis-server", "redis-sentinel", "slotward", "redis-cli"):
        program = bins / name
        program.write_text('#!/bin/sh\necho "$(basename "$0") $*"; echo "$(id -un) $(umask) '
                           '${SLOTWARD_PROTECTED_MODE-unset}"\n')
        program.chmod(0o755)
    data = pathlib.Path(folder) / "data"
    data.mkdir()
    (data / "kept").write_text("")
    pathlib.Path(folder).chmod(0o755)

    def run(*arguments, environment=None):
        done = subprocess.run(
            [str(SCRIPTS / "docker-entrypoint.sh"), *arguments], text=True, capture_output=True,
            cwd=data, umask=0o022,
            env={"PATH": f"{bins}:/usr/bin:/bin:/usr/sbin:/sbin", **(environment or {})})
        assert done.returncode == 0, done.stderr
        called, how = done.stdout.splitlines()
        return called.strip(), how

    yield run


SERVER_USER = "redis" if os.geteuid() == 0 else None


@pytest.mark.parametrize("arguments, called", [
    ([], "redis-server"),
    (["--appendonly", "yes"], "redis-server --appendonly yes"),
    (["/etc/redis/my.conf"], "redis-server /etc/redis/my.conf"),
    (["/etc/my.conf", "--port", "7000"], "redis-server /etc/my.conf --port 7000"),
    (["my.yaml"], "redis-server my.yaml"),
    (["redis-server", "/etc/redis.conf", "--port", "7000"], "redis-server /etc/redis.conf --port 7000"),
    (["redis-sentinel", "/etc/sentinel.conf"], "redis-sentinel /etc/sentinel.conf"),
    (["slotward", "sentinel", "--port", "1"], "slotward sentinel --port 1"),
    (["slotward", "server"], "slotward server"),
    (["redis-server", "--save", "60 1 300 10"], "redis-server --save 60 1 300 10"),
])
def test_the_entrypoint_takes_the_official_images_arguments(image, arguments, called):
    got, how = image(*arguments)
    assert got == called
    user, umask, protected = how.split()
    assert umask == "0077" and protected == "no"
    if SERVER_USER:
        assert user == SERVER_USER


def test_the_entrypoint_lets_other_programs_alone(image):
    for arguments in (["redis-cli", "-p", "7000"], ["slotward", "cluster", "status"]):
        got, how = image(*arguments)
        assert got == " ".join(arguments)
        assert how.split()[1:] == ["0022", "unset"]


def test_protected_mode_is_off_unless_asked_for(image, folder):
    assert image(environment={"SLOTWARD_PROTECTED_MODE": "yes"})[1].split()[2] == "yes"
    assert image("--protected-mode", "yes")[1].split()[2] == "unset"
    config = pathlib.Path(folder) / "my.conf"
    config.write_text("port 7000\nprotected-mode yes\n")
    assert image(str(config))[1].split()[2] == "unset"
    config.write_text("# protected-mode yes\n")
    assert image(str(config))[1].split()[2] == "no"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_is_kept_belongs_to_the_server(image, folder):
    image()
    assert (pathlib.Path(folder) / "data/kept").owner() == SERVER_USER


def start_by_entrypoint(folder, *arguments, port):
    """The entrypoint with the real binary."""
    bins = pathlib.Path(folder) / "bin"
    bins.mkdir(exist_ok=True)
    pathlib.Path(folder).chmod(0o755)
    if not (bins / "slotward").exists():
        shutil.copy(harness.BINARY, bins / "slotward")
        (bins / "redis-server").symlink_to("slotward")
        (bins / "redis-sentinel").symlink_to("slotward")
    os.environ["PATH"] = f"{bins}:{os.environ['PATH'].removeprefix(f'{bins}:')}"
    return harness.Process([SCRIPTS / "docker-entrypoint.sh", *arguments], port,
                           pathlib.Path(folder) / f"data-{port}")


def healthy(pid, cwd="/", **environment):
    done = subprocess.run([str(SCRIPTS / "docker-healthcheck.sh"), str(pid)], text=True, cwd=cwd,
                          capture_output=True, env={"PATH": os.environ["PATH"], **environment})
    return done.returncode == 0


def test_sigterm_reaches_the_server_and_health_is_seen(folder, monkeypatch):
    monkeypatch.setenv("PATH", os.environ["PATH"])
    port = harness.free_port()
    server = start_by_entrypoint(folder, "--port", port, port=port).start()
    try:
        assert healthy(server.pid)
        if os.geteuid() == 0:
            status = pathlib.Path(f"/proc/{server.pid}/status").read_text()
            uid = re.search(r"^Uid:\s+(\d+)", status, re.M)[1]
            assert uid != "0", "it runs as root"
        assert server.stop() == 0
        assert not healthy(os.getpid(), SLOTWARD_PORT=str(port)), "nobody is there any more"
    finally:
        server.kill()


def test_health_is_seen_with_a_password_wherever_it_stands(folder, monkeypatch):
    monkeypatch.setenv("PATH", os.environ["PATH"])
    ports = [harness.free_port() for _ in range(3)]
    config = pathlib.Path(folder) / "my.conf"
    config.write_text(f'port {ports[0]}\nrequirepass "se cret"\n')
    by_file = start_by_entrypoint(folder, str(config), port=ports[0])
    by_option = start_by_entrypoint(folder, "redis-server", "--port", ports[1],
                                    "--requirepass", "word", port=ports[1])
    sentinel = start_by_entrypoint(folder, "redis-sentinel", "--port", ports[2], "--peers",
                                   f"127.0.0.1:{ports[2]}", "--requirepass", "other",
                                   port=ports[2])
    started = [by_file, by_option, sentinel]
    try:
        for process in started:
            process.start()
        for process in started:
            assert healthy(process.pid, cwd=process.folder), process.command
        # The health check's own environment is the container's.
        assert not healthy(by_file.pid, SLOTWARD_REQUIREPASS="another")
    finally:
        for process in started:
            process.kill()


@pytest.mark.parametrize("words, port", [
    ("redis-server", "6379"), ("redis-sentinel /etc/s.conf", "26379"),
    ("slotward sentinel", "26379"), ("redis-server x.conf --sentinel", "26379"),
    ("docker-init -- docker-entrypoint.sh redis-server --port 7000", "7000"),
])
def test_the_health_check_finds_the_port(folder, words, port):
    bins = pathlib.Path(folder) / "bin"
    bins.mkdir()
    (bins / "redis-cli").write_text('#!/bin/sh\necho "$*" >"$ASKED"; echo PONG\n')
    (bins / "redis-cli").chmod(0o755)
    # A process that only looks like one.
    process = subprocess.Popen(["sh", "-c", "read _", *words.split()], stdin=subprocess.PIPE)
    try:
        asked = pathlib.Path(folder) / "asked"
        assert healthy(process.pid, PATH=f"{bins}:/usr/bin:/bin", ASKED=str(asked))
        assert asked.read_text() == f"-h 127.0.0.1 -p {port} ping\n"
    finally:
        process.communicate()
