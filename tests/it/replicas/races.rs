//! Registrations that only one may have, made at all replicas at once.

use lanyard::proto::Client;
use lanyard::proto::CreateClientRequest;
use lanyard::proto::CreateProtectedResourceRequest;
use lanyard::proto::ProtectedResource;
use tokio::task::JoinSet;
use tonic::Code;
use tonic::Status;

use crate::replicas::fleet::COUNT;
use crate::replicas::fleet::Fleet;
use crate::replicas::fleet::Replica;
use crate::support::ca::self_signed;
use crate::support::calls::refusal;
use crate::support::calls::self_signed_client;
use crate::support::check::orders;
use crate::support::door::within;
use crate::support::etcd::Options;
use crate::support::server::TRUST_DOMAIN;
use crate::support::server::spiffe_client;

/// What is registered at each replica.
enum Registration {
    Client(Box<Client>),
    Resource(Box<ProtectedResource>),
}

/// Registrations of which only one can be made, with the reasons by which the others may be refused.
struct Race {
    name: &'static str,
    /// By the number of the round and of the replica.
    registration: fn(usize, usize) -> Registration,
    reasons: &'static [&'static str],
}

const RACES: [Race; 5] = [
    Race {
        name: "the same client",
        registration: |round, _| client(spiffe_client(&format!("spiffe://{TRUST_DOMAIN}/race/{round}"))),
        // Which of the two is found first depends on what the replica knows by then.
        reasons: &["CLIENT_EXISTS", "IDENTITY_TAKEN"],
    },
    Race {
        name: "clients for one pattern",
        registration: |round, replica| {
            client(Client {
                client_id: format!("pattern-{round}-{replica}"),
                spiffe_id: format!("spiffe://{TRUST_DOMAIN}/races/{round}/*"),
                ..spiffe_client("")
            })
        },
        reasons: &["IDENTITY_TAKEN"],
    },
    Race {
        name: "clients for one SPIFFE ID by two methods",
        registration: |round, replica| {
            let id = format!("spiffe://{TRUST_DOMAIN}/methods/{round}");
            let method = if replica == 0 { "spiffe_jwt" } else { "spiffe_x509" };
            client(Client {
                client_id: format!("method-{round}-{replica}"),
                spiffe_id: id,
                token_endpoint_auth_method: method.to_owned(),
                ..spiffe_client("")
            })
        },
        reasons: &["IDENTITY_TAKEN"],
    },
    Race {
        name: "the same client with certificates of different keys",
        registration: |round, replica| {
            let certificate = self_signed(&format!("race-{replica}")).issue();
            client(self_signed_client(&format!("certificate-{round}"), &certificate.pem()))
        },
        reasons: &["CLIENT_EXISTS"],
    },
    Race {
        name: "resources for one authority",
        registration: |round, replica| {
            Registration::Resource(Box::new(ProtectedResource {
                audience: format!("https://race-{round}-{replica}.test"),
                authorities: vec![format!("race-{round}.test")],
                ..orders()
            }))
        },
        reasons: &["AUTHORITY_TAKEN"],
    },
];

fn client(client: Client) -> Registration {
    Registration::Client(Box::new(client))
}

async fn register(replica: Replica, registration: Registration) -> Result<(), Status> {
    match registration {
        Registration::Client(client) => {
            let request = CreateClientRequest { client: Some(*client), ..Default::default() };
            replica.registry().create_client(request).await.map(drop)
        }
        Registration::Resource(resource) => {
            let request = CreateProtectedResourceRequest { resource: Some(*resource), ..Default::default() };
            replica.registry().create_protected_resource(request).await.map(drop)
        }
    }
}

/// One wins, and the others are told, in each round of each race.
async fn one_wins(rounds: usize) {
    let Some(fleet) = Fleet::start(Options::default()).await else { return };
    let replicas: Vec<_> = (0..COUNT).map(|index| fleet.at(index)).collect();
    for Race { name, registration, reasons } in RACES {
        for round in 0..rounds {
            let mut race = JoinSet::new();
            for (number, replica) in replicas.iter().enumerate() {
                race.spawn(register(replica.clone(), registration(round, number)));
            }
            let outcomes = within(race.join_all()).await;
            let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
            assert_eq!(won.len(), 1, "{name}, round {round}: {lost:?}");
            for outcome in lost {
                let (code, reason) = refusal(outcome);
                assert_eq!(code, Code::AlreadyExists, "{name}, round {round}: {reason}");
                assert!(reasons.contains(&reason.as_str()), "{name}, round {round}: {reason}");
            }
        }
        println!("{name}: one of {COUNT} was registered in each of {rounds} rounds");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_registrations_that_only_one_may_have_at_all_replicas_at_once_one_wins() {
    one_wins(20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: 1,000 rounds of each race; .ci/run-long runs it"]
async fn long_of_a_thousand_registrations_that_only_one_may_have_one_wins_each_time() {
    one_wins(1000).await;
}
