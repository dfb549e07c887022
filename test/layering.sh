#!/usr/bin/env bash
# The order of the folders: store < http < k8s < controller < main.c. A file includes only what is left of its folder,
# and only the libraries its folder may know. Prints what breaks the order.
set -uo pipefail

failed=0
fail() {
  printf 'layering: %s\n' "$1" >&2
  failed=1
}

# refuse FOLDER PATTERN WHY: no file of the folder may include what matches, apart from the files named after WHY.
refuse() {
  local folder=$1 pattern=$2 why=$3 hits
  shift 3
  hits=$(grep -nE "^ *# *include *[<\"]($pattern)" "$folder"/*.[ch] 2>/dev/null)
  for allowed in "$@"; do hits=$(grep -v "^$allowed:" <<<"$hits"); done
  [ -z "$hits" ] || fail "$folder/: $why"$'\n'"$hits"
}

refuse store 'http/|k8s/|controller/' 'includes a folder to its right'
refuse http 'k8s/|controller/' 'includes a folder to its right'
refuse k8s 'controller/' 'includes a folder to its right'
refuse store 'event2/|event\.h>|openssl/' 'must not know libevent or OpenSSL'
refuse controller 'event2/|openssl/' 'must not know libevent or OpenSSL'
refuse store 'jansson' 'only event_json.c knows jansson' store/event_json.c
for folder in http k8s controller; do
  refuse "$folder" 'lmdb' 'must not know LMDB'
  refuse "$folder" 'store/[a-z0-9_]*_priv\.h' 'uses a private header of store/'
done
for folder in k8s controller; do refuse "$folder" 'http/[a-z0-9_]*_priv\.h' 'uses a private header of http/'; done
refuse controller 'k8s/' 'reaches the API server through struct controller_io only' controller/cluster.c
refuse . '[a-z0-9]*/[a-z0-9_]*_priv\.h' 'main.c uses public headers only'
refuse controller 'http/' 'does not serve HTTP'

# The answer to a question has one definition: classify() decides once, when a record is made; match() decides in the
# verdict, in the gathering for it, and in the filter of GET /events.
users=$(grep -lE '\bclassify\(' ./*.c store/*.c http/*.c k8s/*.c controller/*.c 2>/dev/null | sort | tr '\n' ' ')
for file in $users; do
  case $file in
    store/classify.c | store/batch.c | store/store*.c) ;;
    *) fail "$file calls classify(): only the store does, when it makes a record" ;;
  esac
done
users=$(grep -lE '\brevision_match\(' ./*.c store/*.c http/*.c k8s/*.c controller/*.c 2>/dev/null | sort | tr '\n' ' ')
for file in $users; do
  case $file in
    store/revision*.c | store/verdict*.c | store/ask.c | store/filter.c | store/explain.c) ;;
    *) fail "$file calls revision_match(): ask the verdict instead" ;;
  esac
done

[ $failed -eq 0 ] && echo "layering: ok"
exit $failed
