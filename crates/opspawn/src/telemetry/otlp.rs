//! Spans of tasks, model calls and tool calls, sent as OTLP over HTTP to a collector.

#[cfg(feature = "grpc")]
mod call;

use std::{sync::OnceLock, time::Duration};

use agentkit::telemetry::TARGET;
use anyhow::{Context as _, Result};
use opentelemetry::{
    KeyValue,
    trace::{TraceContextExt as _, TracerProvider as _},
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{Layer, filter::Targets, registry::LookupSpan};

#[cfg(feature = "grpc")]
pub(crate) use self::call::call_span;
use crate::config::Config;

/// How long the process waits for the collector when it ends.
const TIMEOUT: Duration = Duration::from_secs(5);

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// What sends the spans; none if no collector is configured.
///
/// # Errors
/// If the address of the collector is not one.
pub(crate) fn layer<S>(config: &Config) -> Result<Option<Box<dyn Layer<S> + Send + Sync>>>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let Some(endpoint) = config.optional("telemetry.otlp_endpoint") else {
        return Ok(None);
    };
    let wrong = || {
        format!(
            "setting `telemetry.otlp_endpoint`: `{endpoint}` is not an address like http://127.0.0.1:4318"
        )
    };
    let traces = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
    let url: http::Uri = traces.parse().with_context(wrong)?;
    anyhow::ensure!(url.scheme().is_some(), wrong());
    let client = reqwest::blocking::Client::builder()
        .timeout(TIMEOUT)
        .build()
        .context("the client for telemetry cannot be made")?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(traces)
        .build()
        .with_context(wrong)?;
    let resource = Resource::builder()
        .with_attribute(KeyValue::new("service.name", service_name()))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource)
        .build();
    let tracer = provider.tracer("opspawn");
    agentkit::telemetry::set_traceparent(traceparent);
    // The first one is it: there is one subscriber in a process.
    let _ = PROVIDER.set(provider);
    let targets = Targets::new().with_target(TARGET, LevelFilter::INFO);
    let layer = tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_level(false)
        .with_tracked_inactivity(false);
    Ok(Some(layer.with_filter(targets).boxed()))
}

/// The standard variable wins, so that several servers can be told apart.
fn service_name() -> String {
    std::env::var("OTEL_SERVICE_NAME").unwrap_or_else(|_| "opspawn".to_owned())
}

/// The span that is under way, as `traceparent`.
fn traceparent() -> Option<String> {
    let context = tracing::Span::current().context();
    let span = context.span();
    let named = span.span_context();
    named.is_valid().then(|| {
        let (trace, id, flags) = (
            named.trace_id(),
            named.span_id(),
            named.trace_flags().to_u8(),
        );
        format!("00-{trace}-{id}-{flags:02x}")
    })
}

/// Sends what is left.
pub(crate) fn stop() {
    if let Some(provider) = PROVIDER.get()
        && let Err(error) = provider.shutdown_with_timeout(TIMEOUT)
    {
        tracing::warn!(%error, "the last spans could not be sent");
    }
}
