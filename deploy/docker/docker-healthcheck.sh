#!/bin/sh
# Whether the node or sentinel of this container answers. It finds port and password where the
# process was told them: on its command line, in its environment, in its configuration file.
# Usage: docker-healthcheck.sh [PID]
set -eu
process=/proc/${1:-1}

words() { tr '\0' '\n' <"$process/cmdline"; }

# option NAME: the value of --NAME on the command line, the last one.
option() {
    words | awk -v name="--$1" 'last == name { value = $0 } { last = $0 } END { print value }'
}

# variable NAME: the value of SLOTWARD_NAME. Our own environment is the container's; the process's
# could be read by its own user only.
variable() { printenv "SLOTWARD_$1"; }

# directive NAME: its value in the configuration file; quotes around it are not part of it.
directive() {
    file=$(words | grep -E '\.conf$' | head -n 1)
    [ -z "$file" ] ||
        sed -nE "s/^[[:space:]]*$1[[:space:]]+(.*[^[:space:]])[[:space:]]*\$/\1/p" "$file" |
        sed -E 's/^"(.*)"$/\1/' | tail -n 1
}

# told NAME: the value that is in force, or nothing.
told() {
    for source in option variable directive; do
        name=$1
        if [ "$source" = variable ]; then name=$(echo "$1" | tr 'a-z-' 'A-Z_'); fi
        value=$("$source" "$name" 2>/dev/null || true)
        if [ -n "$value" ]; then
            printf '%s' "$value"
            return
        fi
    done
}

port=$(told port)
if [ -z "$port" ]; then
    port=6379
    if words | grep -qE '(^|/)redis-sentinel$|^sentinel$|^--sentinel$'; then port=26379; fi
fi
password=$(told requirepass)
if [ -n "$password" ]; then
    REDISCLI_AUTH=$password
    export REDISCLI_AUTH
fi
answer=$(redis-cli -h "${HEALTHCHECK_HOST:-127.0.0.1}" -p "$port" ping)
case "$answer" in
# One that loads its data or follows a master that is away is at work, not ill.
PONG | LOADING* | MASTERDOWN*) ;;
*)
    echo "port $port answers: $answer" >&2
    exit 1 ;;
esac
