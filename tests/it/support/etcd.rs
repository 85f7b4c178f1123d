//! A real etcd: one member for stores, or three with mutual TLS that are killed, frozen and cut off.

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lanyard::authority::clock::Clock;
use lanyard::authority::clock::SystemClock;
use lanyard::authority::store::Batch;
use lanyard::authority::store::Expected;
use lanyard::authority::store::KeyRevisions;
use lanyard::authority::store::Listing;
use lanyard::authority::store::Revision;
use lanyard::authority::store::Store;
use lanyard::authority::store::StoreError;
use lanyard::authority::store::StoreFuture;
use lanyard::authority::store::Transaction;
use lanyard::authority::store::Versioned;
use lanyard::authority::store::Watch;
use lanyard::authority::store::Write;
use lanyard::store::etcd::EtcdConfig;
use lanyard::store::etcd::EtcdStore;
use serde_json::Value;
use tempfile::TempDir;
use tokio_stream::StreamExt as _;

use crate::support::ca::TestCa;
use crate::support::go_programs::build_program;
use crate::support::go_programs::entry_of;
use crate::support::process::Process;
use crate::support::process::free_ports;
use crate::support::process::run_with;
use crate::support::process::text;
use crate::support::server::in_crate;
use crate::support::tools::built;
use crate::support::tools::skipped;

/// The SPIFFE ID of the members of a cluster.
pub const ETCD_ID: &str = "spiffe://prod.example/etcd";

/// etcd, by its Go module.
const ETCD: &str = "go.etcd.io/etcd/server/v3@v3.6.16";

/// A folder with the command `etcd`. The first build takes a minute or two.
pub fn program() -> Option<PathBuf> {
    let build = |folder: &Path| build_program("etcd", &in_crate("tests/it/support/etcd"), ETCD, folder, "etcd");
    (!skipped("etcd")).then(|| built(&entry_of(ETCD), build))
}

/// A member of its own for a test, without TLS.
pub struct Single {
    pub url: String,
    _process: Process,
    _directory: TempDir,
}

impl Single {
    /// Starts it, with more arguments; `None` if etcd is to be skipped.
    pub fn start(arguments: &[&str]) -> Option<Self> {
        let folder = program()?;
        let (directory, [client, peer]) = (TempDir::new().unwrap(), free_ports());
        let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let mut etcd = Command::new(folder.join("etcd"));
        etcd.args(["--unsafe-no-fsync", "--heartbeat-interval", "10", "--election-timeout", "100", "--data-dir"]);
        etcd.arg(directory.path()).args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        etcd.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        etcd.args(["--initial-cluster", &format!("default={peer}")]).args(arguments);
        let process = Process::start(&mut etcd);
        process.until("ready to serve client requests");
        Some(Self { url: client, _process: process, _directory: directory })
    }

    /// A store in it.
    pub async fn store(&self, prefix: &str, clock: Arc<dyn Clock>) -> EtcdStore {
        let (endpoints, prefix) = (vec![self.url.clone()], prefix.to_owned());
        let config = EtcdConfig { endpoints, prefix, tls: None, timeout: Duration::from_secs(5) };
        EtcdStore::open(&config, None, clock).await.unwrap()
    }
}

/// A store whose revisions count from 0, as those of the embedded stores: an empty etcd is at revision 1. It keeps its
/// etcd running.
pub struct FromZero {
    store: EtcdStore,
    _etcd: Mutex<Single>,
}

impl FromZero {
    /// A store in an etcd of its own, by this clock; `None` if etcd is to be skipped.
    pub async fn start(clock: Arc<dyn Clock>) -> Option<Arc<dyn Store>> {
        let etcd = Single::start(&[])?;
        Some(Arc::new(Self { store: etcd.store("/lanyard", clock).await, _etcd: Mutex::new(etcd) }))
    }
}

impl fmt::Debug for FromZero {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(formatter)
    }
}

fn less(revision: Revision) -> Revision {
    Revision(revision.0 - 1)
}

fn rebased<T>(versioned: Versioned<T>) -> Versioned<T> {
    Versioned { revision: less(versioned.revision), ..versioned }
}

