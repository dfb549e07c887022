#!/bin/sh
# Plain curl: waits until Flux has reconciled a revision, and says in its exit code what became of it.
#
#   curl.sh REVISION [PARAMETER=VALUE...]     e.g. curl.sh "$(git rev-parse HEAD)" objects=Kustomization/flux-system/apps
#
# FLUX_EVENT_STORE        where it listens (http://127.0.0.1:8080)
# FLUX_EVENT_STORE_TOKEN  the token of --read-token-file; empty where reading is open
# WAIT_SECONDS            how long to wait in all (900)
#
# Exit code: 0 reconciled, 1 failed or ambiguous, 2 not decided in time, 3 superseded by another revision, 4 the request
# itself was wrong or nobody answers. The last answer is on stdout: one sentence.
set -u

base=${FLUX_EVENT_STORE:-http://127.0.0.1:8080}
[ $# -ge 1 ] || { echo "usage: $0 REVISION [PARAMETER=VALUE...]" >&2; exit 4; }
revision=$1
shift
end=$(($(date +%s) + ${WAIT_SECONDS:-900}))
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT

# What follows is an argument each: values are encoded by curl, so that a "+" or "&" in one stays what it is.
count=$#
set -- "$@" --data-urlencode "revision=$revision"
while [ "$count" -gt 0 ]; do
  parameter=$1
  shift
  set -- "$@" --data-urlencode "$parameter"
  count=$((count - 1))
done

while :; do
  left=$((end - $(date +%s)))
  [ "$left" -gt 50 ] && left=50 # below the idle timeout of most proxies
  [ "$left" -lt 0 ] && left=0
  : >"$answer"
  status=$(curl --silent --show-error --get "$@" --data-urlencode "timeout=${left}s" --output "$answer" \
    --write-out '%{http_code}' --max-time "$((left + 10))" --header 'Accept: text/plain' \
    --header "Authorization: Bearer ${FLUX_EVENT_STORE_TOKEN:-}" "$base/wait") || status=000
  case $status in
    408 | 503 | 000) [ "$left" -gt 0 ] || break ;;
    *) break ;;
  esac
  [ "$status" = 408 ] || sleep 2
done
cat "$answer"
case $status in
  200) exit 0 ;;
  409) exit 1 ;;
  408) exit 2 ;;
  410) exit 3 ;;
  000) echo "$0: nobody answers at $base" >&2; exit 4 ;;
  *) echo "$0: $base answered $status" >&2; exit 4 ;;
esac
