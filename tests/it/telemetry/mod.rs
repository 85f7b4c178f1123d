//! Metrics, traces, the log, alerts, and that no secret is in them.

mod alerts;
mod audit;
mod config;
mod counts;
mod dashboard;
mod log_level;
mod metrics;
mod metrics_bounds;
mod metrics_otlp;
mod metrics_page;
mod metrics_server;
mod secrets;
mod trace_envoy;
mod trace_export;
mod trace_log;
mod trace_onward;
mod trail;
