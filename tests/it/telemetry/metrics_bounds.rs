//! Whatever callers send, the page has the same series.

use axum::body::Body;
use axum::http::Method;
use lanyard::proto::IntrospectTokenRequest;
use lanyard::proto::IssueTokenRequest;
use lanyard::proto::ValidateBindingRequest;
use tokio::net::TcpStream;

use crate::support::Xorshift;
use crate::support::ca::TestCa;
use crate::support::calls::use_of;
use crate::support::check::Asked;
use crate::support::door::knock;
use crate::support::http::Http;
use crate::support::http::raw;
use crate::support::leaf::Leaf;
use crate::support::server::TestServer;
use crate::support::server::certificate_of;
use crate::support::server::connect;

/// A word of letters, which may look like a path, a method or a name.
fn word(random: &mut Xorshift) -> String {
    let letters = b"abcdefghijklmnopqrstuvwxyzABCDEF0123456789._-";
    (0..=random.below(20)).map(|_| char::from(*random.pick(letters))).collect()
}

/// A caller's connections.
struct Caller<'a> {
    server: &'a TestServer,
    leaf: Leaf,
    mtls: Http,
    public: Http,
    ops: Http,
    token: String,
}

impl Caller<'_> {
    /// One round of everything, with words where callers may put what they like.
    async fn everything(&mut self, random: &mut Xorshift) {
        let mut word = || word(random);
        let path = format!("/{}/{}", word(), word());
        for known in ["/oauth2/token/", "/lanyard.v1.TokenService/", "/.well-known/oauth-authorization-server/"] {
            self.mtls.send(raw(Method::GET, &format!("{known}{}", word()), "text/plain", Body::empty())).await;
        }
        self.mtls.send(raw(Method::POST, &path, "application/grpc", Body::empty())).await;
        let method = Method::from_bytes(word().replace('.', "").as_bytes()).unwrap();
        self.mtls.send(raw(method, &path, &word(), Body::empty())).await;
        self.public.send(raw(Method::GET, &path, "text/plain", Body::empty())).await;
        self.ops.send(raw(Method::GET, &path, "text/plain", Body::empty())).await;
        let Self { server, leaf, token, .. } = self;
        let question = ValidateBindingRequest { audience: word(), scope: word(), ..use_of(token) };
        drop(server.ask(&server.svid("/proxy"), question).await);
        drop(server.validate(&format!("{}.{}.{}", word(), word(), word()), certificate_of(leaf)).await);
        let issue = IssueTokenRequest { client_id: word(), scope: word(), ..IssueTokenRequest::default() };
        drop(server.issue(leaf, issue).await);
        let request = IntrospectTokenRequest { token: word(), ..IntrospectTokenRequest::default() };
        drop(server.tokens(leaf).introspect_token(request).await);
        server.check(Asked::with(token, leaf).resource(&format!("https://{}", word())).to("GET", &path)).await;
    }
}

#[tokio::test]
async fn a_thousand_random_requests_add_no_series() {
    let server = TestServer::start().await;
    let leaf = server.workload("/checkout").await;
    let token = server.token(&leaf).await;
    let public = server.tls_builder().with_no_client_auth();
    let mut caller = Caller {
        mtls: server.http(&leaf).await,
        public: Http::one(connect(server.addresses.public, public).await.unwrap()).await,
        ops: Http::one(TcpStream::connect(server.addresses.ops).await.unwrap()).await,
        server: &server,
        leaf,
        token,
    };
    let mut random = Xorshift::new(20_270_115);
    caller.everything(&mut random).await;
    let before = server.page().await;
    assert!(before.names().len() < 2000, "{}", before.names().len());
    for _ in 0..84 {
        caller.everything(&mut random).await;
    }
    for _ in 0..10 {
        let trust_domain = format!("{}.example", word(&mut random).to_lowercase().replace(['_', '.', '-'], "x"));
        let stranger = TestCa::new(&trust_domain).svid(&format!("spiffe://{trust_domain}/checkout")).issue();
        assert!(!knock(server.addresses.mtls, server.tls(&stranger)).await.is_jwks());
    }
    let after = server.page().await;
    assert_eq!(after.names(), before.names());
    let others = after.requests("other").iter().sum::<u64>() - before.requests("other").iter().sum::<u64>();
    assert!(others >= 84 * 4, "{others}");
}
