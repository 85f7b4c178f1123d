//! The page of metrics, parsed.

use std::collections::BTreeMap;

use axum::http::HeaderValue;
use axum::http::header::ACCEPT;
use tokio::net::TcpStream;

use crate::support::door::within;
use crate::support::http::Http;
use crate::support::http::Reply;
use crate::support::http::get;
use crate::support::server::TestServer;

/// The `accept` header of Prometheus 3.
pub const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
    application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
    text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

/// All series of the page, by name and labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Page(pub BTreeMap<String, f64>);

impl Page {
    /// Parses an `OpenMetrics` page: each series once, after the help and the type of its family, and the end mark.
    pub fn parsed(page: &str) -> Self {
        Self::of(page.strip_suffix("# EOF\n").expect("no mark at the end"))
    }

    /// The same without the end mark, as in the older format.
    pub fn of(lines: &str) -> Self {
        let mut series = BTreeMap::new();
        let mut family = "";
        for line in lines.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let (keyword, rest) = comment.split_once(' ').unwrap();
                let (name, text) = rest.split_once(' ').unwrap();
                match keyword {
                    "HELP" => family = name,
                    "TYPE" => {
                        assert_eq!((name, ["counter", "gauge", "histogram"].contains(&text)), (family, true), "{line}");
                    }
                    _ => panic!("{line}"),
                }
                continue;
            }
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(name.starts_with(family) && !family.is_empty(), "{line}");
            assert_eq!(series.insert(name.to_owned(), value.parse().unwrap()), None, "{line}");
        }
        Self(series)
    }

    /// The integer value of a series; `None` where it is missing.
    pub fn get(&self, series: &str) -> Option<u64> {
        self.0.get(series).map(|value| value.to_string().parse().unwrap())
    }

    /// The number of requests of a method with each outcome: ok, refused, error.
    pub fn requests(&self, method: &str) -> [u64; 3] {
        ["ok", "refused", "error"].map(|outcome| {
            let labels = format!("method=\"{method}\",outcome=\"{outcome}\"");
            self.get(&format!("lanyard_request_duration_seconds_count{{{labels}}}")).unwrap_or_default()
        })
    }

    /// The requests that were counted between an earlier page and this one: method, outcome, count.
    pub fn requests_since(&self, earlier: &Self) -> Vec<String> {
        let grown = self.grown_since(earlier).into_iter();
        let prefix = "lanyard_request_duration_seconds_count{method=\"";
        let grown = grown.filter_map(|(name, count)| Some((name.strip_prefix(prefix)?.to_owned(), count)));
        grown
            .map(|(name, count)| format!("{} {count}", name.replace("\",outcome=\"", " ").replace("\"}", "")))
            .collect()
    }

    /// The series that have grown since an earlier page, and by how much. A series that was missing began at zero.
    pub fn grown_since(&self, earlier: &Self) -> Vec<(String, f64)> {
        let gone: Vec<_> = earlier.0.keys().filter(|name| !self.0.contains_key(*name)).collect();
        assert!(gone.is_empty(), "{gone:?}");
        let grown =
            self.0.iter().map(|(name, now)| (name.clone(), now - earlier.0.get(name).copied().unwrap_or_default()));
        grown.filter(|(_, change)| *change > 0.0).collect()
    }

    /// The names of all series.
    pub fn names(&self) -> Vec<&String> {
        self.0.keys().collect()
    }
}

impl TestServer {
    /// Requests the page with this `accept` header.
    pub async fn metrics(&self, accept: Option<&str>) -> Reply {
        let mut request = get("/metrics");
        if let Some(accept) = accept {
            request.headers_mut().insert(ACCEPT, HeaderValue::from_str(accept).unwrap());
        }
        Http::one(TcpStream::connect(self.addresses.ops).await.unwrap()).await.send(request).await
    }

    /// The present page.
    pub async fn page(&self) -> Page {
        Page::parsed(&self.metrics(Some(PROMETHEUS)).await.body)
    }

    /// Waits for the page to fulfil a condition. What the server does after it has answered is counted later.
    pub async fn page_where(&self, is_so: impl Fn(&Page) -> bool) -> Page {
        within(async {
            loop {
                let page = self.page().await;
                if is_so(&page) {
                    return page;
                }
            }
        })
        .await
    }
}
