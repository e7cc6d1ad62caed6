#!/bin/sh
# Every call of fastbreak.v1.RuleService, on a rule that is made here and deleted again.
# grpcurl learns the services from the server (reflection), so it needs no .proto files.
set -eu

call() {
    echo "# $1 $2"
    "${GRPCURL:-grpcurl}" -plaintext -d "$2" "${FASTBREAK_GRPC:-127.0.0.1:4317}" "fastbreak.v1.RuleService/$1"
}

rule() {
    echo '"rule": {"id": "docs_slow", "name": "Slow answers", "condition": "avgResponseTime > threshold",
        "threshold": '"$1"', "severity": "SEVERITY_WARNING", "hold_for": "120s", "cooldown_minutes": 5,
        "notification_channels": ["*"], "thresholds": [{"severity": "SEVERITY_CRITICAL", "threshold": 5000}],
        "annotations": {"summary": "answers take {{ value | round(0) }} ms"}}'
}

# Only check, then create. The same again is answered with what is there.
call CreateRule "{$(rule 1000), \"dry_run\": true}"
call CreateRule "{$(rule 1000)}"
call GetRule '{"id": "docs_slow"}'
call ListRules '{}'

# A change names the revision that was seen; a stale one is ABORTED. 0 replaces whatever is there.
call UpdateRule "{$(rule 800), \"revision\": 1}"
call ListRuleRevisions '{"id": "docs_slow"}'
call RevertRule '{"id": "docs_slow", "to_revision": 1, "dry_run": true}'
call RevertRule '{"id": "docs_slow", "to_revision": 1, "revision": 2}'

# What an edit would have done in the last hour, beside what the stored rule would have.
now=$(date -u +%Y-%m-%dT%H:%M:%SZ)
before=$(date -u -d '1 hour ago' +%Y-%m-%dT%H:%M:%SZ)
call BacktestRule "{\"id\": \"docs_slow\", \"from\": \"$before\", \"to\": \"$now\", $(rule 500)}"

# A notification the way that the rule's alerts go.
call TestRule '{"id": "docs_slow", "by": "me"}'

call DeleteRule '{"id": "docs_slow", "dry_run": true}'
call DeleteRule '{"id": "docs_slow", "revision": 3}'
