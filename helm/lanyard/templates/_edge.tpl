{{- define "lanyard.edgeName" -}}{{ include "lanyard.fullname" . }}-edge{{- end }}
{{- define "lanyard.edgeId" -}}
{{- default (include "lanyard.spiffeId" (dict "root" . "name" (include "lanyard.edgeName" .))) .Values.edge.certificate.spiffeId }}
{{- end }}

{{- define "lanyard.edgeSecret" -}}
{{- if .Values.certificates.secret }}{{ .Values.edge.certificate.secret }}{{ else }}{{ include "lanyard.issuedSecret" (dict "root" . "name" (include "lanyard.edgeName" .)) }}{{ end }}
{{- end }}

{{/* What edges cannot do, or what says two things. */}}
{{- define "lanyard.edgeChecks" -}}
{{- $edge := .Values.edge }}
{{- if $edge.enabled }}
{{- if not $edge.resources }}
{{- fail "edge.resources: name the audiences that the edges decide about, or \"*\" for all: they are sent nothing about others" }}
{{- end }}
{{- if not $edge.proxies }}
{{- fail "edge.proxies: name the users of the proxies that ask on each node: nobody else may connect to the socket" }}
{{- end }}
{{- $users := list }}
{{- range $edge.proxies }}
{{- if has (int .uid) $users }}
{{- fail (printf "edge.proxies: two entries are for uid %d: put all its resources into one" (int .uid)) }}
{{- end }}
{{- $users = append $users (int .uid) }}
{{- range .resources }}
{{- if not (or (has . $edge.resources) (has "*" $edge.resources)) }}
{{- fail (printf "edge.proxies: %s is none of edge.resources, so that the edges are sent nothing about it" .) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and .Values.certificates.secret (not $edge.certificate.secret) }}
{{- fail "edge.certificate.secret: name the Secret with the edges' certificate, by which the servers know them: it is not that of the servers" }}
{{- end }}
{{- if and .Values.certificates.secret (eq $edge.certificate.secret .Values.certificates.secret.name) }}
{{- fail "edge.certificate.secret: is the servers' own. An edge on any node would have their private key" }}
{{- end }}
{{- if and $edge.certificate.secret (not .Values.certificates.secret) }}
{{- fail "edge.certificate.secret: goes with certificates.secret alone; otherwise the edges get a certificate as the servers do" }}
{{- end }}
{{- if eq (include "lanyard.edgeId" .) (include "lanyard.adminId" .) }}
{{- fail "edge.certificate.spiffeId: is the admin's" }}
{{- end }}
{{- range $key := list "issuer" "mtls_url" "listeners" "local" "store" "keys" "trust" "roles" "log" "workload_api" }}
{{- if hasKey $edge.config $key }}
{{- fail (printf "edge.config.%s: the chart writes this key of the edges by itself, or edges do not have it" $key) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The configuration of the edges. They trust whom the servers trust, and have no keys. */}}
{{- define "lanyard.edgeConfig" -}}
{{- $values := .Values }}
{{- $edge := $values.edge }}
{{- $server := include "lanyard.config" . | fromYaml }}
{{- $endpoints := default (list (printf "https://%s:%d" (include "lanyard.host" .) (int $values.service.mtlsPort))) $edge.endpoints }}
{{- $upstream := dict "endpoints" $endpoints }}
{{- $config := dict
  "issuer" $server.issuer
  "mtls_url" $server.mtls_url
  "listeners" (dict "mtls" "127.0.0.1:8443" "public" "127.0.0.1:8444" "ops" $server.listeners.ops)
  "local" (dict "unix" "/socket/local.sock" "group" (int $edge.group) "proxies" $edge.proxies)
  "trust" $server.trust
  "log" $server.log
}}
{{- if $values.certificates.workloadApi }}
{{- $_ := set $config "workload_api" $server.workload_api }}
{{- $_ := set $upstream "certificate" "workload_api" }}
{{- $_ := set $upstream "server_spiffe_id" (include "lanyard.spiffeId" (dict "root" . "name" (include "lanyard.serviceAccount" .))) }}
{{- else }}
{{- $_ := set $config "tls" (dict "certificate" "/var/run/lanyard/tls/tls.crt" "key" "/var/run/lanyard/tls/tls.key") }}
{{- $_ := set $upstream "ca" "/var/run/lanyard/trust/ca.pem" }}
{{- $_ := set $upstream "certificate" "/var/run/lanyard/tls/tls.crt" }}
{{- $_ := set $upstream "key" "/var/run/lanyard/tls/tls.key" }}
{{- end }}
{{- $_ := set $config "store" (dict "upstream" $upstream) }}
{{- toYaml (mustMergeOverwrite $config (deepCopy $edge.config)) }}
{{- end }}
