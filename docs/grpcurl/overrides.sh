#!/bin/sh
# Every call of fastbreak.v1.OverrideService, on a policy that is made here and deleted again.
set -eu

call() {
    echo "# $1 $2"
    "${GRPCURL:-grpcurl}" -plaintext -d "$2" "${FASTBREAK_GRPC:-127.0.0.1:4317}" "fastbreak.v1.${3:-OverrideService}/$1"
}

call CreatePolicy '{"policy": {"id": "docs_bent", "name": "Bent", "selector": {"service": "docs-*"},
    "cache": {"l1_ttl": "60s"}, "bounds": {"max_ttl": "600s", "max_lease": "900s"}}}' PolicyService

wider='{"id": "docs_wider", "policy_id": "docs_bent", "adjustment": {"ttl_factor": 20, "serve_stale": "300s"},
    "lease": "60s", "author": "me", "reason": "the database is slow"}'
# 20 x 60 s would be 1 200 s; the policy allows 600 s.
call PutOverride '{"override": '"$wider"', "dry_run": true}'
call PutOverride '{"override": '"$wider"'}'
# The same id renews it.
call PutOverride '{"override": '"$wider"'}'
call ListOverrides '{"policy_id": "docs_bent"}'
call DeleteOverride '{"id": "docs_wider", "author": "me", "reason": "it is fast again"}'
call ListEndedOverrides '{"policy_id": "docs_bent"}'

call DeletePolicy '{"id": "docs_bent"}' PolicyService
