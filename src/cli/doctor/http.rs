//! One GET over HTTP/1.1, and the time in the response.

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

/// The size limit of a response in bytes.
const MAX_BYTES: usize = 1024 * 1024;

/// The response.
#[derive(Debug)]
pub(in crate::cli::doctor) struct Answer {
    pub(in crate::cli::doctor) status: StatusCode,
    /// The field `Date`, if it is present and valid.
    pub(in crate::cli::doctor) date: Option<Timestamp>,
    pub(in crate::cli::doctor) body: String,
}

/// Sends a GET over this stream, and closes it.
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
        // The result is the exchange's to report: it may have the whole response already.
        ended = &mut connection => drop(ended),
    }
    exchange.await
}

/// Parses an IMF-fixdate, `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 section 5.6.7): the one form that servers send.
pub(in crate::cli::doctor) fn parse_date(text: &str) -> Option<Timestamp> {
    let date: HttpDate = text.parse().ok()?;
    // The crate accepts the obsolete forms too, but prints only this one.
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
