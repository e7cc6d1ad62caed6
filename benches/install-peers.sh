#!/bin/sh
# Installs the peers that the benchmarks run beside us, below benches/out: rotel from PyPI, VictoriaMetrics where Go is.
set -eu
cd "$(dirname "$0")"
mkdir -p out/peers/bin
if [ ! -x out/peers/venv/bin/pip ]; then python3 -m venv out/peers/venv; fi
out/peers/venv/bin/pip install --quiet rotel==0.0.1a15
ln -sf "$(find "$PWD/out/peers/venv" -name rotel-agent -type f)" out/peers/bin/rotel-agent
if command -v go >/dev/null 2>&1; then
    GOBIN="$PWD/out/peers/bin" go install github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-metrics@v1.150.0
else
    echo "no Go toolchain: VictoriaMetrics is left out" >&2
fi
