{{- define "apportion.name" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "apportion.selector" -}}
app.kubernetes.io/name: apportion
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "apportion.labels" -}}
{{ include "apportion.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "apportion.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{- define "apportion.opsPort" -}}
{{ .Values.config.http.ops | splitList ":" | last }}
{{- end }}

{{- define "apportion.apiPort" -}}
{{ .Values.config.http.listen | splitList ":" | last }}
{{- end }}

{{/* Whether others than the pod reach the API. */}}
{{- define "apportion.api" -}}
{{- if not (or (hasPrefix "127." .Values.config.http.listen) (hasPrefix "localhost:" .Values.config.http.listen) (hasPrefix "[::1]" .Values.config.http.listen)) }}yes{{ end }}
{{- end }}

{{/* The configuration as its file. */}}
{{- define "apportion.config" -}}
{{- if not .Values.config.kafka.brokers }}{{ fail "config.kafka.brokers is empty: name the host:port of Kafka" }}{{ end }}
{{- if not .Values.config.clickhouse.addr }}{{ fail "config.clickhouse.addr is empty: name the host:port of ClickHouse" }}{{ end }}
{{- toYaml .Values.config }}
{{- end }}

{{- define "apportion.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "apportion.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* What every pod has, but for its containers: of a dict with root and config, the name of its ConfigMap. */}}
{{- define "apportion.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- include "apportion.podSecurity" .root | nindent 2 }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
volumes:
- name: config
  configMap: {name: {{ .config }}}
- name: tmp
  emptyDir: {}
{{- if .invoices }}
- name: invoices
  persistentVolumeClaim: {claimName: {{ .root.Values.invoices.existingClaim | default (printf "%s-invoices" (include "apportion.name" .root)) }}}
{{- end }}
{{- with .root.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What every container has, but for its name and arguments. */}}
{{- define "apportion.container" -}}
image: {{ include "apportion.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
env:
- {name: APPORTION_CONFIG, value: /etc/apportion/apportion.yaml}
{{- if dig "limits" "memory" "" (.resources | default dict) }}
- name: GOMEMLIMIT
  valueFrom: {resourceFieldRef: {resource: limits.memory}}
{{- end }}
{{- with .root.Values.existingSecret }}
envFrom:
- secretRef: {name: {{ . }}}
{{- end }}
securityContext:
  {{- include "apportion.containerSecurity" .root | nindent 2 }}
{{- with .resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
- {name: config, mountPath: /etc/apportion, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- if .invoices }}
- {name: invoices, mountPath: {{ required "invoices.enabled needs config.schedule.out: the directory that the files go below" (dig "schedule" "out" "" .root.Values.config) }}}
{{- end }}
{{- with .root.Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}
