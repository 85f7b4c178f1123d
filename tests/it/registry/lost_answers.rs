//! Documents that are applied where an answer is lost: what was written is known by the record, and undone as it was.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::task::Context;
use std::task::Poll;

use axum::http::Request;
use axum::http::Response;
use lanyard::apply::Conditions;
use lanyard::apply::Journal;
use lanyard::apply::Outcome;
use lanyard::apply::Registry;
use lanyard::apply::undo;
use lanyard::apply::write;
use lanyard::authority::registration::ClientMetadata;
use lanyard::authority::resources::ResourceMetadata;
use tonic::Code;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::Channel;
use tower::Service;

use crate::support::server::ORDERS;
use crate::support::server::TestServer;
use crate::support::server::channel;

/// A channel that loses the answers of some calls.
#[derive(Clone)]
struct Lossy {
    channel: Channel,
    /// The methods whose next answers are lost.
    lost: Arc<Mutex<Vec<&'static str>>>,
}

impl Service<Request<Body>> for Lossy {
    type Response = Response<Body>;
    type Error = tonic::transport::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let is_lost = {
            let mut lost = self.lost.lock().unwrap();
            let place = lost.iter().position(|method| request.uri().path().ends_with(method));
            place.map(|place| lost.remove(place)).is_some()
        };
        let answer = self.channel.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            Ok(if is_lost { Status::unavailable("the answer was lost").into_http() } else { answer })
        })
    }
}

struct Losing {
    server: TestServer,
    registry: Registry<Lossy>,
    lost: Arc<Mutex<Vec<&'static str>>>,
}

impl Losing {
    async fn start() -> Self {
        let server = TestServer::start().await;
        let admin = server.tls(&server.svid("/admin"));
        let lost = Arc::<Mutex<Vec<&'static str>>>::default();
        let channel = channel(server.addresses.mtls, admin);
        let registry = Registry::new(Lossy { channel, lost: Arc::clone(&lost) });
        Self { server, registry, lost }
    }

    fn lose(&self, methods: &[&'static str]) {
        self.lost.lock().unwrap().extend(methods);
    }

    fn owner(&self) -> Option<String> {
        let client = self.server.server.authority().client("one").ok()?;
        client.registration.metadata().owner
    }
}

fn client(owner: &str) -> ClientMetadata {
    ClientMetadata {
        client_id: "one".to_owned(),
        token_endpoint_auth_method: "spiffe_x509".to_owned(),
        spiffe_id: Some("spiffe://prod.example/one".to_owned()),
        audience: vec![ORDERS.to_owned()],
        owner: Some(owner.to_owned()),
        ..ClientMetadata::default()
    }
}

#[tokio::test]
async fn a_change_whose_answer_is_lost_is_in_the_journal_and_undone() {
    let mut losing = Losing::start().await;
    for (owner, method) in [("before", "/CreateClient"), ("after", "/UpdateClient")] {
        let before = losing.owner();
        losing.lose(&[method]);
        let mut journal = Journal::default();
        let written = write(&mut losing.registry, &[client(owner)], ("", &Conditions::default()), &mut journal).await;
        assert!(matches!(written[0].outcome, Outcome::Created | Outcome::Updated), "{written:?}");
        assert_eq!(losing.owner().as_deref(), Some(owner));
        assert_eq!(undo(&mut losing.registry, journal).await, [""; 0]);
        assert_eq!(losing.owner(), before);
        write(&mut losing.registry, &[client(owner)], ("", &Conditions::default()), &mut Journal::default()).await;
    }
}

#[tokio::test]
async fn where_the_record_cannot_be_read_either_its_name_is_kept() {
    let mut losing = Losing::start().await;
    write(&mut losing.registry, &[client("before")], ("", &Conditions::default()), &mut Journal::default()).await;
    // The first read is answered, and that after the lost answer is not.
    losing.lose(&["/UpdateClient"]);
    let mut journal = Journal::default();
    let (after, lost) = ([client("after")], Arc::clone(&losing.lost));
    let losing_reads = async {
        while !lost.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        lost.lock().unwrap().push("/GetClient");
    };
    let conditions = Conditions::default();
    let (written, ()) =
        tokio::join!(write(&mut losing.registry, &after, ("", &conditions), &mut journal), losing_reads);
    assert!(matches!(&written[0].outcome, Outcome::Refused(status) if status.code() == Code::Unavailable));
    assert_eq!(undo(&mut losing.registry, journal).await, ["one"]);
}

/// What was there before the document must never be taken for what it made.
#[tokio::test]
async fn a_record_that_could_not_be_read_before_is_left_as_it_was() {
    let mut losing = Losing::start().await;
    write(&mut losing.registry, &[client("present")], ("", &Conditions::default()), &mut Journal::default()).await;
    losing.lose(&["/GetClient"]);
    let mut journal = Journal::default();
    let written = write(&mut losing.registry, &[client("present")], ("", &Conditions::default()), &mut journal).await;
    assert!(matches!(&written[0].outcome, Outcome::Refused(status) if status.code() == Code::Unavailable));
    assert_eq!(undo(&mut losing.registry, journal).await, [""; 0]);
    assert_eq!(losing.owner().as_deref(), Some("present"));
}

#[tokio::test]
async fn the_mark_of_a_deleted_resource_is_there_again_after_a_lost_creation_is_undone() {
    let mut losing = Losing::start().await;
    let resource = ResourceMetadata { audience: "urn:one".to_owned(), ..ResourceMetadata::default() };
    let resources = [resource];
    write(&mut losing.registry, &resources, ("", &Conditions::default()), &mut Journal::default()).await;
    let admin = losing.server.svid("/admin");
    let deletion =
        lanyard::proto::DeleteProtectedResourceRequest { audience: "urn:one".to_owned(), ..Default::default() };
    losing.server.registry(&admin).delete_protected_resource(deletion).await.unwrap();
    losing.lose(&["/CreateProtectedResource"]);
    let mut journal = Journal::default();
    write(&mut losing.registry, &resources, ("", &Conditions::default()), &mut journal).await;
    assert!(losing.server.server.authority().resource("urn:one").is_ok());
    assert_eq!(undo(&mut losing.registry, journal).await, [""; 0]);
    let missing = losing.server.server.authority().resource("urn:one").unwrap_err();
    assert_eq!(missing, lanyard::authority::records::RegistryError::Deleted);
}
