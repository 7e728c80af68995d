//! Health and reflection, which are not operations of REST.

use futures_util::{FutureExt as _, future::BoxFuture, stream};
use http::{Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use ops_core::Code;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tonic::{body::Body, codegen::Service};
use tonic_health::server::HealthReporter;

use crate::status::refusal;

type Answer = Box<
    dyn Fn(Request<Incoming>, OwnedSemaphorePermit) -> BoxFuture<'static, Response<Body>>
        + Send
        + Sync,
>;

/// The services by the beginnings of their paths.
pub(crate) struct Beside(Vec<(&'static str, Answer)>);

impl Beside {
    /// Health as the reporter has it, and reflection in both of its versions.
    pub(crate) fn new(reporter: HealthReporter, stop: &CancellationToken) -> Self {
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(ops_proto::DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let valid = "the descriptors were compiled with this program";
        let health = tonic_health::server::HealthService::from_health_reporter(reporter);
        let health = tonic_health::pb::health_server::HealthServer::new(health);
        Self(vec![
            ("/grpc.health.v1.Health/", service(health, stop)),
            (
                "/grpc.reflection.v1.ServerReflection/",
                service(reflection().build_v1().expect(valid), stop),
            ),
            (
                "/grpc.reflection.v1alpha.ServerReflection/",
                service(reflection().build_v1alpha().expect(valid), stop),
            ),
        ])
    }

    /// The service of a request, if the request is not about tasks.
    pub(crate) fn answer(&self, request: &Request<Incoming>) -> Option<&Answer> {
        let path = request.uri().path();
        let found = self.0.iter().find(|(start, _)| path.starts_with(start));
        found.map(|(_, answer)| answer)
    }
}

fn service<S>(service: S, stop: &CancellationToken) -> Answer
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = std::convert::Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    let stop = stop.clone();
    Box::new(move |request, permit| {
        let (mut service, stop) = (service.clone(), stop.clone());
        async move {
            let Ok(response) = service.call(request).await;
            until_stopped(response, permit, stop)
        }
        .boxed()
    })
}

/// A stream of these services has no end of its own: a server that stops ends it.
fn until_stopped(
    response: Response<Body>,
    permit: OwnedSemaphorePermit,
    stop: CancellationToken,
) -> Response<Body> {
    response.map(|body| {
        let state = Some((body, permit, stop));
        let frames = stream::unfold(state, |state| async move {
            let (mut body, permit, stop) = state?;
            let frame = tokio::select! {
                biased;
                frame = body.frame() => frame?,
                () = stop.cancelled() => {
                    let status = refusal(Code::ShuttingDown, "the server is stopping");
                    let mut trailers = http::HeaderMap::new();
                    let written = status.add_header(&mut trailers);
                    let frame = written.map(|()| Frame::trailers(trailers));
                    return Some((frame, None));
                }
            };
            Some((frame, Some((body, permit, stop))))
        });
        Body::new(StreamBody::new(frames))
    })
}
