#!/usr/bin/env bash
# Builds the real components that the end-to-end tests run, once, into a cache outside the repository.
#
# usage: build.sh [COMPONENT...]        COMPONENT: see component() at the end; none: all that every run needs
#
# Each component becomes one folder $FES_E2E_CACHE/<name>-<version>, put there by a rename when it is
# complete: a folder that exists is good, and an interrupted build leaves only a scratch folder that the next
# call throws away (what the compiler had finished stays in Go's own build cache). Versions are pinned here
# and nowhere else; changing one changes the folder's name. One call at a time works on a component.
set -euo pipefail

# Pinned together: these versions were tried with each other. Tekton 0.24.1 gives only its Run CRD.
KUBERNETES=1.36.1
KUBERNETES_STAGING=0.36.1
TEKTON=1.15.0
TEKTON_OLD=0.24.1
HELM=3.18.6
NOTIFICATION_CONTROLLER=1.5.0
KUSTOMIZE_CONTROLLER=1.7.3
HELM_CONTROLLER=1.4.0
SOURCE_CONTROLLER=1.7.0
PROMETHEUS_OPERATOR=0.79.2
GATEWAY_API=1.2.1
KUSTOMIZE=5.7.1
GO_MINIMUM=1.26
DEBIAN=bookworm

CACHE=${FES_E2E_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/flux-event-store-e2e}

die() {
  printf 'e2e: %s\n' "$*" >&2
  exit 1
}

say() {
  printf 'e2e: %s\n' "$*" >&2
}

