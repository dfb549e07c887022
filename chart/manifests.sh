#!/usr/bin/env bash
# Writes what users without Helm apply: FOLDER/install.yaml, and FOLDER/kustomize/ as a base for Kustomize.
#
# usage: chart/manifests.sh FOLDER        HELM: the program (default: helm)
#
# Both use a Secret that exists: a template that made keys would make new ones each time it is rendered. Nothing in them
# speaks of Helm, which does not manage these objects.
set -euo pipefail

folder=${1:?usage: chart/manifests.sh FOLDER}
chart=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=flux-event-store
mkdir -p "$folder/kustomize"
objects=$folder/kustomize/objects.yaml

"${HELM:-helm}" template "$name" "$chart" --namespace "$name" --no-hooks \
  --set "hmac.existingSecret=$name" --set persistence.keep=false >"$objects.helm"
sed -e '/^ *app\.kubernetes\.io\/managed-by: Helm$/d' -e '/^ *helm\.sh\/chart: /d' \
  -e 's|^# Source: .*/templates/|# chart/templates/|' "$objects.helm" >"$objects"
rm "$objects.helm"

cat >"$folder/kustomize/kustomization.yaml" <<END
# A base: name it in the resources of an overlay, which may set namespace-wide labels, the image and patches.
# install.yaml says which Secret must be there first.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - namespace.yaml
  - objects.yaml
END
cat >"$folder/kustomize/namespace.yaml" <<END
apiVersion: v1
kind: Namespace
metadata:
  name: $name
  labels:
    pod-security.kubernetes.io/enforce: restricted
END

{
  cat <<END
# $name without Helm. It needs Flux's notification-controller, and this Secret in two namespaces, made once:
#
#   kubectl create namespace $name
#   token=\$(openssl rand -hex 32)
#   kubectl -n $name create secret generic $name \\
#     --from-literal=token="\$token" --from-literal=post-token="\$(openssl rand -hex 32)"
#   kubectl -n flux-system create secret generic $name --from-literal=token="\$token"
#   kubectl apply --server-side -f install.yaml
#
# The Alert at the end names the namespaces whose events are sent: add yours.
END
  cat "$folder/kustomize/namespace.yaml" "$objects"
} >"$folder/install.yaml"
