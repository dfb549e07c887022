#!/usr/bin/env bash
# Plays the stories of the README: the real binary, a small API server in the place of Kubernetes, and curl in the place
# of Flux. Exits 0 only when each Run ended as the story says.
#
#   test/demo.sh          make demo: plays the stories
#   test/demo.sh --stay   make run: the same set-up, stays up, and prints the commands to try
#
# FES_BINARY and FES_FAKE name the two programs. Needs bash, curl and coreutils only.
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
binary=${FES_BINARY:-$here/build/flux-event-store}
fake=${FES_FAKE:-$here/build/test/fake-apiserver}
golden=$here/test/golden/flux/01-ks-success.json
commit=5394cb7f48332b2de7c17dd8b8384bbc84b7e738
deadline_s=${FES_DEADLINE:-20}
stay=no
problems=0
pids=()
work=$(mktemp -d "${TMPDIR:-/tmp}/flux-event-store-demo.XXXXXX") || exit 1

# Ends what was started here, by pid, however this script ends.
clean_up() {
  local pid
  trap - EXIT INT TERM HUP
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null; done
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

bold() { if [ -t 1 ]; then printf '\033[1m%s\033[0m\n' "$*"; else printf '%s\n' "$*"; fi; }

die() {
  printf '\ndemo: %s\n' "$1" >&2
  local log
  for log in "$work"/*.log; do
    [ -s "$log" ] && printf -- '--- last lines of %s\n' "${log##*/}" >&2 && tail -n 20 "$log" >&2
  done
  exit 1
}

# until_true WHAT COMMAND...: looks every 20 ms until COMMAND succeeds; dies when a program ended or time is over.
until_true() {
  local what=$1 end=$((SECONDS + deadline_s)) pid
  shift
  until "$@"; do
    for pid in "${pids[@]}"; do
      kill -0 "$pid" 2>/dev/null || die "a program ended while waiting for: $what"
    done
    [ "$SECONDS" -lt "$end" ] || die "not within $deadline_s s: $what"
    sleep 0.02
  done
}

# ---- the API server ----

api() { curl -sS --fail-with-body --max-time 10 -K "$work/curlrc" "$@"; }

start_api_server() {
  [ -x "$fake" ] || die "no such program: $fake"
  "$fake" --dir "$work/api" 2>"$work/fake-apiserver.log" &
  pids+=($!)
  until_true "the API server" test -e "$work/api/ready"
  api_url=$(sed -n 's/^url //p' "$work/api/info")
  # The token not on the command line, where ps would show it. The directory of mktemp is ours alone.
  printf 'cacert = "%s"\nheader = "Authorization: Bearer %s"\n' "$work/api/ca.crt" "$(cat "$work/api/token")" \
    >"$work/curlrc"
}

table() { api "$api_url/_control/table?resource=$1"; }

# The last write to an object: "MS NAMESPACE/NAME VERSION TYPE SUCCEEDED REASON".
last_write() { api "$api_url/_control/writes?resource=$1&object=default/$2" | tail -n 1; }

