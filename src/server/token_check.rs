//! Asks the token that holds signing keys whether it is there, so that its absence shows without a request, and it is found
//! again without one.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::authority::Authority;
use crate::authority::keys::Hsm as _;
use crate::server::supervised;
use crate::signer::pkcs11::Pkcs11;

/// How often the token is asked.
const INTERVAL: Duration = Duration::from_secs(5);

/// Asks for as long as the server runs, if there is a token.
pub(super) fn start(tasks: &mut JoinSet<()>, authority: &Arc<Authority>, token: Option<&Pkcs11>) {
    let Some(token) = token.cloned() else { return };
    supervised::spawn(tasks, authority, "token", move || ask(token.clone()));
}

async fn ask(token: Pkcs11) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        if let Err(error) = token.check().await {
            tracing::debug!(%error, "the PKCS#11 token was asked");
        }
    }
}
