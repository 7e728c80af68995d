//! Connections whose bytes are counted: a server, or a function on it, may answer a row, a plan or notices of any size, and the
//! driver keeps each message whole.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    task::{self, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};
use tokio_postgres::{Config, config::Host, tls::MakeTlsConnect};

use super::tls::{Handshake, Tls};

/// Bytes that may still be read.
#[derive(Debug, Clone, Default)]
pub(super) struct ByteAllowance(Arc<AtomicI64>);

impl ByteAllowance {
    /// Allows so many bytes from now on.
    pub(super) fn allow(&self, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.0.store(bytes, Ordering::SeqCst);
    }

    /// Whether the server sent more bytes than were allowed; the connection is broken off then.
    pub(super) fn is_over(&self) -> bool {
        self.0.load(Ordering::SeqCst) < 0
    }

    fn take(&self, bytes: usize) -> io::Result<()> {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let before = self.0.fetch_sub(bytes, Ordering::SeqCst);
        match before < bytes && !units::mutant!("agentkit-sql.bytes_are_not_counted") {
            true => Err(io::Error::other(
                "the server answered more bytes than are read",
            )),
            false => Ok(()),
        }
    }
}

/// An endpoint of a URL.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    host: Host,
    port: u16,
    /// The name that a certificate must have; `None` for a socket of this machine.
    pub(super) name: Option<String>,
}

impl Endpoint {
    /// The endpoints of a URL, in the URL's order.
    pub(super) fn all(config: &Config) -> Vec<Self> {
        let (hosts, addresses) = (config.get_hosts(), config.get_hostaddrs());
        let ports = config.get_ports();
        let endpoint = |at: usize| {
            let port = ports.get(at).or_else(|| ports.first());
            let name = match hosts.get(at) {
                Some(Host::Tcp(name)) => Some(name.clone()),
                #[cfg(unix)]
                Some(Host::Unix(_)) => None,
                None => addresses.get(at).map(ToString::to_string),
            };
            let host = match addresses.get(at) {
                Some(address) => Host::Tcp(address.to_string()),
                None => hosts.get(at)?.clone(),
            };
            Some(Self {
                host,
                port: port.copied().unwrap_or(5_432),
                name,
            })
        };
        (0..hosts.len().max(addresses.len()))
            .filter_map(endpoint)
            .collect()
    }

    /// How a connection to the endpoint is encrypted; `None` for a socket of this machine.
    pub(super) fn tls(&self, mut tls: Tls) -> Result<Option<Handshake>, String> {
        let Some(name) = &self.name else {
            return Ok(None);
        };
        let made = MakeTlsConnect::<Counted>::make_tls_connect(&mut tls, name);
        made.map(Some).map_err(|error| error.to_string())
    }

    /// A connection to the endpoint.
    pub(super) async fn dial(&self, allowance: &ByteAllowance) -> io::Result<Counted> {
        let stream: Box<dyn Stream> = match &self.host {
            Host::Tcp(host) => {
                let stream = TcpStream::connect((host.as_str(), self.port)).await?;
                // Only latency is lost without it.
                let _ = stream.set_nodelay(true);
                Box::new(stream)
            }
            #[cfg(unix)]
            Host::Unix(folder) => {
                let path = folder.join(format!(".s.PGSQL.{}", self.port));
                Box::new(UnixStream::connect(path).await?)
            }
        };
        Ok(Counted {
            stream,
            allowance: allowance.clone(),
        })
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection that breaks once more bytes were read than the allowance has.
pub(super) struct Counted {
    stream: Box<dyn Stream>,
    allowance: ByteAllowance,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let read = buf.filled().len().saturating_sub(before);
        Poll::Ready(self.allowance.take(read))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_connection_breaks_once_more_is_read_than_is_allowed() {
        let (mut far, near) = tokio::io::duplex(1024);
        let allowance = ByteAllowance::default();
        allowance.allow(10);
        let mut counted = Counted {
            stream: Box::new(near),
            allowance: allowance.clone(),
        };
        far.write_all(&[7; 10]).await.unwrap();
        let mut read = [0; 10];
        counted.read_exact(&mut read).await.unwrap();
        assert!(!allowance.is_over());
        far.write_all(&[7]).await.unwrap();
        assert!(counted.read(&mut read).await.is_err());
        assert!(allowance.is_over());
    }

    #[test]
    fn the_endpoints_of_a_url_have_their_ports() {
        let endpoints = |url: &str| -> Vec<(u16, Option<String>)> {
            let all = Endpoint::all(&url.parse().unwrap());
            all.into_iter().map(|one| (one.port, one.name)).collect()
        };
        let named = |name: &str| Some(name.to_owned());
        assert_eq!(endpoints("postgres://u@h/d"), [(5_432, named("h"))]);
        assert_eq!(
            endpoints("postgres://u@a:1,b:2/d"),
            [(1, named("a")), (2, named("b"))]
        );
        assert_eq!(endpoints("postgres://u@%2Frun%2Fpg:7/d"), [(7, None)]);
        assert_eq!(
            endpoints("postgres://u@h:7/d?hostaddr=127.0.0.1"),
            [(7, named("h"))]
        );
    }
}
