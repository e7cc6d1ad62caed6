#!/bin/sh
# Every call of fastbreak.v1.InvalidationService, on entries that nobody has.
set -eu

call() {
    echo "# $1 $2"
    "${GRPCURL:-grpcurl}" -plaintext -d "$2" "${FASTBREAK_GRPC:-127.0.0.1:4317}" "fastbreak.v1.InvalidationService/$1"
}

made=$(call Invalidate '{"service": "docs-shop", "key_space": "products", "tags": ["shoes"], "author": "me",
    "reason": "shoes are on sale"}')
echo "$made"
sequence=$(echo "$made" | sed -n 's/.*"sequence": "\([0-9]*\)".*/\1/p')
call Invalidate '{"service": "docs-*", "key_space": "products", "prefixes": ["shoe:"], "keys": ["42"]}'

# Converged once no instance reads an entry from before: each has acknowledged it, or its lease is over, and one has brought
# it to their Redis. Here it waits for the first instance of docs-shop.
call GetInvalidation '{"sequence": '"$sequence"'}'
call ListInvalidations '{"limit": 10}'
