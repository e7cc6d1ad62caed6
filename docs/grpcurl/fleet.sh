#!/bin/sh
# Every call of fastbreak.v1.FleetService. Instances are services whose SDK watches policies.
set -eu

call() {
    echo "# $1 $2"
    "${GRPCURL:-grpcurl}" -plaintext -d "$2" "${FASTBREAK_GRPC:-127.0.0.1:4317}" "fastbreak.v1.FleetService/$1"
}

call ListInstances '{}'
call ListInstances '{"service": "docs-shop", "behind": true}'

# NOT_FOUND as long as no instance of such a service watches; its id is what GetWarming asks for.
call Warm '{"service": "docs-*", "key_space": "products", "keys": ["1", "2", "3"]}' || true
call GetWarming '{"id": "0123456789abcdef"}' || true
call ListWarmings '{"limit": 10}'
