#!/bin/sh
# What `slotward drill --exec deploy/docker/drill-hook.sh` calls: ACTION HOST:PORT. Acts on the
# service of docker-compose.yml that publishes this port.
set -eu
cd "$(dirname "$0")/../.."
action=$1
port=${2##*:}

case "$port" in
700[0-5]) service=node$((port - 6999)) ;;
26379 | 26380 | 26381) service=sentinel$((port - 26378)) ;;
6379) service=redis-master ;;
6380 | 6381) service=redis-replica-$((port - 6379)) ;;
*)
    echo "no service publishes port $port" >&2
    exit 1 ;;
esac

# docker network connect gives a container the names that others know it by only if told.
network() {
    container=$(docker compose ps -aq "$service")
    name=$(docker inspect -f '{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}' \
        "$(docker compose ps -q | grep -v "^$container" | head -n 1)")
    docker network "$@" "$name" "$container"
}

case "$action" in
stop | kill | start) docker compose "$action" "$service" ;;
freeze) docker compose pause "$service" ;;
thaw) docker compose unpause "$service" ;;
isolate) network disconnect ;;
heal) network connect --alias "$service" ;;
*)
    echo "unknown action: $action" >&2
    exit 1 ;;
esac
