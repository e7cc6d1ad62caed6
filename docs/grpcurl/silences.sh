#!/bin/sh
# Every call of fastbreak.v1.SilenceService, on a silence that is made here and ended again.
set -eu

call() {
    echo "# $1 $2"
    "${GRPCURL:-grpcurl}" -plaintext -d "$2" "${FASTBREAK_GRPC:-127.0.0.1:4317}" "fastbreak.v1.SilenceService/$1"
}

silence() {
    echo '"silence": {"id": "docs_upgrade", "matchers": [{"name": "service.name", "op": "=~", "value": "docs-.*"}],
        "ends_at": "'"$(date -u -d "$1" +%Y-%m-%dT%H:%M:%SZ)"'", "created_by": "me", "comment": "upgrade of docs"}'
}

# The alerts that it would keep from being told.
call PreviewSilence '{"matchers": [{"name": "service.name", "op": "=~", "value": "docs-.*"}]}'

# From now on where it does not say when it starts.
call CreateSilence "{$(silence '2 hours'), \"dry_run\": true}"
call CreateSilence "{$(silence '2 hours')}"
call UpdateSilence "{$(silence '3 hours')}"
call GetSilence '{"id": "docs_upgrade"}'
call ListSilences '{}'
call ExpireSilence '{"id": "docs_upgrade"}'
