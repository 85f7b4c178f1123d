//! Stores with many records, written through the store itself and not through a server: a sync for each would take hours.

use std::io;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lanyard::authority::clock::Clock as _;
use lanyard::authority::clock::SystemClock;
use lanyard::authority::records::Record;
use lanyard::authority::records::Registered;
use lanyard::authority::records::Registration as _;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::registration::ClientRegistration;
use lanyard::authority::registration::unique_index_key;
use lanyard::authority::state::RevocationRecord;
use lanyard::authority::state::Revoked;
use lanyard::authority::store::Revision;
use lanyard::authority::store::Store as _;
use lanyard::authority::store::Transaction;
use lanyard::store::sled::Durability;
use lanyard::store::sled::SledOptions;
use lanyard::store::sled::SledStore;
use sha2::Digest as _;
use sha2::Sha256;

use crate::support::Failure;
use crate::support::requests::AUDIENCE;

/// How many records are in a transaction, and how many transactions are under way.
const IN_ONE: usize = 32;
const UNDER_WAY: usize = 16;

/// How many registrations have an audience and an owner in common.
const TEAM: usize = 250;

/// The length of a `jti` of this server: 128 bits, base64url.
const JTI_BYTES: usize = 22;

/// Who registered and revoked everything.
const ADMIN: &str = "spiffe://dev.internal/admin";

/// Leaves the writes to the kernel: what is measured is read from its cache anyway.
#[derive(Debug)]
struct Unsynced;

impl Durability for Unsynced {
    fn flush(&mut self, _: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        Ok(())
    }

    fn sync(&mut self, _: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        Ok(())
    }
}

/// The registration of this number. Of ten, one is a pattern, two have a name of their own, and the others are named by their
/// SPIFFE IDs.
pub(crate) fn registration(number: usize) -> ClientMetadata {
    let id = format!("spiffe://dev.internal/{}", path(number));
    let (client_id, spiffe_id) = match number % 10 {
        0 => (
            format!("jobs-{number:07}"),
            Some(id.rsplit_once('/').map_or(String::new(), |(all, _)| all.to_owned() + "/*")),
        ),
        1 | 2 => (format!("service-{number:07}"), Some(id)),
        _ => (id, None),
    };
    let team = number / TEAM;
    ClientMetadata {
        client_id,
        spiffe_id,
        token_endpoint_auth_method: "spiffe_x509".to_owned(),
        scope: "orders.read orders.write".to_owned(),
        audience: vec![AUDIENCE.to_owned(), format!("https://team-{team:04}.dev.internal")],
        // No token expires while it is measured.
        access_token_ttl: Some(Duration::from_hours(1)),
        owner: Some(format!("team-{team:04}@dev.internal")),
        ..ClientMetadata::default()
    }
}

/// The path of a workload of this registration.
pub(crate) fn path(number: usize) -> String {
    let team = number / TEAM;
    match number % 10 {
        0 => format!("ns/team-{team:04}/jobs/{number:07}/run-1"),
        _ => format!("ns/team-{team:04}/sa/service-{number:07}"),
    }
}

/// What registering this client writes: its record, and its claim of its SPIFFE ID or pattern.
pub(crate) fn written(number: usize) -> Result<[(String, Vec<u8>); 2], Failure> {
    let registration = ClientRegistration::parse(registration(number))?;
    let record = Record::new(random(number).into(), SystemClock.now(), ADMIN);
    let claim = unique_index_key(&registration).ok_or("no claim")?;
    let client_id = registration.client_id.to_string();
    let claimed = serde_json::to_vec(&serde_json::json!({ "schema": 1, "client_id": client_id }))?;
    let value = Registered::new(registration, record, Revision::default()).to_bytes()?;
    Ok([(ClientRegistration::key(&client_id), value), (claim, claimed)])
}

/// 256 bits that no other number has, base64url.
fn random(number: usize) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(number.to_be_bytes()))
}

/// Adds registrations to the store in a directory that no process uses.
pub(crate) async fn registrations(directory: &Path, count: usize) -> Result<(), Failure> {
    fill(directory, count, |number| Ok(written(number)?.to_vec())).await
}

/// Adds revocations of tokens.
pub(crate) async fn revocations(directory: &Path, count: usize) -> Result<(), Failure> {
    let now = SystemClock.now();
    let record = RevocationRecord::new(now, ADMIN, Some(now.after(Duration::from_hours(1))));
    let value = record.to_bytes().ok_or("no record")?;
    let written = |number| {
        let revoked = random(number).get(..JTI_BYTES).and_then(Revoked::token).ok_or("no jti")?;
        Ok(vec![(revoked.store_key(), value.clone())])
    };
    fill(directory, count, written).await
}

async fn fill(
    directory: &Path,
    count: usize,
    written: impl Fn(usize) -> Result<Vec<(String, Vec<u8>)>, Failure>,
) -> Result<(), Failure> {
    let store = SledStore::open(directory, SledOptions { durability: Box::new(Unsynced), ..SledOptions::default() })?;
    let mut transactions = Vec::new();
    for begin in (0..count).step_by(IN_ONE) {
        let mut transaction = Transaction::default();
        for number in begin..count.min(begin + IN_ONE) {
            for (key, value) in written(number)? {
                transaction = transaction.put(&key, value);
            }
        }
        transactions.push(store.transact(transaction));
        if transactions.len() == UNDER_WAY || begin + IN_ONE >= count {
            futures_util::future::try_join_all(std::mem::take(&mut transactions)).await?;
        }
    }
    Ok(())
}
