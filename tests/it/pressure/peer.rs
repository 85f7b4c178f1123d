//! Peers that send what no client library sends, and what they see of the server.

use std::net::SocketAddr;
use std::time::Duration;

use lanyard::proto::Decision;
use lanyard::proto::GetJwksRequest;
use lanyard::proto::ListClientsRequest;
use lanyard::proto::ValidateBindingRequest;
use lanyard::proto::binding_service_client::BindingServiceClient;
use lanyard::proto::key_service_client::KeyServiceClient;
use lanyard::proto::registry_service_client::RegistryServiceClient;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tonic::transport::Channel;

use crate::support::door::within;
use crate::support::frames::Frames;
use crate::support::frames::GOAWAY;
use crate::support::frames::PING;
use crate::support::server::ORDERS;
use crate::support::server::TestServer;
use crate::support::wire::http1;

pub const GET_JWKS: &str = "/lanyard.v1.KeyService/GetJwks";
pub const VALIDATE_BINDINGS: &str = "/lanyard.v1.BindingService/ValidateBindings";
pub const VALIDATE_BINDING: &str = "/lanyard.v1.BindingService/ValidateBinding";

/// `ENHANCE_YOUR_CALM` (RFC 9113 section 7).
pub const CALM: u32 = 11;

/// Longer than all time limits of a connection together.
const TOO_LONG: Duration = Duration::from_mins(2);

/// The output of a future that completes when a connection has reached a time limit.
pub async fn at_its_limit<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(TOO_LONG, future).await.expect("it has no limit")
}

/// What came of a flood.
#[derive(Debug, Default)]
pub struct Seen {
    /// The code of the last GOAWAY.
    pub goaway: Option<u32>,
    /// How many frames came of each kind, by its number.
    pub frames: [usize; 16],
}

/// Sends bytes again and again, and reads meanwhile, until the server ends the connection. Panics where it never does.
pub async fn flood<S: AsyncRead + AsyncWrite + Unpin>(frames: Frames<S>, first: &[u8], again: &[u8]) -> Seen {
    let (read, mut write) = tokio::io::split(frames.0);
    let mut reading = Frames(tokio::io::join(read, tokio::io::sink()));
    let sending = async {
        let again = again.repeat(100);
        let mut sent = write.write_all(first).await;
        while sent.is_ok() {
            sent = write.write_all(&again).await;
        }
    };
    let watching = async {
        let mut seen = Seen::default();
        while let Some(frame) = reading.next().await {
            seen.frames[usize::from(frame.kind.min(15))] += 1;
            if frame.kind == GOAWAY {
                seen.goaway = Some(u32::from_be_bytes(frame.payload[4..8].try_into().unwrap()));
            }
        }
        seen
    };
    within(async { tokio::join!(watching, sending).0 }).await
}

/// Checks that an honest proxy, workload, admin and probe are served, over connections that there were before.
pub struct Honest {
    proxy: BindingServiceClient<Channel>,
    workload: KeyServiceClient<Channel>,
    admin: RegistryServiceClient<Channel>,
    ops: SocketAddr,
}

impl Honest {
    pub async fn of(server: &TestServer) -> Self {
        let mut honest = Self {
            proxy: server.bindings(&server.svid("/proxy")),
            workload: KeyServiceClient::new(server.channel(&server.svid("/checkout"))),
            admin: server.registry(&server.svid("/admin")),
            ops: server.addresses.ops,
        };
        honest.are_served("nothing").await;
        honest
    }

    pub async fn are_served(&mut self, during: &str) {
        let question = ValidateBindingRequest {
            access_token: "a.b.c".to_owned(),
            audience: ORDERS.to_owned(),
            ..ValidateBindingRequest::default()
        };
        let decision = within(self.proxy.validate_binding(question)).await.unwrap_or_else(|e| panic!("{during}: {e}"));
        assert_eq!(decision.into_inner().decision(), Decision::Deny, "{during}");
        within(self.workload.get_jwks(GetJwksRequest {})).await.unwrap_or_else(|error| panic!("{during}: {error}"));
        let listed = within(self.admin.list_clients(ListClientsRequest::default())).await;
        assert!(listed.is_ok(), "{during}: {listed:?}");
        let probe = TcpStream::connect(self.ops).await.unwrap();
        assert_eq!(within(http1(probe, "GET /livez")).await.status, 200, "{during}");
    }
}

/// Waits until the server has read all that was sent before.
pub async fn settled<S: AsyncRead + AsyncWrite + Unpin>(frames: &mut Frames<S>) {
    frames.send(PING, 0, 0, b"settled!").await.unwrap();
    within(async { while frames.next_of(PING).await.unwrap().payload != b"settled!" {} }).await;
}
