//! The open store, with its metrics.

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;

use crate::authority::clock::Clock;
use crate::authority::clock::Entropy;
use crate::authority::store::Store;
use crate::config::Config;
use crate::config::StoreConfig;
use crate::server::error::StartError;
use crate::server::start::store_identity::StoreIdentity;
use crate::store::disk::Disk;
use crate::store::etcd::EtcdStore;
use crate::store::instrumented::InstrumentedStore;
use crate::store::instrumented::Operations;
use crate::store::memory::MemoryStore;
use crate::store::peer::ExpectedPeer;
use crate::store::peer::OwnCertificate;
use crate::store::peer::PeerTls;
use crate::store::peer::TlsSource;
use crate::store::sled::SledOptions;
use crate::store::sled::SledStore;
use crate::store::upstream::DecisionReports;
use crate::store::upstream::UpstreamStore;
use crate::tls::CertificateFiles;
use crate::tls::outbound;
use crate::tls::outbound::ClientCertificate;
use crate::tls::outbound::ExpectedServer;

/// The shortest time between two readings of the disk.
const DISK_INTERVAL: Duration = Duration::from_secs(5);

/// The store, and the sources of its metrics.
#[derive(Debug)]
pub(in crate::server) struct Stored {
    pub(in crate::server) store: Arc<dyn Store>,
    pub(in crate::server) operations: Arc<Operations>,
    /// `None` where the store is in memory.
    pub(in crate::server) disk: Option<Disk>,
    /// The way of an edge's reports to the centre.
    pub(in crate::server) reports: Option<Arc<DecisionReports>>,
}

impl Stored {
    /// Opens the configured store.
    pub(super) async fn open(
        config: &Config,
        provider: &Arc<CryptoProvider>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, StartError> {
        let disk = config.store.directory().map(|directory| Disk::new(directory.to_owned(), DISK_INTERVAL));
        let (store, reports) = opened(config, provider, clock, entropy).await?;
        Ok(Self { reports, ..Self::measure(store, disk) })
    }

    /// Counts the operations of an open store, and reads the state of its disk.
    pub(super) fn measure(store: Arc<dyn Store>, disk: Option<Disk>) -> Self {
        let store = InstrumentedStore::new(store);
        let operations = store.operations();
        Self { store: Arc::new(store), operations, disk, reports: None }
    }
}

/// Opens the configured store. Opening the embedded one blocks.
pub(crate) async fn open(
    config: &Config,
    provider: &Arc<CryptoProvider>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<Arc<dyn Store>, StartError> {
    Ok(opened(config, provider, clock, entropy).await?.0)
}

/// The same, with the way of reports to the centre where there is one.
async fn opened(
    config: &Config,
    provider: &Arc<CryptoProvider>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<(Arc<dyn Store>, Option<Arc<DecisionReports>>), StartError> {
    let store: Arc<dyn Store> = match &config.store {
        StoreConfig::Sled(directory) => {
            Arc::new(SledStore::open(directory, SledOptions { clock, ..SledOptions::default() })?)
        }
        StoreConfig::Memory => Arc::new(MemoryStore::with_clock(clock)),
        StoreConfig::Etcd(etcd) => {
            let tls = tls(config, etcd.tls.as_ref(), (provider, &clock, entropy)).await?;
            Arc::new(EtcdStore::open(etcd, tls, clock).await?)
        }
        StoreConfig::Upstream(upstream) => {
            let tls = tls(config, upstream.tls.as_ref(), (provider, &clock, Arc::clone(&entropy))).await?;
            let store = UpstreamStore::open(upstream, tls, &config.policy.issuer, clock, entropy)?;
            let reports = store.reports();
            return Ok((Arc::new(store), Some(reports)));
        }
    };
    Ok((store, None))
}

/// The TLS configuration for each connection to the store, if it has any.
async fn tls(
    config: &Config,
    tls: Option<&PeerTls>,
    (provider, clock, entropy): (&Arc<CryptoProvider>, &Arc<dyn Clock>, Arc<dyn Entropy>),
) -> Result<Option<TlsSource>, StartError> {
    let Some(tls) = tls else { return Ok(None) };
    let identity = match &config.workload_api {
        Some(workload_api) if tls.needs_workload_api() => {
            let (provider, clock) = (Arc::clone(provider), Arc::clone(clock));
            Some(StoreIdentity::follow(workload_api.clone(), provider, clock, entropy).await?)
        }
        Some(_) | None => None,
    };
    Ok(Some(tls_of(tls.clone(), identity, Arc::clone(provider), Arc::clone(clock))))
}

/// The same. It keeps the identity followed for as long as the store is open.
fn tls_of(
    PeerTls { server, client }: PeerTls,
    identity: Option<StoreIdentity>,
    provider: Arc<CryptoProvider>,
    clock: Arc<dyn Clock>,
) -> TlsSource {
    Arc::new(move || {
        let identity = || identity.as_ref().ok_or_else(|| "there is no Workload API".to_owned());
        let server = match &server {
            ExpectedPeer::Ca(ca) => ExpectedServer::Ca(ca.clone()),
            ExpectedPeer::Svid(id) => ExpectedServer::Svid(id.clone(), identity()?.roots_of(id.trust_domain())?),
        };
        let client = match &client {
            OwnCertificate::Nothing => ClientCertificate::Nothing,
            OwnCertificate::Files(certificate, key) => {
                ClientCertificate::Files(CertificateFiles { certificate: certificate.clone(), key: key.clone() })
            }
            OwnCertificate::WorkloadApi => ClientCertificate::Held(identity()?.svid()?),
        };
        let config = outbound::mutual_config(server, &client, Arc::clone(&provider), Arc::clone(&clock));
        config.map(Arc::new).map_err(|error| error.to_string())
    })
}
