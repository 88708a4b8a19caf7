{{- define "nli.fullname" -}}
{{- $name := ternary .Release.Name (printf "%s-korean-nli" .Release.Name) (contains "korean-nli" .Release.Name) -}}
{{- $name | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{- define "nli.selector" -}}
app.kubernetes.io/name: korean-nli
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "nli.labels" -}}
{{ include "nli.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}
