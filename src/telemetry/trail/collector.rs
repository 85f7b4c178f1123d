//! A collector of OTLP logs as a destination. The body of each log record is the line itself, so that what a collector kept
//! can be verified.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::logs::v1::ResourceLogs;
use opentelemetry_proto::tonic::logs::v1::ScopeLogs;
use opentelemetry_proto::tonic::logs::v1::SeverityNumber;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tonic::Code;
use tonic::transport::Channel;

use crate::authority::observe::Severity;
use crate::telemetry::export_failures::ExportFailures;
use crate::telemetry::metrics;
use crate::telemetry::otlp;
use crate::telemetry::otlp::OtlpError;
use crate::telemetry::trail::destination::Deliver;
use crate::telemetry::trail::destination::Delivered;
use crate::telemetry::trail::destination::NotDelivered;
use crate::telemetry::trail::lines::About;
use crate::telemetry::trail::lines::Lines;

/// The timeout of one batch.
const LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Collector {
    client: LogsServiceClient<Channel>,
    runtime: Runtime,
    failures: Arc<ExportFailures>,
}

impl Collector {
    pub(super) fn open(config: &otlp::Config, failures: Arc<ExportFailures>) -> Result<Self, OtlpError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let client = LogsServiceClient::new(otlp::channel(config)?);
        drop(entered);
        Ok(Self { client, runtime, failures })
    }
}

impl Deliver for Collector {
    /// A batch that was sent in vain is sent again where the collector may take it then: it has some records twice if it took
    /// them and its answer was lost.
    fn deliver(&mut self, batch: &[Arc<Lines>]) -> Result<(), NotDelivered> {
        let mut request = tonic::Request::new(request(batch));
        *request.metadata_mut() = otlp::headers().clone();
        let sending = self.client.export(request);
        let answer = self.runtime.block_on(async { timeout(LIMIT, sending).await });
        let outcome = match answer {
            Ok(Ok(answer)) => {
                let rejected = answer.into_inner().partial_success.map_or(0, |partial| partial.rejected_log_records);
                match u64::try_from(rejected) {
                    Ok(0) | Err(_) => Ok(()),
                    // It does not say which.
                    Ok(rejected) => {
                        let error = format!("the collector rejected {rejected} records");
                        Err(NotDelivered::Ever(error, Delivered::AllBut(rejected)))
                    }
                }
            }
            // With a source it is of the connection, and not the collector's answer.
            Ok(Err(status)) if is_final(status.code()) && status.source().is_none() => {
                Err(NotDelivered::Ever(status.code().to_string(), Delivered::NOTHING))
            }
            Ok(Err(status)) => Err(NotDelivered::Yet(status.code().to_string())),
            Err(_) => Err(NotDelivered::Yet("the collector does not answer in time".to_owned())),
        };
        if outcome.is_err() {
            self.failures.lost_logs();
        }
        outcome
    }
}

/// Whether the same batch would be refused again. (OTLP 1.x, "Failures", and what a proxy or an older collector answers.)
fn is_final(code: Code) -> bool {
    match code {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::Unimplemented
        | Code::Internal => true,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => false,
    }
}

fn request(batch: &[Arc<Lines>]) -> ExportLogsServiceRequest {
    let scope = InstrumentationScope {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let of_lines = |lines: &Arc<Lines>| -> Vec<_> {
        lines.each().map(|(line, text)| record(&lines.chain, &line.about, text)).collect()
    };
    let log_records = batch.iter().flat_map(of_lines).collect();
    let scope_logs = vec![ScopeLogs { scope: Some(scope), log_records, ..ScopeLogs::default() }];
    let resource = Some(metrics::resource());
    ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { resource, scope_logs, ..ResourceLogs::default() }] }
}

fn record(chain: &str, line: &About, text: &[u8]) -> LogRecord {
    let About { sequence, time, event, severity, trace } = line;
    let time = time.0.saturating_mul(1_000_000_000);
    let (number, name) = match severity {
        Severity::Debug => (SeverityNumber::Debug, "DEBUG"),
        Severity::Info => (SeverityNumber::Info, "INFO"),
        Severity::Warn => (SeverityNumber::Warn, "WARN"),
    };
    let number_of = i64::try_from(*sequence).unwrap_or(i64::MAX);
    let attributes = [
        ("lanyard.audit.chain", Value::StringValue(chain.to_owned())),
        ("lanyard.audit.sequence", Value::IntValue(number_of)),
        ("lanyard.audit.event", Value::StringValue((*event).to_owned())),
    ];
    LogRecord {
        time_unix_nano: time,
        observed_time_unix_nano: time,
        severity_number: number.into(),
        severity_text: name.to_owned(),
        body: Some(value(Value::StringValue(String::from_utf8_lossy(text).trim_end().to_owned()))),
        attributes: attributes
            .map(|(key, found)| KeyValue { key: key.to_owned(), value: Some(value(found)), ..KeyValue::default() })
            .into(),
        trace_id: trace.map(|trace| trace.to_bytes().to_vec()).unwrap_or_default(),
        ..LogRecord::default()
    }
}

fn value(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}
