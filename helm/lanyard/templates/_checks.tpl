{{/* Checks that the schema cannot express, or not with a clear message. */}}
{{- define "lanyard.checks" -}}
{{- $values := .Values }}
{{- $etcd := $values.etcd }}
{{- if and (not $etcd.endpoints) (ne (int $values.replicas) 1) }}
{{- fail (printf "replicas is %d and must be 1: the embedded store (sled) belongs to one process, and a second one could not open it. Several replicas share an etcd: name it with etcd.endpoints" (int $values.replicas)) }}
{{- end }}
{{- if and (not $etcd.endpoints) $values.autoscaling.enabled }}
{{- fail "autoscaling: the embedded store (sled) belongs to one process. Several replicas share an etcd: name it with etcd.endpoints" }}
{{- end }}
{{- if and $etcd.endpoints (lt (int $values.replicas) 1) }}
{{- fail "replicas: at least one" }}
{{- end }}
{{- if and $etcd.endpoints $etcd.secret $etcd.files }}
{{- fail "etcd: secret and files are given, and exactly one of them must be" }}
{{- end }}
{{- if and $etcd.endpoints (not $etcd.secret) (not $etcd.files) }}
{{- fail "etcd.secret: name the Secret with ca.crt, tls.crt and tls.key for connections to etcd; or etcd.files, where they are mounted by extraVolumes" }}
{{- end }}
{{- if gt (int $values.autoscaling.minReplicas) (int $values.autoscaling.maxReplicas) }}
{{- fail "autoscaling: minReplicas is more than maxReplicas" }}
{{- end }}

{{- $parts := list "apply" "audit" "authority" "cli" "client" "config" "grpc" "http" "messages" "proto" "server" "signer" "store" "telemetry" "tls" "trace_context" "trust_sources" "yaml" }}
{{- range splitList "," $values.log.level }}
{{- $target := trim . | splitList "=" | first }}
{{- $part := $target | trimPrefix "lanyard::" | splitList "::" | first }}
{{- if and (hasPrefix "lanyard::" $target) (not (has $part $parts)) }}
{{- fail (printf "log.level: %s is no target of the server: name lanyard, or lanyard:: and one of %s" $target (join ", " $parts)) }}
{{- end }}
{{- end }}

{{- if eq $values.image.tag "latest" }}
{{- fail "image.tag is latest: name a version, which stays the same until you change it" }}
{{- end }}

{{- $sources := list }}
{{- range list "secret" "certManager" "workloadApi" }}
{{- if hasKey $values.certificates . }}{{ $sources = append $sources (printf "certificates.%s" .) }}{{ end }}
{{- end }}
{{- if not $sources }}
{{- fail "certificates: name the source of the server's certificate, exactly one of certificates.secret, certificates.certManager and certificates.workloadApi" }}
{{- end }}
{{- if gt (len $sources) 1 }}
{{- fail (printf "certificates: %s are given, and exactly one of them must be" (join " and " $sources)) }}
{{- end }}

{{- $bundled := or $values.certificates.workloadApi $values.config.workload_api (hasKey $values.trust.bundles $values.trustDomain) }}
{{- if not $bundled }}
{{- fail (printf "trust.bundles: name the Secret or ConfigMap with the bundle of %s, the server's own trust domain: without it none of its workloads could connect" $values.trustDomain) }}
{{- end }}
{{- range $name, $source := $values.trust.bundles }}{{ include "lanyard.oneSource" (dict "at" (printf "trust.bundles.%s" $name) "source" $source) }}{{ end }}
{{- range $name, $source := $values.trust.clientCas }}{{ include "lanyard.oneSource" (dict "at" (printf "trust.clientCas.%s" $name) "source" $source) }}{{ end }}
{{- with $values.certificates.ca }}{{ include "lanyard.oneSource" (dict "at" "certificates.ca" "source" .) }}{{ end }}
{{- with $values.telemetry.otlp.ca }}{{ include "lanyard.oneSource" (dict "at" "telemetry.otlp.ca" "source" .) }}{{ end }}

{{- $key := $values.keyEncryptionKey }}
{{- if and $key.existingSecret $key.create }}
{{- fail "keyEncryptionKey: existingSecret and create are given, and exactly one of them must be" }}
{{- end }}
{{- if not (or $key.existingSecret $key.create) }}
{{- fail "keyEncryptionKey.existingSecret: name the Secret with the key-encryption key, 32 bytes of base64 (`openssl rand -base64 32`); for a trial, keyEncryptionKey.create=true" }}
{{- end }}

