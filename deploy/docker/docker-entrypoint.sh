#!/bin/sh
# Starts what the arguments name. They are those of the official Redis image:
#   (none)                                 a node with its defaults
#   --appendonly yes, /etc/my.conf         a node with options, with a file
#   redis-server …, redis-sentinel …       a node, a sentinel
#   slotward …, redis-cli …, sh            anything else that is in the image
# Started as root, nodes and sentinels run as the user `redis`, to whom the working folder (/data)
# is given; --user chooses another, and then nothing is changed.
set -e

# first arg is an option or a configuration file
case "${1-}" in
'' | -* | *.conf | *.yaml | *.yml) set -- redis-server "$@" ;;
esac

case "$1" in
redis-server | redis-sentinel) serves=yes ;;
slotward)
    case "${2-}" in
    server | sentinel) serves=yes ;;
    *) serves=no ;;
    esac ;;
*) serves=no ;;
esac

if [ "$serves" = yes ]; then
    # Only those ports of a container are reached that somebody publishes, and clients never come
    # from its own loopback: protected mode is off unless it is asked for.
    if [ -z "${SLOTWARD_PROTECTED_MODE+told}" ]; then
        told=no
        for word in "$@"; do
            case "$word" in
            --protected-mode) told=yes ;;
            *.conf | *.yaml | *.yml)
                if grep -qiE '^[[:space:]]*protected[-_]mode' "$word" 2>/dev/null; then told=yes; fi ;;
            esac
        done
        if [ "$told" = no ]; then
            SLOTWARD_PROTECTED_MODE=no
            export SLOTWARD_PROTECTED_MODE
        fi
    fi
    # What a node keeps is for nobody else's eyes, unless the one who runs it said otherwise.
    if [ "$(umask)" = 0022 ]; then
        umask 0077
    fi
    if [ "$(id -u)" = 0 ]; then
        find . \! -user redis -exec chown redis:redis '{}' +
        exec setpriv --reuid=redis --regid=redis --clear-groups -- "$@"
    fi
fi

exec "$@"
