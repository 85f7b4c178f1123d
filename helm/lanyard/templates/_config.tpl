{{/* The configuration, as YAML: what the chart writes, merged with `config`. Every template includes it, so the checks run first. */}}
{{- define "lanyard.config" -}}
{{- include "lanyard.checks" . }}
{{- $values := .Values }}
{{- $address := ternary (printf "[%s]" $values.listenAddress) $values.listenAddress (contains ":" $values.listenAddress) }}
{{- $config := dict
  "issuer" (include "lanyard.issuer" .)
  "mtls_url" (include "lanyard.mtlsUrl" .)
  "listeners" (dict "mtls" (printf "%s:8443" $address) "public" (printf "%s:8444" $address) "ops" (printf "%s:9464" $address))
  "store" (include "lanyard.store" . | fromYaml)
  "keys" (dict "key_encryption_key_file" "/var/run/lanyard/keys/key-encryption-key")
  "log" (dict "level" $values.log.level "format" $values.log.format)
}}
{{- with $values.service.proxyProtocolFrom }}
{{- $_ := set $config.listeners "proxy_protocol_from" . }}
{{- end }}
{{- $trust := dict "trust_domain" $values.trustDomain }}
{{- with $values.trust.bundles }}
{{- $bundles := dict }}
{{- range $name, $_ := . }}{{ $_ := set $bundles $name (printf "/var/run/lanyard/trust/%s.pem" $name) }}{{ end }}
{{- $_ := set $trust "bundles" $bundles }}
{{- end }}
{{- with $values.trust.clientCas }}
{{- $cas := dict }}
{{- range $name, $_ := . }}{{ $_ := set $cas $name (printf "/var/run/lanyard/trust/client-cas/%s.pem" $name) }}{{ end }}
{{- $_ := set $trust "client_cas" $cas }}
{{- end }}
{{- $_ := set $config "trust" $trust }}
{{- if $values.certificates.workloadApi }}
{{- $_ := set $config "workload_api" (dict "endpoint_socket" (include "lanyard.socket" .)) }}
{{- else }}
{{- $_ := set $config "tls" (dict "certificate" "/var/run/lanyard/tls/tls.crt" "key" "/var/run/lanyard/tls/tls.key") }}
{{- end }}
{{- /* With several replicas a Service must have stopped sending connections to a pod before that ends. */}}
{{- if include "lanyard.hasEtcd" . }}
{{- $_ := set $config "tls" (mergeOverwrite (dict "drain_delay" "5s") (default dict $config.tls)) }}
{{- end }}
{{- $admins := $values.roles.admins }}
{{- if include "lanyard.hasRegistrations" . }}
{{- $admins = append $admins (dict "spiffe_id" (include "lanyard.adminId" .)) | uniq }}
{{- end }}
{{- $_ := set $config "roles" (dict "admins" $admins "proxies" $values.roles.proxies) }}
{{- /* Left out where nobody has them: the version before does not know these keys. */}}
{{- with $values.roles.auditors }}{{ $_ := set $config.roles "auditors" . }}{{ end }}
{{- with $values.roles.revokers }}{{ $_ := set $config.roles "revokers" . }}{{ end }}
{{- $edges := default list $values.roles.edges }}
{{- if $values.edge.enabled }}
{{- $granted := dict "spiffe_id" (include "lanyard.edgeId" .) "resources" $values.edge.resources }}
{{- with $values.edge.trustDomains }}{{ $_ := set $granted "trust_domains" . }}{{ end }}
{{- $edges = append $edges $granted }}
{{- end }}
{{- with $edges }}{{ $_ := set $config.roles "edges" . }}{{ end }}
{{- with $values.telemetry.otlp }}
{{- $otlp := dict }}
{{- range $from, $to := dict "endpoint" "endpoint" "sampleRatio" "sample_ratio" "metricsInterval" "metrics_interval" }}
{{- if hasKey $values.telemetry.otlp $from }}{{ $_ := set $otlp $to (get $values.telemetry.otlp $from) }}{{ end }}
{{- end }}
{{- if .ca }}{{ $_ := set $otlp "ca" "/var/run/lanyard/trust/otlp-ca.pem" }}{{ end }}
{{- $_ := set $config "telemetry" (dict "otlp" $otlp) }}
{{- end }}
{{- $config = mustMergeOverwrite $config (deepCopy $values.config) }}
{{- /* Helm has read an `off` without quotes as a boolean. */}}
{{- if eq (toString $config.registration) "false" }}{{ $_ := set $config "registration" "off" }}{{ end }}
{{- if eq (toString (dig "jwks_uri" "discovery" "" $config)) "false" }}{{ $_ := set $config.jwks_uri "discovery" "off" }}{{ end }}
{{- toYaml $config }}
{{- end }}

{{/* Whether replicas share an etcd. */}}
{{- define "lanyard.hasEtcd" -}}
{{- if .Values.etcd.endpoints }}yes{{ end }}
{{- end }}

{{/* Where the records are. */}}
{{- define "lanyard.store" -}}
{{- if include "lanyard.hasEtcd" . }}
etcd:
  endpoints: {{ toJson .Values.etcd.endpoints }}
  prefix: {{ .Values.etcd.prefix | quote }}
  {{- if .Values.etcd.secret }}
  ca: /var/run/lanyard/etcd/ca.crt
  certificate: /var/run/lanyard/etcd/tls.crt
  key: /var/run/lanyard/etcd/tls.key
  {{- else if .Values.etcd.files }}
  {{- toYaml .Values.etcd.files | nindent 2 }}
  {{- end }}
{{- else }}
sled: {path: /var/lib/lanyard}
{{- end }}
{{- end }}

{{/* A change of this replaces the pod. The log level and the roles are not in it: the server applies those without a restart. The
role of the hook Job is in it: the Job runs as soon as the pod is ready, and a mounted ConfigMap takes up to two minutes. */}}
{{- define "lanyard.configChecksum" -}}
{{- $config := include "lanyard.config" . | fromYaml }}
{{- $_ := set $config "log" (omit $config.log "level") }}
{{- $_ := set $config "roles" (ternary (include "lanyard.adminId" .) "" (not (empty (include "lanyard.hasRegistrations" .)))) }}
{{- toYaml $config | sha256sum }}
{{- end }}

{{/* The grace period: drain delay, drain timeout, and ten seconds more. */}}
{{- define "lanyard.gracePeriod" -}}
{{- $config := include "lanyard.config" . | fromYaml }}
{{- $seconds := 10 }}
{{- range $span := list (dig "tls" "drain_delay" "0s" $config) (dig "tls" "drain_timeout" "20s" $config) }}
{{- range $unit, $length := dict "h" 3600 "m" 60 "s" 1 }}
{{- with regexFind (printf "[0-9]+%s" $unit) $span }}{{ $seconds = add $seconds (mul $length (trimSuffix $unit . | atoi)) }}{{ end }}
{{- end }}
{{- end }}
{{- $seconds }}
{{- end }}

{{- define "lanyard.socket" -}}
{{- printf "unix:///var/run/lanyard/workload-api/%s" (default "spire-agent.sock" .Values.certificates.workloadApi.socket) }}
{{- end }}