{{- if and $values.certificates.secret (or $values.registrations.clients $values.registrations.resources $values.registrations.grants) (not $values.registrations.admin.secret) }}
{{- fail "registrations.admin.secret: name the Secret with an admin's certificate: the Job that applies registrations.clients, registrations.resources and registrations.grants presents it" }}
{{- end }}

{{- if and $values.serviceMonitor.enabled $values.networkPolicy.enabled (not $values.networkPolicy.ops) }}
{{- fail "networkPolicy.ops: name the peers that collect the metrics: serviceMonitor is enabled, and the NetworkPolicy allows no peer to reach the ops port" }}
{{- end }}

{{- /* Written by the chart: selectors, the replacement of pods and hooks depend on them. */}}
{{- range $name, $_ := $values.podLabels }}
{{- if has $name (list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component") }}
{{- fail (printf "podLabels: %s is one of the labels by which the chart's objects select their pods: leave it out" $name) }}
{{- end }}
{{- end }}
{{- range $name, $_ := $values.podAnnotations }}
{{- if or (has $name (list "checksum/config" "kubectl.kubernetes.io/default-container")) (hasPrefix "helm.sh/" $name) }}
{{- fail (printf "podAnnotations: the chart writes %s by itself: leave it out" $name) }}
{{- end }}
{{- end }}

{{- if and (ne $values.service.type "ClusterIP") $values.networkPolicy.enabled }}
{{- $outside := false }}
{{- range concat $values.networkPolicy.mtls $values.networkPolicy.public }}{{ if hasKey . "ipBlock" }}{{ $outside = true }}{{ end }}{{ end }}
{{- if not $outside }}
{{- fail (printf "service.type is %s, and the NetworkPolicy admits only pods, so no peer outside of the cluster would reach the server: name the addresses that may, as ipBlock, in networkPolicy.mtls or networkPolicy.public, or set networkPolicy.enabled=false" $values.service.type) }}
{{- end }}
{{- end }}

{{- range $values.extraEnv }}
{{- if hasPrefix "LANYARD_" .name }}
{{- fail (printf "extraEnv: %s would go round what the chart checks and renders: set the key under config, or the value that the chart has for it" .name) }}
{{- end }}
{{- end }}

{{- with $values.certificates.certManager }}
{{- $hosts := dict "issuer" (list (urlParse (include "lanyard.issuer" $)).hostname) "mtlsUrl" (list (urlParse (include "lanyard.mtlsUrl" $)).hostname) "certificates.certManager.dnsNames" (default list .dnsNames) }}
{{- range $at, $names := $hosts }}
{{- range $names }}
{{- if regexMatch "^[0-9.]+$|:" . }}
{{- fail (printf "%s: %s is an address, and the certificate that cert-manager makes has DNS names: use a host name, or a certificate from certificates.secret" $at .) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- include "lanyard.edgeChecks" . }}

{{- if hasKey $values.config "local" }}
{{- fail "config.local: no other container shares a socket with the server. Edges have one on each node: edge.enabled" }}
{{- end }}

{{- if hasKey $values.config "forwarded" }}
{{- fail "config.forwarded: nothing would reach that listener: the chart opens no port for it, in the pod, the Service or the NetworkPolicy, and no other container shares a socket with the server" }}
{{- end }}

{{- $elsewhere := dict "dev" "nothing: dev is not for clusters" "issuer" "issuer" "mtls_url" "mtlsUrl" "listeners" "listenAddress and service" "roles" "roles" "trust" "trustDomain and trust" "log" "log" "telemetry" "telemetry" "tls.certificate" "certificates" "tls.key" "certificates" "store.sled" "persistence" "store.memory" "persistence" "keys.key_encryption_key" "keyEncryptionKey" "keys.key_encryption_key_file" "keyEncryptionKey" }}
{{- range $path, $value := $elsewhere }}
{{- $section := dict "of" $values.config }}
{{- $parts := splitList "." $path }}
{{- range initial $parts }}{{ $_ := set $section "of" (default dict (get $section.of .)) }}{{ end }}
{{- if hasKey $section.of (last $parts) }}
{{- fail (printf "config.%s: the chart writes this key by itself; set instead: %s" $path $value) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Takes {at, source}: exactly one of a Secret and a ConfigMap. */}}
{{- define "lanyard.oneSource" -}}
{{- if eq (empty .source.secret) (empty .source.configMap) }}
{{- fail (printf "%s: name exactly one of secret and configMap" .at) }}
{{- end }}
{{- end }}
