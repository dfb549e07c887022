#!/bin/sh
# Posts an event from a file or stdin, signed as notification-controller signs it for a Provider of type generic-hmac.
#
#   post.sh KEY_FILE [EVENT_FILE]       FLUX_EVENT_STORE: where it listens (http://127.0.0.1:8080)
#
# The signature covers the bytes as they are sent: hence --data-binary.
set -eu

[ $# -ge 1 ] || { echo "usage: $0 KEY_FILE [EVENT_FILE]" >&2; exit 2; }
key=$(cat "$1")
body=$(mktemp)
trap 'rm -f "$body"' EXIT
cat "${2:--}" >"$body"
signature=$(openssl dgst -sha256 -hmac "$key" -r <"$body" | cut -d ' ' -f 1)
curl --fail-with-body --silent --show-error --header 'Content-Type: application/json' \
  --header "X-Signature: sha256=$signature" --data-binary "@$body" "${FLUX_EVENT_STORE:-http://127.0.0.1:8080}/events"