impl Store for FromZero {
    fn get<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<Versioned<Arc<[u8]>>>> {
        Box::pin(async move { Ok(self.store.get(key).await?.map(rebased)) })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> StoreFuture<'a, Listing> {
        Box::pin(async move {
            let Listing { entries, revision } = self.store.list(prefix).await?;
            let entries = entries.into_iter().map(|(key, entry)| (key, rebased(entry))).collect();
            Ok(Listing { entries, revision: less(revision) })
        })
    }

    fn key_revisions<'a>(&'a self, after: &'a str, limit: usize) -> StoreFuture<'a, KeyRevisions> {
        Box::pin(async move {
            let KeyRevisions { keys, more, revision } = self.store.key_revisions(after, limit).await?;
            let keys = keys.into_iter().map(|(key, at)| (key, less(at))).collect();
            Ok(KeyRevisions { keys, more, revision: less(revision) })
        })
    }

    fn transact(&self, transaction: Transaction) -> StoreFuture<'_, Revision> {
        let comparisons = transaction.comparisons().to_vec();
        let mut raised = Transaction::default();
        for (key, expected) in comparisons {
            let expected = match expected {
                Expected::At(revision) => Expected::At(Revision(revision.0 + 1)),
                Expected::Any | Expected::Absent => expected,
            };
            raised = raised.compare(&key, expected);
        }
        for (key, write) in transaction.into_writes() {
            raised = match write {
                Write::Put { value, expires: Some(expires) } => raised.put_until(&key, value.to_vec(), expires),
                Write::Put { value, expires: None } => raised.put(&key, value.to_vec()),
                Write::Delete => raised.delete(&key),
            };
        }
        Box::pin(async move { Ok(less(self.store.transact(raised).await?)) })
    }

    fn watch(&self, prefix: &str, from: Revision) -> Watch {
        let watch = self.store.watch(prefix, Revision(from.0 + 1));
        Box::pin(
            watch.map(|batch| batch.map(|Batch { revision, changes }| Batch { revision: less(revision), changes })),
        )
    }

    fn health(&self) -> Result<(), StoreError> {
        self.store.health()
    }
}

/// Three members with mutual TLS.
pub struct Cluster {
    folder: TempDir,
    program: PathBuf,
    ca: TestCa,
    members: Vec<Member>,
    options: Options,
}

struct Member {
    name: String,
    client: u16,
    peer: u16,
    process: Option<Process>,
}

/// What a cluster is started with.
#[derive(Clone, Copy, Default)]
pub struct Options {
    /// The size at which it takes no more writes, in bytes; 0 for its default.
    pub quota: u64,
    /// Whether the client's user may read and write its own prefix, `/lanyard/test`, and nothing else.
    pub roles: bool,
}

impl Cluster {
    /// Starts three members and waits until they have a leader; `None` if etcd is to be skipped.
    pub fn start(options: Options) -> Option<Self> {
        let program = program()?.join("etcd");
        let (folder, ca) = (TempDir::new().unwrap(), TestCa::at("etcd", SystemClock.now()));
        let ports: [u16; 6] = free_ports();
        let member = |index: usize| Member {
            name: format!("m{index}"),
            client: ports[2 * index],
            peer: ports[2 * index + 1],
            process: None,
        };
        let members = (0..3).map(member).collect();
        let mut cluster = Self { folder, program, ca, members, options };
        fs::write(cluster.file("ca.pem"), cluster.ca.pem()).unwrap();
        let certificate = cluster.ca.svid(ETCD_ID).common_name("member").ip([127, 0, 0, 1].into());
        // Tests move the clocks of servers.
        let certificate = certificate.valid_for(Duration::from_hours(24)).issue();
        fs::write(cluster.file("member.pem"), certificate.chain_pem()).unwrap();
        fs::write(cluster.file("member-key.pem"), certificate.key_pem()).unwrap();
        cluster.write_client_certificate();
        for index in 0..3 {
            cluster.start_member(index);
        }
        cluster.members.iter().filter_map(|member| member.process.as_ref()).for_each(|process| {
            process.until("ready to serve client requests");
        });
        if options.roles {
            cluster.enable_roles();
        }
        Some(cluster)
    }

