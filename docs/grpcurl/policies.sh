#!/bin/sh
# Every call of fastbreak.v1.PolicyService, on a policy that is made here and deleted again.
set -eu

call() {
    echo "# $1 $2"
    "${GRPCURL:-grpcurl}" -plaintext -d "$2" "${FASTBREAK_GRPC:-127.0.0.1:4317}" "fastbreak.v1.PolicyService/$1"
}

policy() {
    echo '{"id": "docs_products", "name": "Products", "selector": {"service": "docs-*", "target": "products"},
        "cache": {"l1_ttl": "'"$1"'", "l2_ttl": "3600s", "compression": "COMPRESSION_ZSTD"}}'
}

call CreatePolicy '{"policy": '"$(policy 60s)"', "dry_run": true}'
call CreatePolicy '{"policy": '"$(policy 60s)"', "author": "me", "reason": "products change rarely"}'
call UpdatePolicy '{"policy": '"$(policy 120s)"', "revision": 1, "author": "me", "reason": "rarer still"}'
call GetPolicy '{"id": "docs_products"}'
call ListPolicies '{}'
call ListPolicyRevisions '{"id": "docs_products"}'
call DiffPolicy '{"id": "docs_products", "from_revision": 1}'
call RevertPolicy '{"id": "docs_products", "to_revision": 1, "author": "me", "reason": "they do not"}'

# What an instance of docs-shop is told first; an SDK stays, and answers each nonce.
call Watch '{"hello": {"service": "docs-shop", "instance": "docs-shop-1"}}'

call DeletePolicy '{"id": "docs_products", "author": "me", "reason": "end of the docs"}'
