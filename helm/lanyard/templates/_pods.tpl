{{/* The security context of every pod. */}}
{{- define "lanyard.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "lanyard.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
readOnlyRootFilesystem: true
runAsNonRoot: true
{{- end }}

{{/* Fields of all containers. */}}
{{- define "lanyard.container" -}}
image: {{ include "lanyard.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy | quote }}
securityContext:
  {{- include "lanyard.containerSecurity" . | nindent 2 }}
{{- end }}

{{/* Fields of all pods. */}}
{{- define "lanyard.pod" -}}
automountServiceAccountToken: false
# Otherwise a Service named lanyard would set LANYARD_… variables, which the server could refuse.
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
securityContext:
  {{- include "lanyard.podSecurity" . | nindent 2 }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Takes {root, secret}: the volume with a certificate. */}}
{{- define "lanyard.certificateVolume" -}}
{{- if .root.Values.certificates.workloadApi -}}
name: workload-api
csi:
  driver: {{ default "csi.spiffe.io" .root.Values.certificates.workloadApi.csiDriver | quote }}
  readOnly: true
{{- else -}}
name: tls
secret:
  secretName: {{ .secret | quote }}
  defaultMode: 288 # 0440
  items:
    - {key: tls.crt, path: tls.crt}
    - {key: tls.key, path: tls.key}
{{- end }}
{{- end }}

{{- define "lanyard.certificateMount" -}}
{{- if .Values.certificates.workloadApi -}}
name: workload-api
mountPath: /var/run/lanyard/workload-api
readOnly: true
{{- else -}}
name: tls
mountPath: /var/run/lanyard/tls
readOnly: true
{{- end }}
{{- end }}

{{/* Takes {source, path}: one source of a projected volume. */}}
{{- define "lanyard.projection" }}
- {{ ternary "secret" "configMap" (not (empty .source.secret)) }}:
    name: {{ default .source.configMap .source.secret | quote }}
    items:
      - {key: {{ default "ca.crt" .source.key | quote }}, path: {{ .path | quote }}}
{{- end }}

{{/* The bundles and CAs that the server trusts, or empty. */}}
{{- define "lanyard.trustSources" -}}
{{- range $name, $source := .Values.trust.bundles }}
{{- include "lanyard.projection" (dict "source" $source "path" (printf "%s.pem" $name)) }}
{{- end }}
{{- range $name, $source := .Values.trust.clientCas }}
{{- include "lanyard.projection" (dict "source" $source "path" (printf "client-cas/%s.pem" $name)) }}
{{- end }}
{{- with .Values.telemetry.otlp.ca }}
{{- include "lanyard.projection" (dict "source" . "path" "otlp-ca.pem") }}
{{- end }}
{{- end }}

{{/* Takes {root, name}: the Secret that cert-manager writes for the Certificate of this name. cert-manager overwrites what is there,
and `helm rollback` does not restore it, so a Secret of somebody else is refused. */}}
{{- define "lanyard.issuedSecret" -}}
{{- $secret := printf "%s-certificate" .name }}
{{- with lookup "v1" "Secret" .root.Release.Namespace $secret }}
{{- if ne (dig "metadata" "annotations" "cert-manager.io/certificate-name" "" .) $.name }}
{{- fail (printf "certificates.certManager: the Secret %s in %s is not one that cert-manager wrote for the Certificate %s, and would be overwritten: rename it, or choose another fullnameOverride" $secret $.root.Release.Namespace $.name) }}
{{- end }}
{{- end }}
{{- $secret }}
{{- end }}

{{/* Where the server's own Secret is. */}}
{{- define "lanyard.tlsSecret" -}}
{{- if .Values.certificates.secret }}{{ .Values.certificates.secret.name }}{{ else }}{{ include "lanyard.issuedSecret" (dict "root" . "name" (include "lanyard.fullname" .)) }}{{ end }}
{{- end }}

{{- define "lanyard.adminSecret" -}}
{{- if .Values.certificates.secret }}{{ .Values.registrations.admin.secret }}{{ else }}{{ include "lanyard.issuedSecret" (dict "root" . "name" (include "lanyard.adminName" .)) }}{{ end }}
{{- end }}

{{- define "lanyard.testSecret" -}}
{{- if .Values.certificates.secret }}{{ .Values.test.secret }}{{ else }}{{ include "lanyard.issuedSecret" (dict "root" . "name" (include "lanyard.testName" .)) }}{{ end }}
{{- end }}

{{- define "lanyard.keySecret" -}}
{{- default (printf "%s-key-encryption-key" (include "lanyard.fullname" .)) .Values.keyEncryptionKey.existingSecret }}
{{- end }}

{{/* The CAs of the server's certificate, as a volume's source; empty where the Workload API provides them. */}}
{{- define "lanyard.caSource" -}}
{{- $ca := .Values.certificates.ca }}
{{- if and (not $ca) (not .Values.certificates.workloadApi) }}{{ $ca = get .Values.trust.bundles .Values.trustDomain }}{{ end }}
{{- with $ca }}{{ include "lanyard.projection" (dict "source" . "path" "ca.pem") }}{{ end }}
{{- end }}

{{/* Takes {root, secret}: the volumes of a pod that calls the server. */}}
{{- define "lanyard.callerVolumes" -}}
- {{ include "lanyard.certificateVolume" . | nindent 2 | trim }}
{{- if include "lanyard.caSource" .root }}
- name: trust
  projected:
    defaultMode: 288 # 0440
    sources:
      {{- include "lanyard.caSource" .root | trim | nindent 6 }}
{{- end }}
{{- end }}

{{- define "lanyard.callerMounts" -}}
- {{ include "lanyard.certificateMount" . | nindent 2 | trim }}
{{- if include "lanyard.caSource" . }}
- {name: trust, mountPath: /var/run/lanyard/trust, readOnly: true}
{{- end }}
{{- end }}

{{/* The server and the certificate that the commands use. */}}
{{- define "lanyard.callerEnvironment" -}}
- name: LANYARD_SERVER
  value: {{ default (printf "https://%s:%d" (include "lanyard.host" .) (int .Values.service.mtlsPort)) .Values.registrations.server | quote }}
{{- if include "lanyard.caSource" . }}
- {name: LANYARD_CA, value: /var/run/lanyard/trust/ca.pem}
{{- end }}
{{- if not .Values.certificates.workloadApi }}
- {name: LANYARD_CERT, value: /var/run/lanyard/tls/tls.crt}
- {name: LANYARD_KEY, value: /var/run/lanyard/tls/tls.key}
{{- end }}
{{- end }}

{{/* The flag for the Workload API, or empty. */}}
{{- define "lanyard.callerArguments" -}}
{{- if .Values.certificates.workloadApi }}
- {{ printf "--workload-api=%s" (include "lanyard.socket" .) | quote }}
{{- end }}
{{- end }}
