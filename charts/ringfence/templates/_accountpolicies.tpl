{{/*
Labels, annotations and the like of both objects, as variables: a field that is absent is an empty map or list. `old` is
the object before. CEL has no way to compare all fields but one, so those that an update can change are compared each.
*/}}
{{- define "ringfence.account.variables" -}}
{{- range $field := list "labels" "annotations" }}
- { name: {{ $field }}, expression: "has(object.metadata.{{ $field }}) ? object.metadata.{{ $field }} : {}" }
- { name: old{{ title $field }}, expression: "has(oldObject.metadata.{{ $field }}) ? oldObject.metadata.{{ $field }} : {}" }
{{- end }}
{{- end }}

{{/*
Keys of a map that differ are Ringfence's. Takes the variable's name, and a condition on k. To go through the keys takes
the API server a time that grows with their square, and a namespace whose owner gives it more keys than anybody has must
still lose the label ringfence.dev/isolated. So where an object had more than 1,000 keys before the request, the keys are
not compared, but they may not become more. The number after the request does not count: a thief of the token chooses it.
*/}}
{{- define "ringfence.account.onlyKeys" -}}
{{- $new := printf "variables.%s" .map -}}
{{- $old := printf "variables.old%s" (title .map) -}}
{{ $new }} == {{ $old }} || (size({{ $old }}) > 1000 && size({{ $new }}) <= size({{ $old }})) ||
({{ $old }}.all(k, {{ .allowed }} || (k in {{ $new }} && {{ $new }}[k] == {{ $old }}[k])) &&
  {{ $new }}.all(k, {{ .allowed }} || k in {{ $old }}))
{{- end }}

{{/* Neither finalizers nor owners change. */}}
{{- define "ringfence.account.sameMetadata" -}}
- expression: >-
    {{ include "ringfence.cel.same" "metadata.finalizers" }} &&
    {{ include "ringfence.cel.same" "metadata.ownerReferences" }}
  message: Ringfence changes neither finalizers nor owners
{{- end }}

{{/* Nothing in the namespaces without which a cluster could not come back. */}}
{{- define "ringfence.account.notSystem" -}}
- expression: "!(request.namespace in {{ .system | replace "\"" "'" }})"
  message: Ringfence writes nothing into the system's namespaces, nor into those that are excluded
{{- end }}

{{- define "ringfence.account.pods" -}}
matchConstraints:
  resourceRules:
    - { apiGroups: [""], apiVersions: ["*"], resources: [pods, "pods/*"], operations: ["*"], scope: Namespaced }
variables:
  {{- include "ringfence.account.variables" . | nindent 2 }}
  - { name: gates, expression: "has(object.spec.schedulingGates) ? object.spec.schedulingGates.map(g, g.name) : []" }
  - { name: oldGates, expression: "has(oldObject.spec.schedulingGates) ? oldObject.spec.schedulingGates.map(g, g.name) : []" }
validations:
  - expression: request.operation == 'UPDATE' && !(has(request.subResource) && request.subResource != '')
    message: Ringfence only lifts pods, and uses none of their subresources
  {{- include "ringfence.account.notSystem" . | nindent 2 }}
  - expression: "request.namespace != '{{ .root.Release.Namespace }}'"
    message: Ringfence holds and lifts none of its own pods
  - expression: >-
      variables.gates == variables.oldGates ||
      variables.gates == variables.oldGates.filter(g, g != 'ringfence.dev/baseline')
    message: of a pod's scheduling gates Ringfence removes only ringfence.dev/baseline
  - expression: >-
      {{- include "ringfence.account.onlyKeys" (dict "map" "labels" "allowed" "(k == 'ringfence.dev/held' && !(k in variables.labels))") | nindent 6 }}
    message: of a pod's labels Ringfence removes only ringfence.dev/held
  - expression: variables.annotations == variables.oldAnnotations
    message: Ringfence changes no annotation of a pod
  {{- include "ringfence.account.sameMetadata" . | nindent 2 }}
  # What else of a pod can be changed at all: images, more tolerations, shorter deadlines, and before it has a node where
  # it may run.
  {{- range $field := list "containers" "initContainers" "ephemeralContainers" "tolerations" "activeDeadlineSeconds" "terminationGracePeriodSeconds" "nodeSelector" "affinity" "nodeName" "serviceAccountName" "volumes" }}
  - expression: {{ include "ringfence.cel.same" (printf "spec.%s" $field) | quote }}
    message: Ringfence does not change spec.{{ $field }} of a pod
  {{- end }}
{{- end }}

{{- define "ringfence.account.namespaces" -}}
matchConstraints:
  resourceRules:
    - { apiGroups: [""], apiVersions: ["*"], resources: [namespaces, "namespaces/*"], operations: ["*"], scope: Cluster }
variables:
  {{- /* A dry run that creates one has no object before it. */}}
  - { name: changes, expression: "request.operation == 'UPDATE'" }
  {{- range $field := list "labels" "annotations" }}
  - { name: {{ $field }}, expression: "has(object.metadata.{{ $field }}) ? object.metadata.{{ $field }} : {}" }
  - { name: old{{ title $field }}, expression: "variables.changes && has(oldObject.metadata.{{ $field }}) ? oldObject.metadata.{{ $field }} : {}" }
  {{- end }}
