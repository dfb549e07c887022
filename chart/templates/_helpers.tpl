{{- define "fes.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "fes.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A name with an ending, still short enough to be one; takes root and suffix. */}}
{{- define "fes.nameWith" -}}
{{- $room := sub 63 (len .suffix) | int -}}
{{- printf "%s%s" (include "fes.fullname" .root | trunc $room | trimSuffix "-") .suffix -}}
{{- end -}}

{{- define "fes.selectorLabels" -}}
app.kubernetes.io/name: {{ include "fes.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "fes.commonLabels" -}}
{{- with .Values.commonLabels }}
{{- toYaml . }}
{{ end -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "fes.labels" -}}
{{ include "fes.selectorLabels" . }}
{{ include "fes.commonLabels" . }}
{{- end -}}

{{/* The annotations of an object, below its metadata; takes root and its own ones, which win. */}}
{{- define "fes.annotations" -}}
{{- with merge (dict) .own .root.Values.commonAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
{{- end }}
{{- end -}}

{{- define "fes.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "fes.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "fes.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "fes.claimName" -}}
{{- default (include "fes.fullname" .) .Values.persistence.existingClaim -}}
{{- end -}}

{{/* scheme://host[:port] of the Service. The final dot stops the resolver from trying every search domain first; a
     certificate does not have it, so it is left out with TLS. */}}
{{- define "fes.url" -}}
{{- $tls := not (empty .Values.tls.existingSecret) -}}
{{- $host := printf "%s.%s.svc.%s%s" (include "fes.fullname" .) .Release.Namespace .Values.clusterDomain (ternary "" "." $tls) -}}
{{- $port := int .Values.service.port -}}
{{ ternary "https" "http" $tls }}://{{ $host }}{{ if ne $port (ternary 443 80 $tls) }}:{{ $port }}{{ end }}
{{- end -}}

{{- define "fes.secretName" -}}
{{- default (include "fes.fullname" .) .Values.hmac.existingSecret -}}
{{- end -}}

{{/* The keys of the Secret that the pod reads, separated by spaces; empty: it reads none. */}}
{{- define "fes.secretKeys" -}}
{{- $keys := list -}}
{{- if .Values.hmac.enabled -}}{{- $keys = concat (list "token") .Values.hmac.moreKeys -}}{{- end -}}
{{- if .Values.auth.postToken -}}{{- $keys = append $keys "post-token" -}}{{- end -}}
{{- if .Values.auth.readToken -}}{{- $keys = append $keys "read-token" -}}{{- end -}}
{{- join " " $keys -}}
{{- end -}}

{{/* Where the Provider and the Alert are, as a JSON list. */}}
{{- define "fes.fluxNamespaces" -}}
{{- if not .Values.flux.enabled -}}
[]
{{- else if .Values.flux.perNamespace -}}
{{- uniq .Values.flux.namespaces | toJson -}}
{{- else -}}
{{- list .Values.flux.namespace | toJson -}}
{{- end -}}
{{- end -}}

{{/* Cluster-wide objects of two releases of one name must not collide: their names end in the namespace. */}}
{{- define "fes.clusterName" -}}
{{- printf "%s-%s" (include "fes.fullname" .) .Release.Namespace -}}
{{- end -}}

{{- define "fes.runRules" -}}
- apiGroups: [tekton.dev]
  resources: [runs, customruns]
  verbs: [get, list, watch]
- apiGroups: [tekton.dev]
  resources: [runs/status, customruns/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end -}}

{{- define "fes.fluxRules" -}}
- apiGroups: [kustomize.toolkit.fluxcd.io]
  resources: [kustomizations]
  verbs: [get, list, watch]
- apiGroups: [helm.toolkit.fluxcd.io]
  resources: [helmreleases]
  verbs: [get, list, watch]
{{- end -}}

{{/* Role and RoleBinding in one namespace; takes root, namespace, name, rules. */}}
{{- define "fes.namespacedRole" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ .name }}
  namespace: {{ .namespace | quote }}
  labels:
    {{- include "fes.labels" .root | nindent 4 }}
  {{- include "fes.annotations" (dict "root" .root "own" dict) }}
rules:
  {{- .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ .name }}
  namespace: {{ .namespace | quote }}
  labels:
    {{- include "fes.labels" .root | nindent 4 }}
  {{- include "fes.annotations" (dict "root" .root "own" dict) }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ .name }}
subjects:
  - kind: ServiceAccount
    name: {{ include "fes.serviceAccountName" .root }}
    namespace: {{ .root.Release.Namespace }}
{{- end -}}
