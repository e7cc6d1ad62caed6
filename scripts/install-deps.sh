#!/bin/sh
# Installs what a bare Debian machine with Rust and Node lacks: Postgres, Redis, Python's venv, and
# Chromium for the browser tests. Does nothing where they are.
set -eu

missing=""
need() {
    # need <test command> <package>
    if ! sh -c "$1" >/dev/null 2>&1; then missing="$missing $2"; fi
}
need 'ls /usr/lib/postgresql/*/bin/postgres || command -v postgres' postgresql
need 'command -v redis-server' redis-server
need 'command -v cc' gcc
need 'python3 -c "import venv, ensurepip"' python3-venv
need 'command -v chromium || command -v chromium-browser || command -v google-chrome || test -x "$CHROMIUM"' chromium

if ! command -v npm >/dev/null 2>&1; then
    echo "npm and Node 20 or later build the dashboard; install them first" >&2
    exit 1
fi

[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null 2>&1; then
    echo "these are missing and there is no apt-get to install them with:$missing" >&2
    exit 1
fi
sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo"
echo "installing:$missing" >&2
$sudo apt-get update -qq
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing >&2
