//! `grpc.health.v1.Health`: the services serve while `/ready` says so.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use ops_server::Local;
use tokio_util::sync::CancellationToken;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::methods::services;

/// How often `/ready` is asked.
const INTERVAL: Duration = Duration::from_secs(2);

/// Keeps the health of all services as `/ready` says, until stopped: then nothing serves.
pub(crate) async fn watch(reporter: HealthReporter, local: Local, stop: CancellationToken) {
    loop {
        let ready = !stop.is_cancelled() && is_ready(&local).await;
        report(&reporter, ready && !stop.is_cancelled()).await;
        tokio::select! {
            biased;
            () = stop.cancelled() => {
                report(&reporter, false).await;
                return;
            }
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

/// Says how the services are, before the first call.
pub(crate) async fn begin(reporter: &HealthReporter, local: &Local) {
    report(reporter, is_ready(local).await).await;
}

async fn is_ready(local: &Local) -> bool {
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = http::Uri::from_static("/ready");
    let host = HeaderValue::from_static("localhost");
    request.headers_mut().insert(header::HOST, host);
    local.call(request).await.status().is_success()
}

async fn report(reporter: &HealthReporter, ready: bool) {
    let status = match ready {
        true => ServingStatus::Serving,
        false => ServingStatus::NotServing,
    };
    for service in std::iter::once(String::new()).chain(services()) {
        reporter.set_service_status(service, status).await;
    }
}
