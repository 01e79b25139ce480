{{- define "switchboard.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{- define "switchboard.labels" -}}
app.kubernetes.io/name: switchboard
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "switchboard.selector" -}}
app.kubernetes.io/name: switchboard
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "switchboard.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* The configuration file, with what the chart decides. */}}
{{- define "switchboard.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $http := merge (dict "host" "0.0.0.0" "port" 8000) ($config.http | default dict) -}}
{{- $_ := set $config "http" $http -}}
{{- if eq .Values.mode "rayservice" -}}
{{- $workers := .Values.ray.workers -}}
{{- $_ := set $config "ray_address" "auto" -}}
{{- $_ := set $config "resources" (dict "slot" 1 "num_gpus" $workers.gpus) -}}
{{- $_ := set $config "placement" (merge (dict "max_replicas_per_node" 1) ($config.placement | default dict)) -}}
{{- if .Values.autoscaling.enabled -}}
{{- $_ := set $config "autoscaling" (dict "min_replicas" $workers.min "max_replicas" $workers.max "target_ongoing_requests" .Values.autoscaling.targetOngoingRequests "upscale_delay_s" .Values.autoscaling.upscaleDelayS "downscale_delay_s" .Values.autoscaling.downscaleDelayS) -}}
{{- else -}}
{{- $_ := set $config "replicas" $workers.min -}}
{{- end -}}
{{- end -}}
{{ toYaml $config }}
{{- end }}

{{- define "switchboard.drain" -}}
{{ (.Values.config.http | default dict).drain_s | default 20 }}
{{- end }}

{{/* Until endpoints are gone, requests in flight, captures and the engine; then Kubernetes kills. */}}
{{- define "switchboard.grace" -}}
{{ add 5 (ceil (include "switchboard.drain" . | float64)) 15 10 }}
{{- end }}

{{- define "switchboard.env" -}}
- {name: HOME, value: /app/data}
{{- range $name, $value := .Values.env }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- range $name, $from := .Values.secrets }}
- name: {{ $name }}
  valueFrom: {secretKeyRef: {name: {{ $from.secret }}, key: {{ $from.key }}}}
{{- end }}
{{- if eq .Values.mode "rayservice" }}
- {name: RAY_AUTH_MODE, value: token}
- name: RAY_AUTH_TOKEN
  valueFrom: {secretKeyRef: {name: {{ .Values.ray.tokenSecret }}, key: auth_token}}
- {name: RAY_USAGE_STATS_ENABLED, value: "0"}
- {name: RAY_process_group_cleanup_enabled, value: "true"}
- {name: RAY_worker_niceness, value: "0"}
- {name: RAY_SERVE_ENABLE_HA_PROXY, value: "1"}
- {name: RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD, value: "0"}
- {name: RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP, value: "0"}
- {name: RAY_SERVE_LOG_TO_STDERR, value: "0"}
- {name: RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S, value: "3"}
- {name: RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S, value: "1"}
- {name: RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S, value: "30"}
- {name: RAY_SERVE_HAPROXY_METRICS_ENABLED, value: "0"}
{{- end }}
{{- end }}

{{- define "switchboard.mounts" -}}
- {name: config, mountPath: /etc/switchboard, readOnly: true}
- {name: data, mountPath: /app/data}
- {name: tmp, mountPath: /tmp}
- {name: shm, mountPath: /dev/shm}
{{- if .Values.modelClaim }}
- {name: model, mountPath: /model, readOnly: true}
{{- end }}
{{- end }}

{{- define "switchboard.volumes" -}}
- name: config
  configMap: {name: {{ include "switchboard.name" . }}}
- name: tmp
  emptyDir: {}
- name: shm
  emptyDir: {medium: Memory, sizeLimit: {{ .Values.sharedMemory }}}
{{- if .Values.modelClaim }}
- name: model
  persistentVolumeClaim: {claimName: {{ .Values.modelClaim }}, readOnly: true}
{{- end }}
{{- end }}

{{- define "switchboard.container-security" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
{{- end }}

{{- define "switchboard.pod-security" -}}
runAsNonRoot: true
runAsUser: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* Alive is whether the proxy listens: Serve itself replaces replicas, which may take minutes. */}}
{{- define "switchboard.probes" -}}
startupProbe:
  httpGet: {path: /ready, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: {{ mul 6 (.Values.startupMinutes | default 15) }}
readinessProbe:
  httpGet: {path: /ready, port: http}
  periodSeconds: 5
  timeoutSeconds: 5
livenessProbe:
  tcpSocket: {port: http}
  periodSeconds: 10
  failureThreshold: 12
{{- end }}

{{- define "switchboard.placement" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}
