{{/*
The MutatingWebhookConfiguration as the leader writes it, once armed. It is no object of the release: see webhooks.yaml.
*/}}
{{- define "ringfence.mutating" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata:
  {{- include "ringfence.webhook.metadata" . | nindent 2 }}
webhooks:
  # Injects the isolation labels, and puts back what an update strips. Never selects on labels of Ringfence's: whoever
  # set them would choose whether to be judged.
  - name: namespaces.ringfence.dev
    {{- include "ringfence.webhook.common" (dict "root" . "path" "/mutate") | nindent 4 }}
    reinvocationPolicy: Never
    namespaceSelector:
      matchExpressions:
        {{- include "ringfence.webhook.notExcluded" . | nindent 8 }}
    rules:
      - { apiGroups: [""], apiVersions: [v1], resources: [namespaces], operations: [CREATE, UPDATE], scope: Cluster }
    matchConditions:
      - name: created-or-stripped
        expression: |-
          request.operation == 'CREATE' ||
          ({{ include "ringfence.cel.notController" . }} &&
          (['ringfence.dev/profile', 'ringfence.dev/mode', 'ringfence.dev/isolated'].exists(k,
            k in {{ include "ringfence.cel.map" (dict "object" "oldObject" "field" "labels") }} &&
            !(k in {{ include "ringfence.cel.map" (dict "object" "object" "field" "labels") }})) ||
          ['ringfence.dev/conflict', 'ringfence.dev/effective'].exists(k,
            k in {{ include "ringfence.cel.map" (dict "object" "oldObject" "field" "annotations") }} &&
            !(k in {{ include "ringfence.cel.map" (dict "object" "object" "field" "annotations") }}))))
  # Holds pods until the baseline is effective. An isolated namespace is not selected: there, pods cost no call.
  - name: pods.ringfence.dev
    {{- include "ringfence.webhook.common" (dict "root" . "path" "/mutate") | nindent 4 }}
    # Another webhook may strip the gate, or write labels without knowing of it.
    reinvocationPolicy: IfNeeded
    namespaceSelector:
      matchExpressions:
        {{- include "ringfence.webhook.notExcluded" . | nindent 8 }}
        {{- include "ringfence.webhook.enforced" . | nindent 8 }}
        {{- include "ringfence.webhook.notIsolated" . | nindent 8 }}
    rules:
      - { apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE], scope: Namespaced }
{{- end }}
