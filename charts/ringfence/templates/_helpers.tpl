{{/* Labels of every object. */}}
{{- define "ringfence.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{ include "ringfence.selectorLabels" . }}
{{- end }}

{{/* What a selector goes by. managed-by is missing on purpose: on a NetworkPolicy it would mean Ringfence itself. */}}
{{- define "ringfence.selectorLabels" -}}
app.kubernetes.io/name: ringfence
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "ringfence.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ printf "%s@%s" .repository .digest }}
{{- else -}}
{{ printf "%s:%s" .repository (default $.Chart.AppVersion .tag) }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* What no schema can say. Included once, by the Deployment. */}}
{{- define "ringfence.check" -}}
{{- if ne .Release.Namespace "ringfence-system" -}}
{{- fail (printf "the release namespace is %q, and must be ringfence-system: the process leaves its own namespace alone by that name, and in any other it would hold its own pods; use --namespace ringfence-system --create-namespace" .Release.Namespace) -}}
{{- end -}}
{{- if hasKey .Values.config "excluded" -}}
{{- fail "config.excluded is set: use the value excluded at the top level, which also goes into the webhooks' selectors" -}}
{{- end -}}
{{- $limits := .Values.config.limits | default dict -}}
{{- $drain := include "ringfence.seconds" (dict "of" "config.limits.drain" "text" ($limits.drain | default "12s")) | float64 -}}
{{- $deadline := include "ringfence.seconds" (dict "of" "config.limits.drainDeadline" "text" ($limits.drainDeadline | default "10s")) | float64 -}}
{{- if le (float64 .Values.terminationGracePeriodSeconds) (addf $drain $deadline) -}}
{{- fail (printf "terminationGracePeriodSeconds is %v, and must be more than config.limits.drain and drainDeadline together (%v s): a pod would be killed while it still answers; raise it" .Values.terminationGracePeriodSeconds (addf $drain $deadline)) -}}
{{- end -}}
{{- $injected := or (index .Values.webhook.annotations "cert-manager.io/inject-ca-from") (index .Values.webhook.annotations "cert-manager.io/inject-ca-from-secret") -}}
{{- if and (eq .Values.tls.mode "self-managed") (or .Values.webhook.caBundle $injected) -}}
{{- fail "tls.mode is self-managed, and webhook.caBundle or an annotation cert-manager.io/inject-ca-from is set: Ringfence then writes the CA bundle itself, and each would overwrite the other's; set tls.mode=files to keep yours, or leave it out (see Changing tls.mode in the chart's README first)" -}}
{{- end -}}
{{- if and .Values.tls.clientCA (not (contains "-----BEGIN CERTIFICATE-----" .Values.tls.clientCA)) -}}
{{- fail "tls.clientCA is no PEM: put the text of the certificate there as it is (--set-file tls.clientCA=client-ca.crt)" -}}
{{- end -}}
{{- if and (eq .Values.tls.mode "files") (not .Values.webhook.caBundle) (not $injected) -}}
{{- fail "webhook.caBundle is missing: without it the API server trusts no certificate of the webhook, and refuses every namespace; set it (--set webhook.caBundle=\"$(base64 -w0 < ca.crt)\"), or have cert-manager fill it in with webhook.annotations.cert-manager\\.io/inject-ca-from=ringfence-system/<Certificate>" -}}
{{- end -}}
{{- if and .Values.webhook.caBundle $injected -}}
{{- fail "webhook.caBundle and an annotation cert-manager.io/inject-ca-from are both set, and would overwrite each other: leave one out" -}}
{{- end -}}
{{- if and .Values.webhook.caBundle (not (contains "-----BEGIN CERTIFICATE-----" (b64dec .Values.webhook.caBundle))) -}}
{{- fail "webhook.caBundle is not a base64-encoded PEM certificate: encode the file as it is, once (base64 -w0 < ca.crt)" -}}
{{- end -}}
{{- end }}

{{/* A length of time in seconds. Takes its text, and what it is of. */}}
{{- define "ringfence.seconds" -}}
{{- $units := dict "w" 604800 "d" 86400 "h" 3600 "m" 60 "s" 1 "ms" 0.001 -}}
{{- if not (regexMatch "^([0-9]+([.][0-9]+)? ?(w|d|h|m|s|ms) ?)+$" .text) -}}
{{- fail (printf "%s is %q: write it with the units w, d, h, m, s and ms here, such as 1m 30s" .of .text) -}}
{{- end -}}
{{- $seconds := 0.0 -}}
{{- range regexFindAll "[0-9.]+ ?[a-z]+" .text -1 -}}
{{- $seconds = addf $seconds (mulf (regexFind "[0-9.]+" .) (get $units (regexFind "[a-z]+" .))) -}}
{{- end -}}
{{- $seconds -}}
{{- end }}

{{/* The configuration file. */}}
{{- define "ringfence.config" -}}
{{- toYaml (set (deepCopy .Values.config) "excluded" .Values.excluded) -}}
{{- end }}

{{/*
Webhook entries.

A selector or a condition is what keeps Ringfence out of the way: what it leaves out goes on while Ringfence is down. What
it leaves out is also never judged, so each one says no more than that the process would have allowed the request.
*/}}

{{/* Metadata of both configurations. The leader keeps other annotations that it finds, and no other labels. */}}
{{- define "ringfence.webhook.metadata" -}}
name: ringfence
labels:
  app.kubernetes.io/name: ringfence
  app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
annotations:
  # Up to chart 0.1.0 helm made them. An upgrade takes them out of the release, and must not delete them.
  helm.sh/resource-policy: keep
  {{- with .Values.webhook.annotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* What every entry shares. Takes root, path, and either mayDeny (default) or mayDeny=false for one that only warns. */}}
{{- define "ringfence.webhook.common" -}}
{{- $mayDeny := dig "mayDeny" true . -}}
admissionReviewVersions: [v1]
sideEffects: None
matchPolicy: Equivalent
{{- if $mayDeny }}
failurePolicy: Fail
timeoutSeconds: 5
{{- else }}
# It only warns, and nothing has to wait for a warning.
failurePolicy: Ignore
timeoutSeconds: 2
{{- end }}
clientConfig:
  service:
    name: ringfence
    namespace: {{ .root.Release.Namespace }}
    path: {{ .path }}
    port: {{ .root.Values.service.port }}
  {{- /* What is not rendered is not helm's: of self-managed certificates it is the process that writes it. */}}
  {{- with .root.Values.webhook.caBundle }}
  caBundle: {{ . }}
  {{- end }}
{{- end }}

{{/* Without these namespaces a cluster, or Ringfence itself, could not come back. The process leaves them alone too. */}}
{{- define "ringfence.webhook.notExcluded" -}}
- key: kubernetes.io/metadata.name
  operator: NotIn
  values: {{ concat (list "kube-system" "kube-public" "kube-node-lease" .Release.Namespace) .Values.excluded | uniq | toJson }}
{{- end }}

{{/*
Namespaces in mode enforce. Said by what it is not: a mode that does not exist counts as enforce (it can have been stored
before Ringfence was there), and a namespace without the label was never adopted.
*/}}
{{- define "ringfence.webhook.enforced" -}}
- { key: ringfence.dev/mode, operator: Exists }
- { key: ringfence.dev/mode, operator: NotIn, values: [warn, audit, exempt] }
{{- end }}

{{- define "ringfence.webhook.notIsolated" -}}
- { key: ringfence.dev/isolated, operator: NotIn, values: ["true"] }
{{- end }}

{{/*
What the controller does is not judged by the process either. Not calling it spares every repair a round trip to itself,
and lets the leader repair where no replica answers. It comes first in an expression, not as a condition of its own: the
API server evaluates all conditions of an entry, and stops within one as soon as it is settled.
*/}}
{{- define "ringfence.cel.notController" -}}
request.userInfo.username != 'system:serviceaccount:{{ .Release.Namespace }}:ringfence'
{{- end }}

{{/* Labels or annotations of an object, which the API server leaves out where there are none. Takes object and field. */}}
{{- define "ringfence.cel.map" -}}
(has({{ .object }}.metadata.{{ .field }}) ? {{ .object }}.metadata.{{ .field }} : {})
{{- end }}

{{/* A field of both objects is the same, or absent in both. Takes the field's path. */}}
{{- define "ringfence.cel.same" -}}
(has(object.{{ . }}) ? (has(oldObject.{{ . }}) && object.{{ . }} == oldObject.{{ . }}) : !has(oldObject.{{ . }}))
{{- end }}

{{/*
On an UPDATE: a label or annotation of Ringfence's was removed, added or changed. To go through the keys takes the API
server a time that grows with their square (tried: 11 s for 60,000 labels). So the whole is compared first, which is cheap
and settles it for a namespace that finalizes, whatever it carries; and where there are more keys than anybody has, a
change is judged by the process without looking whose keys they are.
*/}}
{{- define "ringfence.cel.keysDiffer" -}}
{{- $pairs := list -}}
{{- range $field := list "labels" "annotations" -}}
{{- $old := include "ringfence.cel.map" (dict "object" "oldObject" "field" $field) -}}
{{- $new := include "ringfence.cel.map" (dict "object" "object" "field" $field) -}}
{{- $pairs = append $pairs (printf "  [%s,\n   %s]" $old $new) -}}
{{- end -}}
[
{{ join ",\n" $pairs }}
].exists(was_is, was_is[0] != was_is[1] && (
  size(was_is[0]) > 1000 || size(was_is[1]) > 1000 ||
  was_is[0].exists(k, k.startsWith('ringfence.dev/') && !(k in was_is[1])) ||
  was_is[1].exists(k, k.startsWith('ringfence.dev/') && !(k in was_is[0] && was_is[0][k] == was_is[1][k]))))
{{- end }}

{{/* A pod carries Ringfence's scheduling gate. Takes the object's name. */}}
{{- define "ringfence.cel.gated" -}}
(has({{ . }}.spec.schedulingGates) && {{ . }}.spec.schedulingGates.exists(g, g.name == 'ringfence.dev/baseline'))
{{- end }}

{{/* A pod carries the label of a held pod. Takes the object's name. */}}
{{- define "ringfence.cel.held" -}}
(has({{ . }}.metadata.labels) && 'ringfence.dev/held' in {{ . }}.metadata.labels && {{ . }}.metadata.labels['ringfence.dev/held'] == 'true')
{{- end }}

{{/*
What can let traffic past the NetworkPolicies of a namespace, and may be written by its admin, by API group. Cluster-wide
kinds are not here: whoever may write those rules the cluster. core/src/admission/review.rs has the same list.
*/}}
{{- define "ringfence.vendorPolicies" -}}
- { groups: [cilium.io], resources: [ciliumnetworkpolicies, ciliumlocalredirectpolicies, ciliumenvoyconfigs] }
- { groups: [projectcalico.org, crd.projectcalico.org], resources: [networkpolicies, networksets] }
- { groups: [crd.antrea.io], resources: [networkpolicies, groups] }
- { groups: [k8s.cni.cncf.io], resources: [network-attachment-definitions, multi-networkpolicies] }
{{- end }}

{{/* What Pod Security's restricted profile asks of a pod, and a read-only file system. */}}
{{- define "ringfence.podSecurity" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "ringfence.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
{{- end }}
