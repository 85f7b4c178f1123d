//! Asks the other replicas about a refusal that one of them made, each as the caller that asks: none speaks for another.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use tokio::net::lookup_host;
use tonic::Code;
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::cli::connect::ConnectionArguments;
use crate::cli::error::CommandError;
use crate::cli::status;
use crate::cli::status::Needs;
use crate::proto::ExplainRefusalRequest;
use crate::proto::Refusal;
use crate::proto::explanation_service_client::ExplanationServiceClient;

/// The most addresses that are asked.
const MOST: usize = 64;

/// The port of --server where it names none.
const DEFAULT_PORT: u16 = 443;

/// What one replica says.
enum Said {
    /// It explains the refusal, or says why it does not.
    Answer(Box<Result<Option<Refusal>, Status>>),
    /// It did not refuse it.
    NotMine,
    /// It is not reached.
    Nothing,
}

/// Whether a refusal is another replica's to explain.
pub(super) fn is_of_another(status: &Status) -> bool {
    status.get_details_error_info().is_some_and(|info| info.reason == "OTHER_REPLICA")
}

/// Asks each replica until the one that refused answers. `first` is what the server itself said.
pub(super) async fn ask(
    connection: &ConnectionArguments,
    replicas: &[String],
    reference: &str,
    first: &Status,
) -> Result<Option<Refusal>, CommandError> {
    let addresses = addresses(connection, replicas).await?;
    let answer = first_that_knows(&addresses, async |address| {
        let Ok(channel) = connection.open_at(Some(address)).await else { return Said::Nothing };
        let request = ExplainRefusalRequest { reference: reference.to_owned() };
        match ExplanationServiceClient::new(channel).explain_refusal(request).await {
            Err(status) if is_of_another(&status) => Said::NotMine,
            Err(status) if status.code() == Code::Unavailable => Said::Nothing,
            answer => Said::Answer(Box::new(answer.map(|answer| answer.into_inner().refusal))),
        }
    });
    match answer.await {
        Ok(answer) => answer.map_err(|status| status::explain(&status, Needs::AnyRole)),
        Err(silent) => Err(not_found(first, addresses.len(), silent)),
    }
}

/// The first answer of these addresses; how many of them were not reached, where none has one.
async fn first_that_knows(
    addresses: &BTreeSet<SocketAddr>,
    asked: impl AsyncFn(SocketAddr) -> Said,
) -> Result<Result<Option<Refusal>, Status>, usize> {
    let mut silent = 0;
    for address in addresses {
        match asked(*address).await {
            Said::Answer(answer) => return Ok(*answer),
            Said::NotMine => {}
            Said::Nothing => silent += 1,
        }
    }
    Err(silent)
}

/// The addresses that these names, or the host of the server, stand for.
async fn addresses(
    connection: &ConnectionArguments,
    replicas: &[String],
) -> Result<BTreeSet<SocketAddr>, CommandError> {
    let server = connection.server();
    let port = server.port_u16().unwrap_or(DEFAULT_PORT);
    let own = [server.host().unwrap_or_default().to_owned()];
    let mut found = BTreeSet::new();
    for name in if replicas.is_empty() { &own[..] } else { replicas } {
        let named = with_port(name, port);
        let addresses = lookup_host(&named).await.map_err(|error| {
            CommandError::new(format!("cannot look up {named}: {error}"), "name the other replicas with --replica")
        })?;
        found.extend(addresses.take(MOST));
    }
    Ok(found)
}

/// A host with its port, or with this one.
fn with_port(name: &str, port: u16) -> String {
    let has_port = match name.rsplit_once(':') {
        // A colon within brackets, or before another one, is part of an IPv6 address.
        Some((host, port)) => !port.ends_with(']') && (!host.contains(':') || host.ends_with(']')),
        None => false,
    };
    match name {
        _ if has_port => name.to_owned(),
        _ if name.contains(':') && !name.starts_with('[') => format!("[{name}]:{port}"),
        _ => format!("{name}:{port}"),
    }
}

fn not_found(first: &Status, asked: usize, silent: usize) -> CommandError {
    let info = first.get_details_error_info();
    let replica = info.and_then(|info| info.metadata.get("replica").cloned());
    let who = match replica {
        Some(name) => format!("the replica {name} refused it"),
        None => "a replica refused it that is gone, and with it what it remembered".to_owned(),
    };
    let reached = format!("{asked} asked, {silent} of them not reached");
    CommandError::new(
        format!("{who}, and none that was asked is that one ({reached})"),
        "name the others with --replica, or see the audit trail for it: `lanyard audit search`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_not_named_is_that_of_the_server() {
        let named = ["a.svc", "a.svc:1", "10.0.0.1", "10.0.0.1:1", "::1", "[::1]", "[::1]:1"];
        let expected = ["a.svc:8443", "a.svc:1", "10.0.0.1:8443", "10.0.0.1:1", "[::1]:8443", "[::1]:8443", "[::1]:1"];
        assert_eq!(named.map(|name| with_port(name, 8443)), expected);
    }

    #[tokio::test]
    async fn each_is_asked_until_the_one_that_refused_answers() {
        let addresses: BTreeSet<SocketAddr> = [1, 2, 3, 4].map(|port| SocketAddr::from(([127, 0, 0, 1], port))).into();
        let refusal = |reference: &str| Refusal { reference: reference.to_owned(), ..Refusal::default() };
        let found = first_that_knows(&addresses, async |address| match address.port() {
            1 => Said::Nothing,
            2 => Said::NotMine,
            3 => Said::Answer(Box::new(Ok(Some(refusal("three"))))),
            _ => Said::Answer(Box::new(Ok(Some(refusal("four"))))),
        });
        assert_eq!(found.await.unwrap().unwrap().unwrap().reference, "three");
        // That the right one does not explain it is an answer too.
        let forgotten = first_that_knows(&addresses, async |address| match address.port() {
            1 => Said::Answer(Box::new(Err(Status::not_found("forgotten")))),
            _ => Said::NotMine,
        });
        assert_eq!(forgotten.await.unwrap().unwrap_err().code(), Code::NotFound);
        let nobody = first_that_knows(
            &addresses,
            async |address| {
                if address.port() == 1 { Said::Nothing } else { Said::NotMine }
            },
        );
        assert_eq!(nobody.await.unwrap_err(), 1);
    }

    #[test]
    fn what_no_replica_explains_is_said_with_who_refused_it() {
        let gone = not_found(&Status::failed_precondition(""), 2, 1).to_string();
        assert!(gone.contains("that is gone") && gone.contains("2 asked, 1 of them not reached"), "{gone}");
    }
}
