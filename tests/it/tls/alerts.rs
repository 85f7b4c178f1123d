//! The TLS alert of a refused handshake reaches the client, whatever the client has sent meanwhile.

use lanyard::proto::GetJwksRequest;
use lanyard::proto::key_service_client::KeyServiceClient;
use rustls::AlertDescription;
use rustls::Error;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::support::ca::self_signed;
use crate::support::door::within;
use crate::support::server::TestServer;
use crate::support::server::connect;

/// A client without a valid certificate, whose side of the handshake is done, and to which the alert has been sent.
async fn refused(server: &TestServer) -> TlsStream<TcpStream> {
    let stranger = self_signed("stranger").issue();
    let stream = connect(server.addresses.mtls, server.tls(&stranger)).await.unwrap();
    within(stream.get_ref().0.peek(&mut [0])).await.unwrap();
    stream
}

// RFC 8446 section 4.4: a client may send before its certificate is verified
#[tokio::test]
async fn a_client_that_still_sends_after_it_is_refused_reads_the_alert() {
    let server = TestServer::start().await;
    for _ in 0..20 {
        let mut stream = refused(&server).await;
        // To a connection that is closed, the first of these would be answered by a reset.
        for _ in 0..4 {
            stream.write_all(&[b'x'; 1024]).await.unwrap();
            stream.flush().await.unwrap();
            tokio::task::yield_now().await;
        }
        let error = within(stream.read(&mut [0; 16])).await.unwrap_err();
        let alert = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        assert_eq!(alert, Some(&Error::AlertReceived(AlertDescription::UnknownCA)), "{error}");
        // The server has closed its side.
        assert_eq!(within(stream.get_ref().0.peek(&mut [0])).await.unwrap(), 0);
    }
    let leaf = server.svid("/checkout");
    assert!(KeyServiceClient::new(server.channel(&leaf)).get_jwks(GetJwksRequest {}).await.is_ok());
}

#[tokio::test]
async fn a_refused_client_that_goes_on_sending_is_cut_off() {
    let server = TestServer::start().await;
    let mut stream = refused(&server).await;
    let sending = async {
        while stream.write_all(&[b'x'; 16 * 1024]).await.is_ok() {
            stream.flush().await.ok();
        }
    };
    within(sending).await;
}
