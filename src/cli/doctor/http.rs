//! One question over HTTP/1.1, and the time that the other side says it is.

use std::io;
use std::time::SystemTime;

use http_body_util::BodyExt as _;
use http_body_util::Empty;
use http_body_util::Limited;
use httpdate::HttpDate;
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::CONNECTION;
use hyper::header::DATE;
use hyper::header::HOST;
use hyper::http::StatusCode;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;

use crate::authority::clock::Timestamp;

/// The most bytes of an answer that are read.
const MAX_BYTES: usize = 1024 * 1024;

/// What was answered.
#[derive(Debug)]
pub(in crate::cli::doctor) struct Answer {
    pub(in crate::cli::doctor) status: StatusCode,
    /// The field `Date`, where it is there and can be read.
    pub(in crate::cli::doctor) date: Option<Timestamp>,
    pub(in crate::cli::doctor) body: String,
}

/// Asks over this stream, and closes it.
pub(in crate::cli::doctor) async fn get<S>(stream: S, host: &str, path: &str) -> io::Result<Answer>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let request = Request::get(path).header(HOST, host).header(CONNECTION, "close").body(Empty::<Bytes>::new());
    let request = request.map_err(io::Error::other)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        let status = response.status();
        let date = response.headers().get(DATE).and_then(|date| date.to_str().ok()).and_then(parse_date);
        let body = Limited::new(response.into_body(), MAX_BYTES).collect().await.map_err(io::Error::other)?;
        Ok(Answer { status, date, body: String::from_utf8_lossy(&body.to_bytes()).into_owned() })
    };
    tokio::pin!(exchange, connection);
    tokio::select! {
        answer = &mut exchange => return answer,
        // Whether it ended well is for the exchange to say, which may have all that it needs.
        ended = &mut connection => drop(ended),
    }
    exchange.await
}

/// Reads an IMF-fixdate, `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 section 5.6.7): the one form that servers send.
fn parse_date(text: &str) -> Option<Timestamp> {
    let date: HttpDate = text.parse().ok()?;
    // The crate reads the obsolete forms too, but prints this one alone.
    if date.to_string() != text {
        return None;
    }
    let since = SystemTime::from(date).duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(Timestamp(since.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_read_in_the_one_form_that_servers_send() {
        assert_eq!(parse_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Timestamp(784_111_777)));
        for other in [
            "",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 Nov 1994 08:49:37 GMT+1",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 31 Foo 1994 08:49:37 GMT",
        ] {
            assert_eq!(parse_date(other), None, "{other}");
        }
    }
}
