#!/bin/sh
# Installs what building (`build`), testing (`test`) and measuring (`bench`) need and what is not
# there yet. Packages come from apt, pip and npm by name. Never starts or enables a service.
set -eu
cd "$(dirname "$0")/.."

say() { echo "install: $*" >&2; }

missing=""

# need COMMAND PACKAGE: notes the package if there is no such command.
need() {
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}

apt_install() {
    [ -n "$missing" ] || return 0
    if ! command -v apt-get >/dev/null 2>&1 || [ "$(id -u)" != 0 ]; then
        say "missing:$missing. Install them, or run this as root on Debian."
        exit 1
    fi
    say "installing$missing"
    keep_services_off
    apt-get update -qq
    # shellcheck disable=SC2086  # several words are meant
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
    let_services_be
    missing=""
}

policy=/usr/sbin/policy-rc.d
policy_is_ours=no

# Debian starts what it installs, unless this script says no.
keep_services_off() {
    [ -e "$policy" ] && return 0
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    policy_is_ours=yes
    trap let_services_be EXIT
}

let_services_be() {
    if [ "$policy_is_ours" = yes ]; then
        rm -f "$policy"
        policy_is_ours=no
    fi
    case "$missing" in *redis-server*)
        if command -v systemctl >/dev/null 2>&1; then
            systemctl disable redis-server >/dev/null 2>&1 || true
        fi ;;
    esac
}

need_build() {
    need cc build-essential
    if ! command -v cargo >/dev/null 2>&1; then
        say "cargo is missing: install Rust 1.95 or newer (rustup.rs)"
        exit 1
    fi
}

need_test() {
    need redis-cli redis-tools
    need redis-server redis-server
    need node nodejs
    need npm npm
    need ip iproute2
    need shellcheck shellcheck
    need docker-compose docker-compose
    python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || missing="$missing python3-venv"
}

# venv REQUIREMENTS: puts these into .venv, once per content of the file.
venv() {
    [ -x .venv/bin/python ] || python3 -m venv .venv
    stamp=".venv/$(basename "$1").installed"
    if ! cmp -s "$1" "$stamp"; then
        say "installing Python packages of $1"
        .venv/bin/python -m pip install -q --disable-pip-version-check -r "$1"
        cp "$1" "$stamp"
    fi
}

node_modules() {
    if ! cmp -s tests/node/package.json tests/node/node_modules/.installed; then
        say "installing Node packages of tests/node"
        npm install --prefix tests/node --no-package-lock --no-audit --no-fund --loglevel=error >/dev/null
        cp tests/node/package.json tests/node/node_modules/.installed
    fi
}

for part in "$@"; do
    case "$part" in
    build) need_build && apt_install ;;
    test) need_test && apt_install && venv tests/requirements.txt && node_modules ;;
    bench) venv bench/requirements.txt ;;
    *) say "unknown part: $part" && exit 1 ;;
    esac
done