validations:
  - expression: >-
      (variables.changes || (request.operation == 'CREATE' && has(request.dryRun) && request.dryRun)) &&
      !(has(request.subResource) && request.subResource != '')
    message: Ringfence creates no namespace but as a dry run, deletes none, and uses none of their subresources
  - expression: "!(request.name in {{ .system | replace "\"" "'" }})"
    message: Ringfence does not change the system's namespaces, nor those that are excluded
  {{- range $field := list "labels" "annotations" }}
  - expression: >-
      !variables.changes ||
      {{- include "ringfence.account.onlyKeys" (dict "map" $field "allowed" "k.startsWith('ringfence.dev/')") | nindent 6 }}
    message: of a namespace's {{ $field }} Ringfence changes only its own
  {{- end }}
  - expression: >-
      !variables.changes || ({{ include "ringfence.cel.same" "metadata.finalizers" }} &&
      {{ include "ringfence.cel.same" "metadata.ownerReferences" }} &&
      {{ include "ringfence.cel.same" "spec.finalizers" }})
    message: Ringfence changes neither finalizers nor owners of a namespace
{{- end }}

{{/* The groups, or the resources, of vendors, as the items of a CEL list. */}}
{{- define "ringfence.account.vendor" -}}
{{- $all := list }}
{{- range include "ringfence.vendorPolicies" . | fromYamlArray }}
{{- $all = concat $all (index . $) }}
{{- end -}}
{{- range $index, $item := $all | uniq -}}
{{ if $index }}, {{ end }}'{{ $item }}'
{{- end -}}
{{- end }}

{{- define "ringfence.account.webhooks" -}}
matchConstraints:
  resourceRules:
    - apiGroups: [admissionregistration.k8s.io]
      apiVersions: ["*"]
      resources: [mutatingwebhookconfigurations, validatingwebhookconfigurations]
      operations: ["*"]
      scope: Cluster
variables:
  - { name: entries, expression: "request.operation == 'DELETE' || !has(object.webhooks) ? [] : object.webhooks" }
  - name: resources
    expression: >-
      request.resource.resource == 'mutatingwebhookconfigurations' ? ['namespaces', 'pods'] : [
      'namespaces', 'namespaces/status', 'namespaces/finalize', 'networkpolicies', 'pods', 'pods/status',
      'deployments', 'statefulsets', 'daemonsets', 'replicasets', 'jobs', 'cronjobs', 'replicationcontrollers',
      {{ include "ringfence.account.vendor" "resources" }}]
  - name: groups
    expression: >-
      ['', 'networking.k8s.io', 'apps', 'batch',
      {{ include "ringfence.account.vendor" "groups" }}]
validations:
  # With a generated name it is not known yet.
  - expression: "request.operation == 'DELETE' ? request.name == 'ringfence' : object.metadata.name == 'ringfence'"
    message: "Ringfence has two webhook configurations, both called ringfence"
  - expression: >-
      variables.entries.all(w, !has(w.clientConfig.url) && has(w.clientConfig.service) &&
      w.clientConfig.service.name == 'ringfence' && w.clientConfig.service.namespace == '{{ .root.Release.Namespace }}')
    message: Ringfence's webhooks are served by its own Service
  - expression: >-
      variables.entries.all(w, !has(w.rules) || w.rules.all(r,
      r.apiGroups.all(g, g in variables.groups) && r.resources.all(x, x in variables.resources)))
    message: Ringfence's webhooks are called for no other resources
  - expression: >-
      variables.entries.all(w, has(w.namespaceSelector) && has(w.namespaceSelector.matchExpressions) &&
      (w.namespaceSelector.matchExpressions.exists(e,
      e.key == 'kubernetes.io/metadata.name' && e.operator == 'NotIn' && has(e.values) &&
      {{ .system | replace "\"" "'" }}.all(n, n in e.values)) ||
      (w.namespaceSelector.matchExpressions.exists(e,
      e.key == 'kubernetes.io/metadata.name' && e.operator == 'In' && has(e.values) &&
      e.values.all(n, n in {{ .root.Values.excluded | toJson | replace "\"" "'" }})) &&
      has(w.rules) && w.rules.all(r, r.resources == ['namespaces'] && r.operations == ['CREATE']))))
    message: Ringfence's webhooks leave the system's namespaces out, and of those that are excluded judge only the creation
{{- end }}

{{/* All the rest that the account may write: NetworkPolicies and Events anywhere else, its Lease, and its Secret. */}}
{{- define "ringfence.account.objects" -}}
matchConstraints:
  resourceRules:
    - { apiGroups: [""], apiVersions: ["*"], resources: [secrets, events], operations: ["*"], scope: Namespaced }
    - { apiGroups: [events.k8s.io], apiVersions: ["*"], resources: [events], operations: ["*"], scope: Namespaced }
    - { apiGroups: [networking.k8s.io], apiVersions: ["*"], resources: [networkpolicies, "networkpolicies/*"], operations: ["*"], scope: Namespaced }
    - { apiGroups: [coordination.k8s.io], apiVersions: ["*"], resources: [leases], operations: ["*"], scope: Namespaced }
variables:
  - { name: name, expression: "request.operation == 'DELETE' ? oldObject.metadata.name : (has(object.metadata.name) ? object.metadata.name : '')" }
validations:
  {{- include "ringfence.account.notSystem" . | nindent 2 }}
  - expression: "request.namespace == '{{ .root.Release.Namespace }}' ? request.resource.resource != 'networkpolicies' : !(request.resource.resource in ['secrets', 'leases'])"
    message: Ringfence writes its own Secret and Lease in its own namespace, and NetworkPolicies in others
  {{- /* One of another type would be filled in with the token of another account. */}}
  - expression: >-
      request.resource.resource != 'secrets' || (variables.name == 'ringfence-certificates' &&
      request.operation in ['CREATE', 'UPDATE'] && object.type == 'Opaque')
    message: Ringfence writes no other Secret than ringfence-certificates
  - expression: "request.resource.resource != 'leases' || variables.name == 'ringfence'"
    message: Ringfence writes no other Lease than its own
{{- end }}
