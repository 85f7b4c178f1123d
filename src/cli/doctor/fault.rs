//! The faults that the doctor reports. Their codes are stable from version to version.
// More than 400 lines: it is one table.

use crate::cli::doctor::severity::Status;

/// A fault. `docs/doctor.md` lists all of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::cli::doctor) enum Fault {
    ConfigurationUnreadable,
    ConfigurationUnknownKey,
    ConfigurationInvalid,
    KeyEncryptionKeyUnreadable,
    KeyEncryptionKeyInvalid,
    KeyEncryptionKeyWrong,
    SigningKeyInvalid,
    SigningKeyNotInToken,
    TokenUnusable,
    KeyFileReadableByOthers,
    DescriptorsFew,
    CertificateUnreadable,
    CertificateInvalid,
    CertificateExpired,
    CertificateNotYetValid,
    CertificateExpiresSoon,
    CertificateKeyUnreadable,
    CertificateKeyInvalid,
    CertificateKeyMismatch,
    CertificateChainOrder,
    CertificateChainIncomplete,
    CertificateSeveralUris,
    CertificateSpiffeIdInvalid,
    CertificateKeyUsage,
    CertificateNameMissing,
    CertificateIssuerNotNamed,
    CertificateWithoutHostNames,
    RootsUnreadable,
    RootsEmpty,
    RootsInvalid,
    RootExpired,
    RootExpiredLeft,
    RootNotYetValid,
    RootExpiresSoon,
    RootDuplicate,
    RootShared,
    StoreInMemory,
    StoreUnreachable,
    CentreUnreachable,
    StoreUnreadable,
    StoreUnwritable,
    StoreForeign,
    StoreDamaged,
    StoreImportUnfinished,
    ClientCaNotNamed,
    ResourceAuthorityShared,
    ResourceNotFoundByHost,
    ExchangeNotEnabled,
    ExchangerNotRegistered,
    ExchangerIsProxy,
    ExchangeNotAccepted,
    ExchangeWithoutReceipts,
    ExchangeEvidenceTooWeak,
    ExchangeNotIndependent,
    ExchangeIssuerNotTrusted,
    ChainingNotRegistered,
    ChainingNotAccepted,
    DiskFull,
    DiskFilling,
    LimitsBeyondMemory,
    ServerUnreachable,
    ServerNotReady,
    ClockSkewed,
    ListenerUnreachable,
    ListenerAddressInUse,
    ListenerAddressUnusable,
    WorkloadApiUnreachable,
    WorkloadApiDenied,
    WorkloadApiInvalid,
    FederationUnreachable,
    FederationInvalid,
    JwksHostUnreachable,
    JwksHostPrivate,
    IssuerUnreachable,
    IssuerKeysInvalid,
    OtlpUnreachable,
    ClientCertificateExpired,
    ClientSubjectOrder,
    CallerFileUnusable,
    CallerCertificateExpired,
    CallerCertificateNotYetValid,
    CallerCertificateExpiresSoon,
    CallerCertificateInvalid,
    ServerNameUnresolved,
    ServerTlsFailed,
    CallerCertificateRefused,
    CallerNotRegistered,
    CallerGetsNoToken,
    EnvoyUnreadable,
    EnvoyInvalid,
    EnvoyWithoutChecks,
    EnvoyHeaderPassedOn,
    EnvoyHeaderFormat,
    EnvoyTlsResumption,
    EnvoyIdentityHeaders,
    EnvoyFailureModeAllow,
    EnvoyWithoutCertificate,
}

