//! One request on one connection to checked addresses.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use agentkit::event::Failure;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::OnceCell,
    task::JoinSet,
    time::{timeout, timeout_at},
};
use tokio_rustls::TlsConnector;
use url::Host;

use super::{
    Outgoing, SendError,
    body::Body,
    target::{Target, Transport},
};

/// For each address, and for the handshake of TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The most bytes that the head of an answer may have.
const MAX_HEAD: usize = 64 * 1024;
/// The most headers of an answer.
const MAX_HEADERS: usize = 256;

/// Connects, sends and reads.
pub(super) struct Connector {
    given: Option<Arc<ClientConfig>>,
    /// Made when it is first needed: reading the system's certificates takes a while.
    system: OnceCell<Arc<ClientConfig>>,
}

/// A connection that bytes go over, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Connector {
    pub(super) fn new(tls: Option<Arc<ClientConfig>>) -> Self {
        Self {
            given: tls,
            system: OnceCell::new(),
        }
    }

    pub(super) async fn send(
        &self,
        target: &Target,
        outgoing: &Outgoing,
    ) -> Result<(StatusCode, HeaderMap, Body), SendError> {
        let stream = self.connect(target).await.map_err(SendError::Before)?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .max_headers(MAX_HEADERS)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| SendError::Before(broken(target, &error)))?;
        // Aborted when this call is over, or is given up.
        let mut driver = JoinSet::new();
        driver.spawn(connection);

        let request = request(target, outgoing).map_err(SendError::Before)?;
        // A server that never answers is given up before the call's own time is over, which would leave open whether
        // the request was sent.
        let answer = timeout_at(outgoing.until, sender.send_request(request))
            .await
            .map_err(|_| SendError::After(silent(target)))?
            .map_err(|error| SendError::After(broken(target, &error)))?;
        let (head, incoming) = answer.into_parts();
        let body = Body::read(incoming, outgoing.max_bytes, outgoing.until).await;
        Ok((head.status, head.headers, body))
    }

    async fn connect(&self, target: &Target) -> Result<Box<dyn Stream>, Failure> {
        let stream = dial(&target.addresses)
            .await
            .map_err(|error| unreachable(target, &error))?;
        match target.transport {
            Transport::Plain => Ok(Box::new(stream)),
            Transport::Tls => {
                let connector = TlsConnector::from(self.tls().await?);
                let name = server_name(&target.host)?;
                let handshake = connector.connect(name, stream);
                match timeout(CONNECT_TIMEOUT, handshake).await {
                    Ok(Ok(stream)) => Ok(Box::new(stream)),
                    Ok(Err(error)) => Err(Failure::last(
                        "tls_failed",
                        format!("no secure connection to `{}`: {error}", target.authority),
                    )),
                    Err(_) => Err(unreachable(target, &io::ErrorKind::TimedOut.into())),
                }
            }
        }
    }

    async fn tls(&self) -> Result<Arc<ClientConfig>, Failure> {
        match &self.given {
            Some(given) => Ok(Arc::clone(given)),
            None => self.system.get_or_try_init(system_tls).await.cloned(),
        }
    }
}

/// A configuration that trusts the certificates of the system.
async fn system_tls() -> Result<Arc<ClientConfig>, Failure> {
    let made = tokio::task::spawn_blocking(|| {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        Ok::<_, rustls::Error>(builder.with_platform_verifier()?.with_no_client_auth())
    });
    let failed = |why: String| {
        let message = format!(
            "https cannot be used: {why}; are CA certificates installed (ca-certificates)?"
        );
        Failure::last("tls_failed", message)
    };
    match made.await {
        Ok(Ok(config)) => Ok(Arc::new(config)),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// A connection to the first of these addresses that answers.
pub(super) async fn dial(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::ErrorKind::NotFound.into();
    for address in addresses {
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Only latency is lost without it.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

fn server_name(host: &Host<String>) -> Result<ServerName<'static>, Failure> {
    match host {
        Host::Ipv4(ip) => Ok(ServerName::from(IpAddr::V4(*ip))),
        Host::Ipv6(ip) => Ok(ServerName::from(IpAddr::V6(*ip))),
        Host::Domain(name) => ServerName::try_from(name.clone()).map_err(|_| {
            let message = format!("no certificate can name the host `{name}`");
            Failure::last("tls_failed", message)
        }),
    }
}

fn request(target: &Target, outgoing: &Outgoing) -> Result<Request<Full<bytes::Bytes>>, Failure> {
    let mut request = Request::builder()
        .method(outgoing.method.clone())
        .uri(&target.path)
        .header(header::HOST, &target.authority)
        .header(header::CONNECTION, "close")
        .body(Full::new(outgoing.body.clone()))
        .map_err(|error| {
            Failure::last("invalid_url", format!("the URL cannot be sent: {error}"))
        })?;
    request.headers_mut().extend(outgoing.headers.clone());
    Ok(request)
}

fn unreachable(target: &Target, error: &io::Error) -> Failure {
    let message = format!("`{}` cannot be reached: {error}", target.authority);
    Failure::passing("connection_failed", message)
}

fn silent(target: &Target) -> Failure {
    let message = format!("`{}` gave no answer in time", target.authority);
    Failure::passing("tool_timeout", message)
}

/// What hyper says of a request that got no answer, with the cause, as it alone tells what happened.
fn broken(target: &Target, error: &hyper::Error) -> Failure {
    if error.is_parse_too_large() {
        let message = format!(
            "the head of the answer of `{}` has more than {MAX_HEADERS} headers or {MAX_HEAD} \
             bytes, and is not read",
            target.authority
        );
        return Failure::last("head_too_large", message);
    }
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    let message = format!(
        "`{}` gave no answer: {error}{}",
        target.authority,
        cause.unwrap_or_default()
    );
    Failure::passing("connection_failed", message)
}
