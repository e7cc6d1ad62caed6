#!/bin/sh
# Every call of fastbreak.v1.ReceiverService, on a webhook that is made here and deleted again.
# Usage: receivers.sh [URL]; the URL is called once by TestReceiver.
set -eu

url=${1:-https://example.com/hook}

call() {
    echo "# $1 $2"
    "${GRPCURL:-grpcurl}" -plaintext -d "$2" "${FASTBREAK_GRPC:-127.0.0.1:4317}" "fastbreak.v1.ReceiverService/$1"
}

receiver() {
    echo '"id": "docs_hook", "receiver": {"kind": "webhook", "enabled": '"$1"', "secrets": {"url": "'"$url"'"}}'
}

# Secrets go in and never come out: only whether they are set, and their last four characters.
call CreateReceiver "{$(receiver true), \"dry_run\": true}"
call CreateReceiver "{$(receiver true)}"
call GetReceiver '{"id": "docs_hook"}'
call ListReceivers '{}'

# Sends a message now and says what came of it.
call TestReceiver '{"id": "docs_hook"}'

# A change names the revision that was seen; a stale one is ABORTED.
call UpdateReceiver "{$(receiver false), \"revision\": 1}"

# The delivery log, newest first; narrowed by receiver, state or alert. One that was given up can be sent again.
call ListDeliveries '{"limit": 5}'
delivery=$(call ListDeliveries '{"limit": 1}' | sed -n 's/^ *"id": "\(.*\)",*$/\1/p' | head -n 1)
if [ -n "$delivery" ]; then
    call GetDelivery "{\"id\": \"$delivery\"}"
    call ResendDelivery "{\"id\": \"$delivery\"}"
fi

call DeleteReceiver '{"id": "docs_hook", "revision": 2, "dry_run": true}'
call DeleteReceiver '{"id": "docs_hook", "revision": 2}'