    /// Lets the user of the client certificate reach what is documented, and nothing else.
    fn enable_roles(&self) {
        let (key, end) = (STANDARD.encode("/lanyard/test:"), STANDARD.encode("/lanyard/test;"));
        let range = format!("\"perm\": {{\"permType\": \"READWRITE\", \"key\": \"{key}\", \"range_end\": \"{end}\"}}");
        self.leader();
        for (method, body) in [
            ("auth/user/add", r#"{"name": "root", "password": "root"}"#.to_owned()),
            ("auth/user/grant", r#"{"user": "root", "role": "root"}"#.to_owned()),
            ("auth/role/add", r#"{"name": "lanyard"}"#.to_owned()),
            ("auth/role/grant", format!("{{\"name\": \"lanyard\", {range}}}")),
            ("auth/user/add", r#"{"name": "lanyard", "options": {"no_password": true}}"#.to_owned()),
            ("auth/user/grant", r#"{"user": "lanyard", "role": "lanyard"}"#.to_owned()),
            ("auth/enable", "{}".to_owned()),
        ] {
            self.gateway(0, method, &body).unwrap_or_else(|| panic!("{method}: {body}"));
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a client certificate that is valid for a day.
    pub fn write_client_certificate(&self) {
        let certificate = self.ca.client_certificate().common_name("lanyard").issue();
        fs::write(self.file("client.pem"), certificate.chain_pem()).unwrap();
        fs::write(self.file("client-key.pem"), certificate.key_pem()).unwrap();
    }

    /// Replaces the client certificate by one that has expired.
    pub fn write_expired_client_certificate(&self) {
        let certificate = self.ca.client_certificate().common_name("lanyard").expired().issue();
        fs::write(self.file("client.pem"), certificate.chain_pem()).unwrap();
        fs::write(self.file("client-key.pem"), certificate.key_pem()).unwrap();
    }

    /// The value of `store` in a configuration, with the members in this order.
    pub fn store_section(&self, prefix: &str, order: [usize; 3]) -> String {
        let (ca, certificate, key) = self.files();
        let [ca, certificate, key] = [&ca, &certificate, &key].map(|file| text(file));
        self.store_section_by(prefix, order, &format!("ca: {ca}, certificate: {certificate}, key: {key}"))
    }

    /// The same with these keys for who is who.
    pub fn store_section_by(&self, prefix: &str, order: [usize; 3], tls: &str) -> String {
        let endpoints = order.map(|index| format!("'https://127.0.0.1:{}'", self.members[index].client)).join(", ");
        format!("{{etcd: {{endpoints: [{endpoints}], prefix: {prefix}, {tls}}}}}")
    }

    /// The CA of all of its certificates.
    pub fn ca(&self) -> &TestCa {
        &self.ca
    }

    /// The addresses of the members.
    pub fn addresses(&self) -> [SocketAddr; 3] {
        [0, 1, 2].map(|index: usize| SocketAddr::from(([127, 0, 0, 1], self.members[index].client)))
    }

    /// The CA's file, and the client certificate with its key.
    pub fn files(&self) -> (PathBuf, PathBuf, PathBuf) {
        (self.file("ca.pem"), self.file("client.pem"), self.file("client-key.pem"))
    }

    /// Starts a member, on its data if it was killed.
    pub fn start_member(&mut self, index: usize) {
        let urls = |port: u16| format!("https://127.0.0.1:{port}");
        let all: Vec<String> =
            self.members.iter().map(|member| format!("{}={}", member.name, urls(member.peer))).collect();
        let member = &self.members[index];
        let mut etcd = Command::new(&self.program);
        etcd.args(["--name", &member.name, "--unsafe-no-fsync", "--initial-cluster", &all.join(",")]);
        etcd.arg("--data-dir").arg(self.file(&member.name));
        for (flag, port) in [
            ("--listen-client-urls", member.client),
            ("--advertise-client-urls", member.client),
            ("--listen-peer-urls", member.peer),
            ("--initial-advertise-peer-urls", member.peer),
        ] {
            etcd.args([flag, &urls(port)]);
        }
        for prefix in ["", "peer-"] {
            etcd.arg(format!("--{prefix}client-cert-auth"));
            for (flag, file) in
                [("cert-file", "member.pem"), ("key-file", "member-key.pem"), ("trusted-ca-file", "ca.pem")]
            {
                etcd.arg(format!("--{prefix}{flag}")).arg(self.file(file));
            }
        }
        if self.options.quota > 0 {
            etcd.args(["--quota-backend-bytes", &self.options.quota.to_string()]);
        }
        self.members[index].process = Some(Process::start(&mut etcd));
    }

    /// Kills a member at once.
    pub fn kill(&mut self, index: usize) {
        self.members[index].process = None;
    }

    /// Stops a member without closing its connections.
    pub fn freeze(&self, index: usize) {
        self.members[index].process.as_ref().unwrap().signal("STOP");
    }

    /// Lets a frozen member go on.
    pub fn thaw(&self, index: usize) {
        self.members[index].process.as_ref().unwrap().signal("CONT");
    }

    /// The index of the leader, asked of the members that run.
    pub fn leader(&self) -> usize {
        for _ in 0..1000 {
            for (index, _) in self.members.iter().enumerate().filter(|(_, member)| member.process.is_some()) {
                let status = self.gateway(index, "maintenance/status", "{}");
                let of = |name: &str| status.as_ref().and_then(|status| status[name].as_str().map(str::to_owned));
                let member = status.as_ref().and_then(|status| status["header"]["member_id"].as_str());
                if of("leader").is_some_and(|leader| member == Some(&leader)) {
                    return index;
                }
            }
        }
        panic!("etcd has no leader");
    }

    /// Forgets all revisions before the present one.
    pub fn compact(&self, index: usize) {
        let status = self.gateway(index, "maintenance/status", "{}").unwrap();
        let revision = status["header"]["revision"].as_str().unwrap().to_owned();
        self.gateway(index, "kv/compaction", &format!("{{\"revision\": {revision}, \"physical\": true}}")).unwrap();
    }

    /// Writes until it takes no more.
    pub fn fill(&self) {
        let value = STANDARD.encode(vec![0; 1024 * 1024]);
        for number in 0..64 {
            let key = STANDARD.encode(format!("/filler/{number}"));
            let body = format!("{{\"key\": \"{key}\", \"value\": \"{value}\"}}");
            if self.gateway(0, "kv/put", &body).is_none() {
                return;
            }
        }
        panic!("etcd is not full");
    }

    /// Deletes what `fill` wrote, returns the space, and lifts the alarm.
    pub fn make_room(&self) {
        let (first, end) = (STANDARD.encode("/filler/"), STANDARD.encode("/filler0"));
        self.gateway(0, "kv/deleterange", &format!("{{\"key\": \"{first}\", \"range_end\": \"{end}\"}}")).unwrap();
        self.compact(0);
        for index in 0..3 {
            self.gateway(index, "maintenance/defragment", "{}").unwrap();
        }
        let raised = self.gateway(0, "maintenance/alarm", "{\"action\": \"GET\"}").unwrap();
        for alarm in raised["alarms"].as_array().into_iter().flatten() {
            let member = alarm["memberID"].as_str().unwrap();
            let body = format!("{{\"action\": \"DEACTIVATE\", \"memberID\": {member}, \"alarm\": \"NOSPACE\"}}");
            self.gateway(0, "maintenance/alarm", &body).unwrap();
        }
    }

    /// A call of etcd's JSON gateway; `None` if it is not answered.
    pub fn gateway(&self, index: usize, method: &str, body: &str) -> Option<Value> {
        let (ca, certificate, key) = self.files();
        let url = format!("https://127.0.0.1:{}/v3/{method}", self.members[index].client);
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--fail", "--max-time", "5", "--cacert"]).arg(ca);
        curl.arg("--cert").arg(certificate).arg("--key").arg(key).args(["--data", "@-", &url]);
        let answer = run_with(&mut curl, body);
        (answer.code == Some(0)).then(|| serde_json::from_str(&answer.stdout).unwrap())
    }
}