# has_condition RESOURCE NAME STATUS [REASON]; leaves the time of that write in $written_ms.
has_condition() {
  local succeeded reason
  read -r written_ms _ _ _ succeeded reason <<<"$(last_write "$1" "$2")"
  [ "$succeeded" = "$3" ] && { [ $# -lt 4 ] || [ "$reason" = "$4" ]; }
}

# create RESOURCE GROUP-VERSION FILE
create() {
  api -o "$work/answer" "$api_url/apis/$2/namespaces/default/$1" -H 'Content-Type: application/json' \
    --data-binary "@$3" || die "the API server refused $3: $(cat "$work/answer")"
}

# ---- the product ----

is_ready() { curl -sf --max-time 5 -o /dev/null "$url/readyz"; }

# The bound address, from the line that the binary logs once it listens.
bound_address() {
  address=$(sed -n '/listening/s/.*\(127\.0\.0\.1:[1-9][0-9]*\).*/\1/p' "$work/flux-event-store.log" | head -n 1)
  [ -n "$address" ]
}

start_binary() {
  [ -x "$binary" ] || die "no such program: $binary"
  : >"$work/flux-event-store.log" # bound_address may look before the program has begun
  # In a container, the temporary directory may well be on FUSE; these data need not outlive anything.
  "$binary" --listen 127.0.0.1:0 --data-dir "$work/data" --allow-network-fs --kube-api "$api_url" \
    --kube-token-file "$work/api/token" --kube-ca-file "$work/api/ca.crt" 2>"$work/flux-event-store.log" &
  pids+=($!)
  until_true "flux-event-store to listen" bound_address
  url=http://$address
  until_true "$url/readyz to be 200" is_ready
}

# ---- the stories ----

run_json() {
  printf '%s' '{"apiVersion":"tekton.dev/v1alpha1","kind":"Run","metadata":{"name":"'"$1"'"},"spec":{"ref":' \
    '{"apiVersion":"github.com/janakerman/flux-event-store/v0","kind":"FluxDeploymentWait"},' \
    '"params":[{"name":"revision","value":"'"$2"'"}]}}'
}

customrun_json() {
  printf '%s' '{"apiVersion":"tekton.dev/v1beta1","kind":"CustomRun","metadata":{"name":"'"$1"'"},"spec":{"customRef":' \
    '{"apiVersion":"flux-event-store.dev/v1","kind":"FluxDeploymentWait"},' \
    '"params":[{"name":"revision","value":"'"$2"'"}]}}'
}

# $2 - $1 with one decimal, for two numbers with three; shell arithmetic has no fractions.
difference() {
  local from=${1/./} to=${2/./} tenths
  tenths=$(((to - from) / 100))
  printf '%d.%d' $((tenths / 10)) $((tenths % 10))
}

# $EPOCHREALTIME as milliseconds with three decimals.
now_ms() {
  local now=${EPOCHREALTIME/[.,]/}
  printf '%s.%s' "${now%???}" "${now: -3}"
}

# tell RESOURCE NAME STATUS REASON DATA: posts the event and says how its Run ended, and when.
tell() {
  local resource=$1 name=$2 status=$3 reason=$4 data=$5 shown=$5 posted answer seconds
  [ "${data#@}" = "$data" ] && shown="'$data'" || shown="@${data#@"$here/"}"
  bold "\$ curl $url/events -d $shown"
  posted=$(now_ms)
  answer=$(curl -sS --fail-with-body --max-time 10 -w '\n%{time_total}' "$url/events" -H 'Content-Type: application/json' \
    --data-binary "$data") || die "the event was not accepted: $answer"
  seconds=${answer##*$'\n'}
  printf '%s\n\n' "$(printf '%s' "${answer%$'\n'*}")" # one newline, whether the answer ended in one or not
  until_true "$name to be done" is_done "$resource" "$name"
  table "$resource"
  printf '\n%s ms from starting curl to the status of %s (curl itself: %s s)\n' "$(difference "$posted" "$written_ms")" \
    "$name" "$seconds"
  if ! has_condition "$resource" "$name" "$status" "$reason"; then
    printf 'demo: %s should be %s %s, but is: %s\n' "$name" "$status" "$reason" "$(last_write "$resource" "$name")" >&2
    problems=$((problems + 1))
  fi
  echo
}

is_done() { has_condition "$1" "$2" True || has_condition "$1" "$2" False; }

# wait_for RESOURCE GROUP-VERSION NAME: creates the object in $work/NAME.json and shows it waiting.
wait_for() {
  create "$1" "$2" "$work/$3.json"
  until_true "$3 to wait" has_condition "$1" "$3" Unknown Waiting
  bold "\$ kubectl get $1"
  table "$1"
  echo
}

play() {
  bold "1. A Run waits for revision a; its build fails."
  run_json wait-for-a a >"$work/wait-for-a.json"
  wait_for runs tekton.dev/v1alpha1 wait-for-a
  tell runs wait-for-a False ReconciliationFailed \
    '{"metadata":{"revision":"a"},"timestamp":"0001-01-01T00:01:00Z","reason":"BuildFailed"}'

  bold "2. A Run waits for revision b; it is deployed. (The ref .../v0 keeps the first version's spelling.)"
  run_json wait-for-b b >"$work/wait-for-b.json"
  wait_for runs tekton.dev/v1alpha1 wait-for-b
  tell runs wait-for-b True ReconciliationSuceeded \
    '{"metadata":{"revision":"b"},"timestamp":"0001-01-01T00:01:00Z","reason":"ReconciliationSucceeded"}'

  bold "3. A CustomRun waits for a commit; Flux reports main@sha1:5394cb7f..."
  customrun_json wait-for-commit "$commit" >"$work/wait-for-commit.json"
  wait_for customruns tekton.dev/v1beta1 wait-for-commit
  tell customruns wait-for-commit True ReconciliationSucceeded "@$golden"

  [ "$problems" -eq 0 ] || die "$problems of 3 stories came out wrong"
  bold "All three Runs ended as they should."
}

say_what_to_try() {
  local api_curl="curl -K $work/curlrc"
  run_json wait-for-a a >"$work/run.json"
  customrun_json wait-for-commit "$commit" >"$work/customrun.json"
  cat <<TEXT
flux-event-store is at $url, the API server at $api_url. Try, in another terminal:

# what flux-event-store says
tail -f $work/flux-event-store.log

# a Run that waits for revision a, and one look at the Runs
$api_curl $api_url/apis/tekton.dev/v1alpha1/namespaces/default/runs -H 'Content-Type: application/json' -d @$work/run.json
$api_curl '$api_url/_control/table?resource=runs'

# Flux says that its build failed; look again
curl $url/events -d '{"metadata":{"revision":"a"},"timestamp":"0001-01-01T00:01:00Z","reason":"BuildFailed"}'
$api_curl '$api_url/_control/table?resource=runs'

# a CustomRun that waits for a commit, and the event that completes it
$api_curl $api_url/apis/tekton.dev/v1beta1/namespaces/default/customruns -H 'Content-Type: application/json' -d @$work/customrun.json
curl $url/events -d @$golden
$api_curl '$api_url/_control/table?resource=customruns'

# what is stored, and how ready the process is
curl '$url/events?revision=$commit'
curl $url/readyz

Ctrl-C ends both and removes $work.
TEXT
}

case ${1:-} in
  '') ;;
  --stay) stay=yes ;;
  *)
    echo "usage: test/demo.sh [--stay]" >&2
    exit 2
    ;;
esac
start_api_server
start_binary
if [ "$stay" = yes ]; then
  trap 'exit 0' INT # make run shall not end in an error
  say_what_to_try
  wait -n "${pids[@]}"
  die "a program ended by itself"
fi
play
