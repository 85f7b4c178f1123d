//! Which clients name a protected resource in their audience.

use crate::apply::Document as _;
use crate::apply::Registry;
use crate::authority::registration::ClientMetadata;
use crate::cli::error::CommandError;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::client::connection::Channel;

/// The most pages of clients that are looked through.
const MOST_PAGES: usize = 100;

/// The most clients that are named.
const MOST_NAMED: usize = 3;

/// How many clients name the audience, with the first of them; `None` where none does.
pub(in crate::cli::resource) async fn of(
    registry: &mut Registry<Channel>,
    audience: &str,
) -> Result<Option<String>, CommandError> {
    let (mut first, mut count, mut page_token) = (Vec::new(), 0_usize, String::new());
    for _ in 0..MOST_PAGES {
        let page = ClientMetadata::page(registry, page_token).await;
        let (clients, next) = page.map_err(|status| status::explain(&status, Needs::Clients))?;
        for client in clients.into_iter().filter(|client| client.audience.iter().any(|one| one == audience)) {
            count += 1;
            if first.len() < MOST_NAMED {
                first.push(client.client_id);
            }
        }
        page_token = next;
        if page_token.is_empty() {
            break;
        }
    }
    let is_all = page_token.is_empty();
    if count == 0 && is_all {
        return Ok(None);
    }
    let (least, more) = (if is_all { "" } else { "at least " }, if count > first.len() { ", ..." } else { "" });
    let (clients, have) = if count == 1 { ("client", "has") } else { ("clients", "have") };
    let names = if first.is_empty() { String::new() } else { format!(" ({}{more})", first.join(", ")) };
    Ok(Some(format!(
        "{least}{count} {clients}{names} {have} the audience {audience}: requests to it and tokens for it are denied then"
    )))
}
