{{/*
The ValidatingWebhookConfiguration as the leader writes it, once armed. It is no object of the release: see webhooks.yaml.
*/}}
{{- define "ringfence.validating" -}}
{{- $existing := .Values.config.existing | default "warn" }}
{{- $hostNetwork := .Values.config.hostNetwork | default "warn" }}
{{- $vendorPolicies := .Values.config.vendorPolicies | default "warn" }}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata:
  {{- include "ringfence.webhook.metadata" . | nindent 2 }}
webhooks:
  # Namespaces. Never select on labels of Ringfence's: whoever set them would choose whether to be judged.
  - name: namespaces.ringfence.dev
    {{- include "ringfence.webhook.common" (dict "root" . "path" "/validate") | nindent 4 }}
    namespaceSelector:
      matchExpressions:
        {{- include "ringfence.webhook.notExcluded" . | nindent 8 }}
    rules:
      - { apiGroups: [""], apiVersions: [v1], resources: [namespaces], operations: [CREATE, UPDATE], scope: Cluster }
    matchConditions:
      # A terminating namespace gets no exception where something of Ringfence's changes: its pods may run for hours, and
      # would lose their policies. The controller's own CREATE is the dry run by which it sees that it is reached.
      - name: concerns-isolation
        expression: |-
          request.operation == 'CREATE' ||
          ({{ include "ringfence.cel.notController" . }} &&
          {{- include "ringfence.cel.keysDiffer" . | nindent 10 }})
  {{- with .Values.excluded }}
  # An excluded name that is not in use yet would be a namespace without a baseline for whoever takes it first. A user who may
  # exempt namespaces is not asked about, so that such a namespace can be made while Ringfence is away.
  - name: namespaces-excluded.ringfence.dev
    {{- include "ringfence.webhook.common" (dict "root" $ "path" "/validate") | nindent 4 }}
    namespaceSelector:
      matchExpressions:
        - { key: kubernetes.io/metadata.name, operator: In, values: {{ toJson . }} }
    rules:
      - { apiGroups: [""], apiVersions: [v1], resources: [namespaces], operations: [CREATE], scope: Cluster }
    matchConditions:
      - name: may-not-exempt
        expression: "!authorizer.group('ringfence.dev').resource('modes').name('exempt').check('use').allowed()"
  {{- end }}
  {{- if ne $existing "ignore" }}
  # Any other update of a namespace that was never adopted. Unless it is to be refused (existing: reject), an entry of its
  # own keeps the update going while Ringfence is away.
  - name: namespaces-not-adopted.ringfence.dev
    {{- include "ringfence.webhook.common" (dict "root" . "path" "/validate" "mayDeny" (eq $existing "reject")) | nindent 4 }}
    namespaceSelector:
      matchExpressions:
        {{- include "ringfence.webhook.notExcluded" . | nindent 8 }}
    rules:
      - { apiGroups: [""], apiVersions: [v1], resources: [namespaces], operations: [UPDATE], scope: Cluster }
    matchConditions:
      - name: not-adopted
        expression: |-
          {{ include "ringfence.cel.notController" . }} && !has(object.metadata.deletionTimestamp) &&
          !['ringfence.dev/profile', 'ringfence.dev/mode'].all(k,
            k in {{ include "ringfence.cel.map" (dict "object" "object" "field" "labels") }}) &&
          !
          {{- include "ringfence.cel.keysDiffer" . | nindent 10 }}
  {{- end }}
  # Labels can be changed through these two without any other call.
  - name: namespaces-subresources.ringfence.dev
    {{- include "ringfence.webhook.common" (dict "root" . "path" "/validate") | nindent 4 }}
    namespaceSelector:
      matchExpressions:
        {{- include "ringfence.webhook.notExcluded" . | nindent 8 }}
    rules:
      - { apiGroups: [""], apiVersions: [v1], resources: [namespaces/status, namespaces/finalize], operations: [UPDATE], scope: Cluster }
    matchConditions:
      - name: concerns-isolation
        expression: |-
          {{- include "ringfence.cel.keysDiffer" . | nindent 10 }}
  # NetworkPolicies of namespaces that were adopted and are not exempt.
  - name: networkpolicies.ringfence.dev
    {{- include "ringfence.webhook.common" (dict "root" . "path" "/validate") | nindent 4 }}
    namespaceSelector:
      matchExpressions:
        {{- include "ringfence.webhook.notExcluded" . | nindent 8 }}
        - { key: ringfence.dev/mode, operator: Exists }
        - { key: ringfence.dev/mode, operator: NotIn, values: [exempt] }
    rules:
      - { apiGroups: [networking.k8s.io], apiVersions: [v1], resources: [networkpolicies], operations: [CREATE, UPDATE, DELETE], scope: Namespaced }
    matchConditions:
      # A namespace must be able to terminate while Ringfence is down. The two names are whoever empties it, with and
      # without a service account for each controller. And so must a policy that is going already: what is left to do is
      # to take its finalizers away.
      - name: neither-emptying-a-namespace-nor-taking-finalizers-away
        expression: |-
          {{ include "ringfence.cel.notController" . }} &&
          !(request.operation == 'DELETE' &&
            request.userInfo.username in ['system:serviceaccount:kube-system:namespace-controller', 'system:kube-controller-manager']) &&
          !(request.operation == 'UPDATE' && has(oldObject.metadata.deletionTimestamp) &&
            {{ include "ringfence.cel.same" "spec" }} &&
            {{ include "ringfence.cel.same" "metadata.labels" }} &&
            {{ include "ringfence.cel.same" "metadata.annotations" }} &&
            {{ include "ringfence.cel.same" "metadata.ownerReferences" }})
  # Elsewhere only an exception is judged: one that nobody looked at would excuse holes from the day that the namespace
  # is enforced.
  - name: networkpolicies-exceptions.ringfence.dev
    {{- include "ringfence.webhook.common" (dict "root" . "path" "/validate") | nindent 4 }}
    namespaceSelector:
      matchExpressions:
        {{- include "ringfence.webhook.notExcluded" . | nindent 8 }}
        # Also where there is no such label.
        - { key: ringfence.dev/mode, operator: NotIn, values: [enforce, warn, audit] }
    rules:
      - { apiGroups: [networking.k8s.io], apiVersions: [v1], resources: [networkpolicies], operations: [CREATE, UPDATE], scope: Namespaced }
    matchConditions:
      - name: claims-an-exception
        expression: |-
          has(object.metadata.annotations) &&
          ['ringfence.dev/exception-reason', 'ringfence.dev/exception-until'].exists(k, k in object.metadata.annotations) &&
          (request.operation == 'CREATE' ||
            !{{ include "ringfence.cel.same" "spec" }} ||
            !{{ include "ringfence.cel.same" "metadata.annotations" }})
  # The last word on pods that are created before the baseline is effective: other mutating webhooks come after ours.
  - name: pods.ringfence.dev
    {{- include "ringfence.webhook.common" (dict "root" . "path" "/validate") | nindent 4 }}
    namespaceSelector:
      matchExpressions:
        {{- include "ringfence.webhook.notExcluded" . | nindent 8 }}
        {{- include "ringfence.webhook.enforced" . | nindent 8 }}
        {{- include "ringfence.webhook.notIsolated" . | nindent 8 }}
    rules:
      - { apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE], scope: Namespaced }
  {{- if ne $hostNetwork "allow" }}
  # Isolated or not, NetworkPolicies do not hold these back. The entry above covers those that are not.
  - name: pods-hostnetwork.ringfence.dev
    {{- include "ringfence.webhook.common" (dict "root" . "path" "/validate" "mayDeny" (eq $hostNetwork "deny")) | nindent 4 }}
    namespaceSelector:
      matchExpressions:
        {{- include "ringfence.webhook.notExcluded" . | nindent 8 }}
        {{- include "ringfence.webhook.enforced" . | nindent 8 }}
        - { key: ringfence.dev/isolated, operator: In, values: ["true"] }
    rules:
      - { apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE], scope: Namespaced }
    matchConditions:
      - name: uses-its-nodes-network
        expression: has(object.spec.hostNetwork) && object.spec.hostNetwork == true
  {{- end }}
  # Only the controller lifts a held pod. There is no objectSelector, since the label can be stripped through status; and
  # the condition is no wider, since everything else about a held pod must go on: finalizers, deletion, other gates.
  - name: pods-lift.ringfence.dev
    {{- include "ringfence.webhook.common" (dict "root" . "path" "/validate") | nindent 4 }}
    namespaceSelector:
      matchExpressions:
        {{- include "ringfence.webhook.notExcluded" . | nindent 8 }}
    rules:
      - { apiGroups: [""], apiVersions: [v1], resources: [pods, pods/status], operations: [UPDATE], scope: Namespaced }
    matchConditions:
      - name: lifts-or-hides-a-held-pod
        expression: |-
          {{ include "ringfence.cel.notController" . }} && {{ include "ringfence.cel.gated" "oldObject" }} &&
          (!{{ include "ringfence.cel.gated" "object" }} ||
            ({{ include "ringfence.cel.held" "oldObject" }} &&
              !{{ include "ringfence.cel.held" "object" }}))
  # Refuses a workload whose template carries the label of held pods: lifting them takes it off, and their controller would
  # make others without end.
  - name: templates.ringfence.dev
    {{- include "ringfence.webhook.common" (dict "root" . "path" "/validate" "mayDeny" true) | nindent 4 }}
    namespaceSelector:
      matchExpressions:
        {{- include "ringfence.webhook.notExcluded" . | nindent 8 }}
        - { key: ringfence.dev/mode, operator: Exists }
    rules:
      - { apiGroups: [apps], apiVersions: [v1], resources: [deployments, statefulsets, daemonsets, replicasets], operations: [CREATE, UPDATE], scope: Namespaced }
      - { apiGroups: [batch], apiVersions: [v1], resources: [jobs, cronjobs], operations: [CREATE, UPDATE], scope: Namespaced }
      - { apiGroups: [""], apiVersions: [v1], resources: [replicationcontrollers], operations: [CREATE, UPDATE], scope: Namespaced }
    matchConditions:
      # One that is going must be able to lose its finalizers.
      - name: template-labelled-held
        expression: |-
          !has(object.metadata.deletionTimestamp) &&
          (has(object.spec.jobTemplate)
            ? (has(object.spec.jobTemplate.spec.template.metadata) && has(object.spec.jobTemplate.spec.template.metadata.labels) &&
              'ringfence.dev/held' in object.spec.jobTemplate.spec.template.metadata.labels)
            : (has(object.spec.template) && has(object.spec.template.metadata) && has(object.spec.template.metadata.labels) &&
              'ringfence.dev/held' in object.spec.template.metadata.labels))
  # Tells whoever writes a workload that its pods will wait.
  - name: workloads.ringfence.dev
    {{- include "ringfence.webhook.common" (dict "root" . "path" "/validate" "mayDeny" false) | nindent 4 }}
    namespaceSelector:
      matchExpressions:
        {{- include "ringfence.webhook.notExcluded" . | nindent 8 }}
        {{- include "ringfence.webhook.enforced" . | nindent 8 }}
        {{- include "ringfence.webhook.notIsolated" . | nindent 8 }}
    rules:
      - { apiGroups: [apps], apiVersions: [v1], resources: [deployments, statefulsets, daemonsets, replicasets], operations: [CREATE, UPDATE], scope: Namespaced }
      - { apiGroups: [batch], apiVersions: [v1], resources: [jobs, cronjobs], operations: [CREATE, UPDATE], scope: Namespaced }
      - { apiGroups: [""], apiVersions: [v1], resources: [replicationcontrollers], operations: [CREATE, UPDATE], scope: Namespaced }
    matchConditions:
      # The controllers that derive one workload from another read no warnings.
      - name: not-a-controller
        expression: |-
          !(request.userInfo.username.startsWith('system:serviceaccount:kube-system:') ||
            request.userInfo.username == 'system:kube-controller-manager')
  {{- if ne $vendorPolicies "allow" }}
  # What can let traffic past the NetworkPolicies, and is not judged. All versions: what is in them is not read.
  - name: vendor-policies.ringfence.dev
    {{- include "ringfence.webhook.common" (dict "root" . "path" "/validate" "mayDeny" (eq $vendorPolicies "deny")) | nindent 4 }}
    namespaceSelector:
      matchExpressions:
        {{- include "ringfence.webhook.notExcluded" . | nindent 8 }}
        - { key: ringfence.dev/mode, operator: Exists }
        - { key: ringfence.dev/mode, operator: NotIn, values: [exempt] }
    rules:
      {{- range include "ringfence.vendorPolicies" . | fromYamlArray }}
      - { apiGroups: {{ toJson .groups }}, apiVersions: ["*"], resources: {{ toJson .resources }}, operations: [CREATE, UPDATE], scope: Namespaced }
      {{- end }}
  {{- end }}
{{- end }}
