#!/bin/sh
# Installs what one exporter program needs: install.sh <python | node | go>. Does nothing when that is done.
# Exits 3 when the toolchain is not there.
set -eu
cd "$(dirname "$0")/$1"

# fresh <made> <source>: true when what was made is newer than what it was made from.
fresh() {
    [ -e "$1" ] && [ "$1" -nt "$2" ]
}

case $1 in
python)
    fresh .venv/installed requirements.txt && exit 0
    python3 -m venv .venv
    .venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
    touch .venv/installed
    ;;
node)
    fresh node_modules/installed package-lock.json && exit 0
    npm ci --silent --no-audit --no-fund
    touch node_modules/installed
    ;;
go)
    go=$(command -v go || echo /usr/local/go/bin/go)
    [ -x "$go" ] || exit 3
    fresh exporters main.go && fresh exporters go.sum && exit 0
    "$go" build -o exporters .
    ;;
*)
    echo "install.sh: no exporter called $1" >&2
    exit 2
    ;;
esac