find_go() {
  local have
  if ! command -v go >/dev/null && [ -x /usr/local/go/bin/go ]; then
    PATH=$PATH:/usr/local/go/bin
  fi
  command -v go >/dev/null || die "Go $GO_MINIMUM or later is needed, on PATH or in /usr/local/go/bin: found none"
  # Asked beside go.mod: a go that fetches the toolchain which a module wants is as good as that toolchain.
  have=$(cd "$(dirname "${BASH_SOURCE[0]}")" && go env GOVERSION 2>&1) ||
    die "Go $GO_MINIMUM or later is needed: $have"
  have=${have#go}
  if [ "$(printf '%s\n%s\n' "$GO_MINIMUM" "$have" | sort -V | head -n 1)" != "$GO_MINIMUM" ]; then
    die "Go $GO_MINIMUM or later is needed; $(command -v go) is $have"
  fi
}

# Prints the folder of a downloaded module: module_dir PATH VERSION
module_dir() {
  local info dir
  info=$(GOFLAGS=-mod=mod go mod download -json "$1@$2") || die "module $1@$2 cannot be downloaded: $info"
  dir=$(sed -n 's/^[[:space:]]*"Dir": "\(.*\)",\{0,1\}$/\1/p' <<<"$info")
  [ -d "$dir" ] || die "module $1@$2: no folder in: $info"
  printf '%s\n' "$dir"
}

# Starts a module of its own for one command, as the dependencies of the components conflict:
# new_module FOLDER PACKAGE MODULE@VERSION [OLD=NEW...]
new_module() {
  local folder=$1 package=$2 module=$3 replace
  shift 3
  mkdir -p "$folder"
  (
    cd "$folder"
    printf 'module e2e.invalid/component\n\ngo %s\n' "$GO_MINIMUM" >go.mod
    printf '//go:build tools\n\npackage tools\n\nimport _ "%s"\n' "$package" >tools.go
    go mod edit -require="$module"
    for replace in "$@"; do
      go mod edit -replace="$replace"
    done
  )
}

# compile FOLDER PACKAGE OUTPUT [LDFLAGS]: a command as a static binary. -e: test dependencies of dependencies
# may be missing.
compile() {
  (
    cd "$1"
    GOFLAGS='-mod=mod -buildvcs=false' go mod tidy -e >tidy.log 2>&1 || {
      tail -n 20 tidy.log >&2
      die "$2: go mod tidy failed"
    }
    CGO_ENABLED=0 GOFLAGS='-mod=mod -buildvcs=false' \
      nice go build -trimpath -ldflags="-s -w ${4:-}" -o "$3" "$2"
  )
}

# A command of k8s.io/kubernetes, with the modules that its own repository has beside it: kubernetes_command NAME
kubernetes_command() {
  local k8s module replaces=() version=k8s.io/component-base/version minor=${KUBERNETES#*.}
  minor=${minor%%.*}
  k8s=$(module_dir k8s.io/kubernetes "v$KUBERNETES")
  while read -r module; do
    replaces+=("$module=$module@v$KUBERNETES_STAGING")
  done < <(sed -n 's|^[[:space:]]*\(k8s\.io/[^ ]*\) => \./staging/.*|\1|p' "$k8s/go.mod")
  [ ${#replaces[@]} -gt 0 ] || die "k8s.io/kubernetes v$KUBERNETES: no staging modules in its go.mod"
  new_module src "k8s.io/kubernetes/cmd/$1" "k8s.io/kubernetes@v$KUBERNETES" "${replaces[@]}"
  # Without these the server gives its version as a template, which Tekton's controller refuses to read.
  compile src "k8s.io/kubernetes/cmd/$1" "$PWD/$1" \
    "-X $version.gitVersion=v$KUBERNETES -X $version.gitMajor=${KUBERNETES%%.*} -X $version.gitMinor=$minor"
}

build_kube_apiserver() {
  kubernetes_command kube-apiserver
}

build_kubectl() {
  kubernetes_command kubectl
}

build_tekton() {
  local tekton
  tekton=$(module_dir github.com/tektoncd/pipeline "v$TEKTON")
  new_module src github.com/tektoncd/pipeline/cmd/controller "github.com/tektoncd/pipeline@v$TEKTON"
  compile src github.com/tektoncd/pipeline/cmd/controller "$PWD/controller"
  mkdir config crds
  cp "$tekton"/config/config-*.yaml config/
  cp "$tekton"/config/300-crds/*.yaml crds/
}

build_tekton_old() {
  local tekton
  tekton=$(module_dir github.com/tektoncd/pipeline "v$TEKTON_OLD")
  mkdir crds
  cp "$tekton/config/300-run.yaml" crds/
}

build_helm() {
  new_module src helm.sh/helm/v3/cmd/helm "helm.sh/helm/v3@v$HELM"
  compile src helm.sh/helm/v3/cmd/helm "$PWD/helm"
}

build_notification_controller() {
  new_module src github.com/fluxcd/notification-controller \
    "github.com/fluxcd/notification-controller@v$NOTIFICATION_CONTROLLER" \
    "gopkg.in/yaml.v3=gopkg.in/yaml.v3@v3.0.1"
  compile src github.com/fluxcd/notification-controller "$PWD/notification-controller"
}

build_flux_crds() {
  local dir name version
  mkdir crds
  while read -r name version; do
    dir=$(module_dir "github.com/fluxcd/$name" "v$version")
    cp "$dir"/config/crd/bases/*.yaml crds/
  done <<LIST
notification-controller $NOTIFICATION_CONTROLLER
kustomize-controller $KUSTOMIZE_CONTROLLER
helm-controller $HELM_CONTROLLER
LIST
}

# The kinds of Flux's sources, which the examples in docs/ have.
build_source_crds() {
  local dir
  dir=$(module_dir github.com/fluxcd/source-controller "v$SOURCE_CONTROLLER")
  mkdir crds
  cp "$dir"/config/crd/bases/*.yaml crds/
}

# What the chart can make objects of beside Flux's kinds.
build_chart_crds() {
  local prometheus gateway
  prometheus=$(module_dir github.com/prometheus-operator/prometheus-operator "v$PROMETHEUS_OPERATOR")
  gateway=$(module_dir sigs.k8s.io/gateway-api "v$GATEWAY_API")
  mkdir crds
  cp "$prometheus/example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml" \
    "$prometheus/example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml" \
    "$gateway/config/crd/standard/gateway.networking.k8s.io_httproutes.yaml" crds/
}

build_kustomize() {
  new_module src sigs.k8s.io/kustomize/kustomize/v5 "sigs.k8s.io/kustomize/kustomize/v5@v$KUSTOMIZE"
  compile src sigs.k8s.io/kustomize/kustomize/v5 "$PWD/kustomize"
}

# What the Dockerfile starts from, for a machine that cannot pull it: Debian's own minimal system.
build_base_image() {
  command -v debootstrap >/dev/null || die "debootstrap is missing: it is in Debian's package of that name"
  [ "$(id -u)" -eq 0 ] || die "debootstrap needs root to make the base image"
  mkdir src
  debootstrap --variant=minbase "$DEBIAN" src/root >src/log 2>&1 || {
    tail -n 20 src/log >&2
    die "debootstrap failed"
  }
  rm -rf src/root/var/cache/apt/archives/*.deb
  # As the published image has it: a package that is half unpacked is not worth a sync for each of its files.
  echo force-unsafe-io >src/root/etc/dpkg/dpkg.cfg.d/docker-apt-speedup
  tar -C src/root -cf base.tar .
}

# build NAME VERSION FUNCTION
build() {
  local name=$1 version=$2 make=$3 target=$CACHE/$1-$2 scratch=$CACHE/.building-$1-$2 started=$SECONDS
  if [ ! -d "$target" ]; then
    (
      flock 9
      if [ ! -d "$target" ]; then
        say "building $name $version"
        rm -rf "$scratch"
        mkdir -p "$scratch"
        cd "$scratch"
        "$make"
        rm -rf "$scratch/src"
        chmod -R u+w "$scratch"
        mv "$scratch" "$target"
        say "built $name $version in $((SECONDS - started)) s"
      fi
    ) 9>"$CACHE/.lock-$name"
  fi
  printf '%s=%s\n' "$name" "$target"
}

component() {
  case $1 in
  kube-apiserver) build kube-apiserver "$KUBERNETES" build_kube_apiserver ;;
  kubectl) build kubectl "$KUBERNETES" build_kubectl ;;
  tekton) build tekton "$TEKTON" build_tekton ;;
  tekton-old) build tekton-old "$TEKTON_OLD" build_tekton_old ;;
  helm) build helm "$HELM" build_helm ;;
  flux-crds)
    build flux-crds "$NOTIFICATION_CONTROLLER-$KUSTOMIZE_CONTROLLER-$HELM_CONTROLLER" build_flux_crds
    ;;
  notification-controller)
    build notification-controller "$NOTIFICATION_CONTROLLER" build_notification_controller
    ;;
  source-crds) build source-crds "$SOURCE_CONTROLLER" build_source_crds ;;
  chart-crds) build chart-crds "$PROMETHEUS_OPERATOR-$GATEWAY_API" build_chart_crds ;;
  kustomize) build kustomize "$KUSTOMIZE" build_kustomize ;;
  base-image) build base-image "$DEBIAN-2" build_base_image ;;
  *) die "no component '$1': see build.sh" ;;
  esac
}

mkdir -p "$CACHE" || die "cannot create the cache folder $CACHE"
find_go
if [ $# -eq 0 ]; then
  # The others are built when a test asks for them.
  set -- flux-crds tekton-old kube-apiserver tekton helm
fi
for name in "$@"; do
  component "$name"
done