impl Fault {
    /// The fault's stable code.
    pub(in crate::cli::doctor) fn code(self) -> &'static str {
        self.row().0
    }

    /// The severity. A warning is about what works at present but should be changed.
    pub(in crate::cli::doctor) fn status(self) -> Status {
        self.row().1
    }

    /// The next step.
    pub(in crate::cli::doctor) fn next(self) -> &'static str {
        self.row().2
    }

    #[expect(clippy::too_many_lines, reason = "one table")]
    fn row(self) -> (&'static str, Status, &'static str) {
        use Status::Error;
        use Status::Warning;
        match self {
            Self::ConfigurationUnreadable => (
                "CONFIGURATION_UNREADABLE",
                Error,
                "name the configuration file with --config, and see that you may read it",
            ),
            Self::ConfigurationUnknownKey => {
                ("CONFIGURATION_UNKNOWN_KEY", Error, "correct the key's spelling, or its place, or leave it out")
            }
            Self::ConfigurationInvalid => ("CONFIGURATION_INVALID", Error, "correct the value that is named"),
            Self::KeyEncryptionKeyUnreadable => (
                "KEY_ENCRYPTION_KEY_UNREADABLE",
                Error,
                "see that the Secret is mounted, that keys.key_encryption_key_file names it, and that you may read it",
            ),
            Self::KeyEncryptionKeyInvalid => (
                "KEY_ENCRYPTION_KEY_INVALID",
                Error,
                "give the key that the store was made with; for a new store make one with `openssl rand -base64 32`",
            ),
            Self::KeyEncryptionKeyWrong => (
                "KEY_ENCRYPTION_KEY_WRONG",
                Error,
                "give the key-encryption key that this store was made with: without it its signing keys are lost",
            ),
            Self::SigningKeyInvalid => ("SIGNING_KEY_INVALID", Error, "restore the store from an export or a backup"),
            Self::SigningKeyNotInToken => (
                "SIGNING_KEY_NOT_IN_TOKEN",
                Error,
                "see that keys.pkcs11 names the token that holds this key, or restore the token from its backup",
            ),
            Self::TokenUnusable => (
                "PKCS11_TOKEN_UNUSABLE",
                Error,
                "see the module, the token and its PIN as keys.pkcs11 has them; docs/keys.md tells what is needed",
            ),
            Self::KeyFileReadableByOthers => (
                "KEY_FILE_READABLE_BY_OTHERS",
                Warning,
                "take the right away with `chmod o-r FILE`, or with defaultMode 0440 where a Secret is mounted",
            ),
            Self::DescriptorsFew => (
                "DESCRIPTORS_FEW",
                Warning,
                "raise the hard limit of open files of whatever starts the server, or lower tls.max_connections",
            ),
            Self::CertificateUnreadable => (
                "SERVER_CERTIFICATE_UNREADABLE",
                Error,
                "see that the file is mounted, that tls.certificate names it, and that you may read it",
            ),
            Self::CertificateInvalid => (
                "SERVER_CERTIFICATE_INVALID",
                Error,
                "name a PEM file of -----BEGIN CERTIFICATE----- blocks, the server's own certificate first",
            ),
            Self::CertificateExpired => {
                ("SERVER_CERTIFICATE_EXPIRED", Error, "have the certificate renewed, and see why it was not")
            }
            Self::CertificateNotYetValid => (
                "SERVER_CERTIFICATE_NOT_YET_VALID",
                Error,
                "see whether this machine's clock is behind; else have the certificate issued again",
            ),
            Self::CertificateExpiresSoon => (
                "SERVER_CERTIFICATE_EXPIRES_SOON",
                Warning,
                "see that the renewal of the certificate works; a running server takes a new file by itself",
            ),
            Self::CertificateKeyUnreadable => (
                "SERVER_KEY_UNREADABLE",
                Error,
                "see that the file is mounted, that tls.key names it, and that you may read it",
            ),
            Self::CertificateKeyInvalid => (
                "SERVER_KEY_INVALID",
                Error,
                "name a PEM file with an unencrypted -----BEGIN PRIVATE KEY----- block, ECDSA P-256 or P-384, RSA or Ed25519",
            ),
            Self::CertificateKeyMismatch => (
                "SERVER_KEY_MISMATCH",
                Error,
                "name the key that the certificate was issued for; in tls.certificate the server's own certificate comes first",
            ),
            Self::CertificateChainOrder => (
                "SERVER_CERTIFICATE_CHAIN_ORDER",
                Error,
                "order the file: the server's own certificate, then the one that issued it, and so on",
            ),
            Self::CertificateChainIncomplete => (
                "SERVER_CERTIFICATE_CHAIN_INCOMPLETE",
                Error,
                "append the missing intermediate certificates to tls.certificate, or see that the bundle is the right one",
            ),
            Self::CertificateSeveralUris => (
                "SERVER_CERTIFICATE_SEVERAL_URIS",
                Error,
                "have it issued with the SPIFFE ID as its only URI SAN: SPIFFE peers refuse any other (X509-SVID section 2)",
            ),
            Self::CertificateSpiffeIdInvalid => (
                "SERVER_CERTIFICATE_SPIFFE_ID_INVALID",
                Error,
                "have it issued with a SPIFFE ID such as spiffe://prod.example/lanyard",
            ),
            Self::CertificateKeyUsage => (
                "SERVER_CERTIFICATE_KEY_USAGE",
                Error,
                "have it issued for a server: digitalSignature, serverAuth, no CA, and for an X509-SVID as its section 4 has it",
            ),
            Self::CertificateNameMissing => (
                "SERVER_CERTIFICATE_NAME_MISSING",
                Error,
                "have it issued with this name as a DNS SAN, or correct issuer or mtls_url",
            ),
            Self::CertificateIssuerNotNamed => (
                "SERVER_CERTIFICATE_ISSUER_NOT_NAMED",
                Warning,
                "have it issued with this name too, unless something else serves the issuer's name with a certificate of its own",
            ),
            Self::CertificateWithoutHostNames => (
                "SERVER_CERTIFICATE_WITHOUT_HOST_NAMES",
                Warning,
                "have it issued with the host's name too, unless all clients verify the SPIFFE ID alone",
            ),
            Self::RootsUnreadable => (
                "ROOTS_UNREADABLE",
                Error,
                "see that the file is mounted, that the configuration names it, and that you may read it",
            ),
            Self::RootsEmpty => (
                "ROOTS_EMPTY",
                Error,
                "put the CA certificates there, PEM: with an empty file no certificate is accepted",
            ),
            Self::RootsInvalid => ("ROOTS_INVALID", Error, "leave only whole PEM certificates of CAs in the file"),
            Self::RootExpired => ("ROOT_EXPIRED", Error, "put the present roots into the file"),
            Self::RootExpiredLeft => ("ROOT_EXPIRED_LEFT", Warning, "take the expired root out of the file"),
            Self::RootNotYetValid => (
                "ROOT_NOT_YET_VALID",
                Warning,
                "see whether this machine's clock is behind; a root that is added before it becomes valid is in order",
            ),
            Self::RootExpiresSoon => {
                ("ROOT_EXPIRES_SOON", Warning, "begin the change to a new root: for a time the file holds both")
            }
            Self::RootDuplicate => ("ROOT_DUPLICATE", Warning, "leave the certificate in the file once"),
            Self::RootShared => (
                "ROOT_SHARED",
                Warning,
                "give each trust domain roots of its own: the holder of a shared root can issue SVIDs of both",
            ),
            Self::StoreInMemory => (
                "STORE_IN_MEMORY",
                Warning,
                "name a directory with store.sled.path, unless this is a trial: all is lost when the server ends",
            ),
            Self::StoreUnreachable => (
                "STORE_UNREACHABLE",
                Error,
                "see that a member of etcd can be reached from here with the files of store.etcd",
            ),
            Self::CentreUnreachable => (
                "CENTRE_UNREACHABLE",
                Error,
                "see that the servers of store.upstream can be reached from here, and that roles.edges in their configuration names this edge",
            ),
            Self::StoreUnreadable => (
                "STORE_UNREADABLE",
                Error,
                "see that store.sled.path names the store's directory, and run this as the server's user",
            ),
            Self::StoreUnwritable => (
                "STORE_UNWRITABLE",
                Error,
                "see that the volume is not mounted read-only, and that the directory belongs to the server's user",
            ),
            Self::StoreForeign => ("STORE_FOREIGN", Error, "name an empty directory, or the store's own"),
            Self::StoreDamaged => ("STORE_DAMAGED", Error, "restore it from a backup; keep the damaged one"),
            Self::StoreImportUnfinished => {
                ("STORE_IMPORT_UNFINISHED", Error, "repeat it, or run `lanyard store import --clear`")
            }
            Self::ClientCaNotNamed => (
                "CLIENT_CA_NOT_NAMED",
                Warning,
                "set client_ca in the registration to the client CA that issues the client's certificates, and apply it",
            ),
            Self::ResourceAuthorityShared => (
                "RESOURCE_AUTHORITY_SHARED",
                Warning,
                "leave the authority to one of them, or give each destination_principals of its own",
            ),
            Self::ResourceNotFoundByHost => (
                "RESOURCE_NOT_FOUND_BY_HOST",
                Warning,
                "if a gateway asks about it, list the gateway's SPIFFE ID as well, or name the resource in the filter",
            ),
            Self::ExchangeNotEnabled => (
                "EXCHANGE_NOT_ENABLED",
                Warning,
                "set exchange.enabled once every replica has this version, or take back what is registered",
            ),
            Self::ExchangerNotRegistered => (
                "EXCHANGER_NOT_REGISTERED",
                Warning,
                "register the client, or take it out of `receipts.exchangers`: whoever is registered under that name later could redeem",
            ),
            Self::ExchangerIsProxy => (
                "EXCHANGER_IS_PROXY",
                Warning,
                "let another identity front the resource, give this one that resource alone in roles.proxies, or name it in `destination_principals` if it is the resource's sidecar",
            ),
            Self::ExchangeNotAccepted => (
                "EXCHANGE_NOT_ACCEPTED",
                Warning,
                "have the target's owner add the client to `delegated.actors`, or take the rule out",
            ),
            Self::ExchangeWithoutReceipts => (
                "EXCHANGE_WITHOUT_RECEIPTS",
                Warning,
                "add the client to `receipts.exchangers` of the resource where the tokens are presented, or take the rule out",
            ),
            Self::ExchangeEvidenceTooWeak => (
                "EXCHANGE_EVIDENCE_TOO_WEAK",
                Warning,
                "lower `least_evidence` of the rule to what the proxies show, such as spiffe_id of a waypoint, or raise the resource's",
            ),
            Self::ExchangeNotIndependent => (
                "EXCHANGE_NOT_INDEPENDENT",
                Warning,
                "put a proxy with an identity of its own in front, or ask for `presentation: receipt`",
            ),
            Self::ExchangeIssuerNotTrusted => (
                "EXCHANGE_ISSUER_NOT_TRUSTED",
                Warning,
                "give the issuer an entry with `exchange` in trusted_issuers, or take the rule out",
            ),
            Self::ChainingNotRegistered => (
                "CHAINING_NOT_REGISTERED",
                Warning,
                "register the client with the grant type, token-exchange for `to` and jwt-bearer for `from`, or take it out of the entry",
            ),
            Self::ChainingNotAccepted => (
                "CHAINING_NOT_ACCEPTED",
                Warning,
                "have the resource's owner add the client, to `receipts.exchangers` for `to` and to `delegated.actors` for `from`, or take it out of the entry",
            ),
            Self::DiskFull => (
                "DISK_FULL",
                Error,
                "make room, or enlarge the volume: no write is acknowledged that is not on the disk",
            ),
            Self::DiskFilling => ("DISK_FILLING", Warning, "make room, or enlarge the volume, before it is full"),
            Self::LimitsBeyondMemory => {
                ("LIMITS_BEYOND_MEMORY", Warning, "lower these limits, or give the server more memory")
            }
            Self::ServerUnreachable => (
                "SERVER_UNREACHABLE",
                Error,
                "see whether the server runs, and whether the address is the right one; run this where the server runs",
            ),
            Self::ServerNotReady => ("SERVER_NOT_READY", Error, "look into the server's log for what the code names"),
            Self::ClockSkewed => {
                ("CLOCK_SKEWED", Error, "have both clocks set by NTP: what is too early or too late is refused")
            }
            Self::ListenerUnreachable => (
                "LISTENER_UNREACHABLE",
                Error,
                "see whether the server was started from this configuration: it must be started again after a change of listeners",
            ),
            Self::ListenerAddressInUse => (
                "LISTENER_ADDRESS_IN_USE",
                Error,
                "stop what listens there, or choose another address under `listeners`",
            ),
            Self::ListenerAddressUnusable => (
                "LISTENER_ADDRESS_UNUSABLE",
                Error,
                "choose an address of this machine, and a port that its user may listen on",
            ),
            Self::WorkloadApiUnreachable => (
                "WORKLOAD_API_UNREACHABLE",
                Error,
                "see that the agent runs, and that workload_api.endpoint_socket names its socket as it is mounted here",
            ),
            Self::WorkloadApiDenied => {
                ("WORKLOAD_API_DENIED", Error, "see that the agent has an entry for this workload")
            }
            Self::WorkloadApiInvalid => ("WORKLOAD_API_INVALID", Error, "look into the agent's log"),
            Self::FederationUnreachable => (
                "FEDERATION_UNREACHABLE",
                Error,
                "see that bundle_endpoint is right, that a NetworkPolicy lets this server out to it, and that its certificate fits the profile",
            ),
            Self::FederationInvalid => (
                "FEDERATION_INVALID",
                Error,
                "see that bundle_endpoint names a SPIFFE bundle document, and inform its publisher",
            ),
            Self::JwksHostUnreachable => (
                "JWKS_HOST_UNREACHABLE",
                Error,
                "see that jwks_uri.allowed_hosts spells the host rightly, and that a NetworkPolicy lets this server out to it",
            ),
            Self::JwksHostPrivate => (
                "JWKS_HOST_PRIVATE",
                Error,
                "set jwks_uri.allow_private_addresses if the host is meant to be on this network, else take it off the list",
            ),
            Self::IssuerUnreachable => (
                "ISSUER_UNREACHABLE",
                Error,
                "see that jwks_uri of the issuer's entry is right, that a NetworkPolicy lets this server out to it, and that jwks_uri.ca has its CA",
            ),
            Self::IssuerKeysInvalid => (
                "ISSUER_KEYS_INVALID",
                Error,
                "give the JWK Set of the issuer, such as what `kubectl get --raw /openid/v1/jwks` prints",
            ),
            Self::ClientCertificateExpired => (
                "CLIENT_CERTIFICATE_EXPIRED",
                Warning,
                "register the client's present certificate, or delete the client",
            ),
            Self::ClientSubjectOrder => (
                "CLIENT_SUBJECT_ORDER",
                Warning,
                "register the subject as `openssl x509 -subject -nameopt RFC2253` prints it, unless the certificate has it so",
            ),
            Self::OtlpUnreachable => (
                "OTLP_UNREACHABLE",
                Error,
                "see that telemetry.otlp.endpoint names the collector, and that a NetworkPolicy lets this server out to it",
            ),
            Self::CallerFileUnusable => {
                ("CALLER_FILE_UNUSABLE", Error, "see that --ca, --cert and --key name PEM files that you may read")
            }
            Self::CallerCertificateExpired => {
                ("CALLER_CERTIFICATE_EXPIRED", Error, "have the certificate renewed, and see why it was not")
            }
            Self::CallerCertificateNotYetValid => (
                "CALLER_CERTIFICATE_NOT_YET_VALID",
                Error,
                "see whether this machine's clock is behind; else have the certificate issued again",
            ),
            Self::CallerCertificateExpiresSoon => {
                ("CALLER_CERTIFICATE_EXPIRES_SOON", Warning, "see that the renewal of the certificate works")
            }
            Self::CallerCertificateInvalid => (
                "CALLER_CERTIFICATE_INVALID",
                Error,
                "have a certificate issued that authenticates a client, with at most one SPIFFE ID",
            ),
            Self::ServerNameUnresolved => (
                "SERVER_NAME_UNRESOLVED",
                Error,
                "see whether --server spells the host rightly, and whether this machine's DNS knows it",
            ),
            Self::ServerTlsFailed => (
                "SERVER_TLS_FAILED",
                Error,
                "name the CA of the server's certificate with --ca, and a name in it with --server",
            ),
            Self::CallerCertificateRefused => {
                ("CALLER_CERTIFICATE_REFUSED", Error, "look into the server's log for the reason")
            }
            Self::CallerNotRegistered => (
                "CALLER_NOT_REGISTERED",
                Error,
                "have an admin register a client for this certificate: `lanyard client apply`",
            ),
            Self::CallerGetsNoToken => {
                ("CALLER_GETS_NO_TOKEN", Error, "have an admin look at the registration with `lanyard client get`")
            }
            Self::EnvoyUnreadable => (
                "ENVOY_UNREADABLE",
                Error,
                "name a configuration of Envoy with --envoy, or what its admin interface prints at /config_dump",
            ),
            Self::EnvoyInvalid => (
                "ENVOY_INVALID",
                Error,
                "where listeners come from xDS or other files, give what the admin interface prints at /config_dump",
            ),
            Self::EnvoyWithoutChecks => (
                "ENVOY_WITHOUT_CHECKS",
                Warning,
                "see that the proxy in front of the service has the ext_authz filter; a gateway before that proxy needs none",
            ),
            Self::EnvoyHeaderPassedOn => (
                "ENVOY_HEADER_PASSED_ON",
                Error,
                "set SANITIZE_SET; behind a gateway that the resource names (evidence_from: via) APPEND_FORWARD",
            ),
            Self::EnvoyHeaderFormat => (
                "ENVOY_HEADER_FORMAT",
                Error,
                "take `format` out of set_current_client_cert_details: the text format is the one that is read",
            ),
            Self::EnvoyTlsResumption => (
                "ENVOY_TLS_RESUMPTION",
                Warning,
                "set disable_stateless_session_resumption and disable_stateful_session_resumption to true: a resumed session skips the verification of the certificate",
            ),
            Self::EnvoyIdentityHeaders => (
                "ENVOY_IDENTITY_HEADERS",
                Warning,
                "add the header_mutation filter of deploy/envoy/envoy.yaml before ext_authz: it also works while Lanyard is not asked",
            ),
            Self::EnvoyFailureModeAllow => {
                ("ENVOY_FAILURE_MODE_ALLOW", Warning, "set it to false, and status_on_error to ServiceUnavailable")
            }
            Self::EnvoyWithoutCertificate => (
                "ENVOY_WITHOUT_CERTIFICATE",
                Error,
                "give the cluster an UpstreamTlsContext with the proxy's own X509-SVID: it gives the proxy its role",
            ),
        }
    }
}
