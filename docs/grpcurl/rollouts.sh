#!/bin/sh
# Every call of fastbreak.v1.RolloutService, on a policy that is made here and deleted again.
set -eu

call() {
    echo "# $1 $2"
    "${GRPCURL:-grpcurl}" -plaintext -d "$2" "${FASTBREAK_GRPC:-127.0.0.1:4317}" "fastbreak.v1.${3:-RolloutService}/$1"
}

policy() {
    echo '{"id": "docs_staged", "name": "Staged", "selector": {"service": "docs-*"}, "cache": {"l1_ttl": "'"$1"'"}}'
}

start() {
    echo '{"policy": '"$(policy "$1")"', "author": "me", "reason": "fewer loads",
        "stages": [{"percent": 10, "bake": "300s"}, {"percent": 50, "bake": "300s"}, {"percent": 100, "bake": "60s"}],
        "guards": [{"name": "p95", "max_ratio": 1.2, "hold_for": "30s",
            "query": "histogram_quantile(0.95, sum(rate(http_server_request_duration_seconds{$group}[1m])))"}]'"$2"'}'
}

call CreatePolicy '{"policy": '"$(policy 60s)"'}' PolicyService

call StartRollout "$(start 120s ', "dry_run": true')"
started=$(call StartRollout "$(start 120s '')")
echo "$started"
id=$(echo "$started" | sed -n 's/^  "id": "\(.*\)",/\1/p')
call GetRollout '{"id": "'"$id"'"}'
call PauseRollout '{"id": "'"$id"'", "author": "me", "reason": "lunch"}'
call ResumeRollout '{"id": "'"$id"'", "author": "me"}'
call PromoteRollout '{"id": "'"$id"'", "author": "me", "reason": "in a hurry"}'
call RollBackRollout '{"id": "'"$id"'", "author": "me", "reason": "in too much of a hurry"}'
call ListRollouts '{"policy_id": "docs_staged"}'

call DeletePolicy '{"id": "docs_staged"}' PolicyService
