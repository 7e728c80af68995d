//! Spans for a collector. A build without the feature `otlp` sends none, and says so where a
//! collector is configured.

#[cfg(feature = "otlp")]
mod otlp;

#[cfg(all(feature = "grpc", feature = "otlp"))]
pub(crate) use self::otlp::call_span;
#[cfg(feature = "otlp")]
pub(crate) use self::otlp::{layer, stop};
#[cfg(all(feature = "grpc", not(feature = "otlp")))]
pub(crate) use self::without::call_span;
#[cfg(not(feature = "otlp"))]
pub(crate) use self::without::{layer, stop};
use crate::config::Config;

/// What to say of a configured collector that this build cannot send to.
pub(crate) fn missing(config: &Config) -> Option<String> {
    let source = config.source("telemetry.otlp_endpoint")?;
    (!cfg!(feature = "otlp")).then(|| {
        format!(
            "no spans are sent to `telemetry.otlp_endpoint` (from {source}): this build has no \
             OTLP; build it with `--features full`"
        )
    })
}

#[cfg(not(feature = "otlp"))]
mod without {
    use anyhow::Result;
    use tracing_subscriber::Layer;

    use crate::config::Config;

    /// No layer.
    pub(crate) fn layer<S>(_: &Config) -> Result<Option<Box<dyn Layer<S> + Send + Sync>>> {
        Ok(None)
    }

    /// No span.
    #[cfg(feature = "grpc")]
    pub(crate) fn call_span(_: &str, _: Option<&str>) -> tracing::Span {
        tracing::Span::none()
    }

    /// Nothing is left to send.
    pub(crate) fn stop() {}
}
