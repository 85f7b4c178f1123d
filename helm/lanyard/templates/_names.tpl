{{- define "lanyard.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Short enough for the longest suffix. */}}
{{- define "lanyard.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 48 | trimSuffix "-" }}
{{- else }}
{{- $name := include "lanyard.name" . }}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 48 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Takes {root, component}. */}}
{{- define "lanyard.selector" -}}
app.kubernetes.io/name: {{ include "lanyard.name" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Takes {root, component}. */}}
{{- define "lanyard.labels" -}}
{{ include "lanyard.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: lanyard
app.kubernetes.io/managed-by: {{ .root.Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | quote }}
{{- end }}

{{- define "lanyard.serviceAccount" -}}
{{- default (include "lanyard.fullname" .) .Values.serviceAccount.name }}
{{- end }}

{{- define "lanyard.image" -}}
{{- $image := .Values.image }}
{{- if $image.digest }}{{ printf "%s@%s" $image.repository $image.digest }}
{{- else }}{{ printf "%s:%s" $image.repository (default .Chart.AppVersion $image.tag) }}
{{- end }}
{{- end }}

{{- define "lanyard.host" -}}
{{- printf "%s.%s.svc.%s" (include "lanyard.fullname" .) .Release.Namespace .Values.clusterDomain }}
{{- end }}

{{- define "lanyard.issuer" -}}
{{- default (printf "https://%s:%d" (include "lanyard.host" .) (int .Values.service.publicPort)) .Values.issuer }}
{{- end }}

{{- define "lanyard.mtlsUrl" -}}
{{- default (printf "https://%s:%d" (include "lanyard.host" .) (int .Values.service.mtlsPort)) .Values.mtlsUrl }}
{{- end }}

{{/* Takes {root, name}: the SPIFFE ID of a pod with that service account. */}}
{{- define "lanyard.spiffeId" -}}
{{- printf "spiffe://%s/ns/%s/sa/%s" .root.Values.trustDomain .root.Release.Namespace .name }}
{{- end }}

{{- define "lanyard.adminName" -}}{{ include "lanyard.fullname" . }}-admin{{- end }}
{{- define "lanyard.adminId" -}}
{{- default (include "lanyard.spiffeId" (dict "root" . "name" (include "lanyard.adminName" .))) .Values.registrations.admin.spiffeId }}
{{- end }}

{{- define "lanyard.testName" -}}{{ include "lanyard.fullname" . }}-test{{- end }}
{{- define "lanyard.testId" -}}
{{- default (include "lanyard.spiffeId" (dict "root" . "name" (include "lanyard.testName" .))) .Values.test.spiffeId }}
{{- end }}

{{/* "true" if there is a test, else empty. */}}
{{- define "lanyard.hasTest" -}}
{{- if and .Values.test.enabled (or (not .Values.certificates.secret) (and .Values.registrations.admin.secret .Values.test.secret)) }}true{{ end }}
{{- end }}

{{/* "true" if there is something to register, else empty. */}}
{{- define "lanyard.hasRegistrations" -}}
{{- if or .Values.registrations.clients .Values.registrations.resources .Values.registrations.grants (include "lanyard.hasTest" .) }}true{{ end }}
{{- end }}
