//! The listeners of a process.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context as _, Result};
use ops_core::stats::Metric;
use ops_server::{Local, Part};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::Role;
use crate::config::Config;
#[cfg(not(feature = "grpc"))]
use crate::exit::{self, Exit};

/// Listens on an address.
pub(super) async fn bind(listen: SocketAddr, role: Role) -> Result<(TcpListener, SocketAddr)> {
    let flag = match role {
        Role::Worker => "--health-listen",
        Role::Dev | Role::ServeAlone | Role::Serve | Role::Work | Role::Answer => "--listen",
    };
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("cannot listen on {listen}; is it in use? Try {flag} 127.0.0.1:0")
    })?;
    let address = listener.local_addr();
    Ok((listener, address.context("the listener has no address")?))
}

/// Where gRPC is to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GrpcListen {
    /// The address.
    pub(crate) address: SocketAddr,
    /// Whether the address was chosen. A default that is taken keeps no server from its start.
    pub(crate) chosen: bool,
}

/// The gRPC surface of a process, before its calls are served.
#[derive(Default)]
pub(super) struct Grpc {
    listener: Option<TcpListener>,
    /// The address that is listened on.
    pub(super) address: Option<SocketAddr>,
    /// Why nothing is listened on, though something was to be.
    pub(super) note: Option<String>,
}

impl Grpc {
    /// Listens, if gRPC is wanted and in this build.
    pub(super) async fn bind(listen: Option<GrpcListen>) -> Result<Self> {
        let Some(GrpcListen { address, chosen }) = listen else {
            return Ok(Self::default());
        };
        if !available(chosen)? {
            return Ok(Self::default());
        }
        match TcpListener::bind(address).await {
            Ok(listener) => {
                let address = listener.local_addr();
                Ok(Self {
                    address: Some(address.context("the listener has no address")?),
                    listener: Some(listener),
                    note: None,
                })
            }
            Err(error) if chosen => Err(error).with_context(|| {
                format!("cannot listen on {address}; is it in use? Try --grpc-listen 127.0.0.1:0")
            }),
            Err(error) => Ok(Self {
                note: Some(format!(
                    "there is no gRPC, as {address} cannot be used ({error}); choose another address with --grpc-listen"
                )),
                ..Self::default()
            }),
        }
    }

    /// The surface as a part of the server.
    pub(super) fn part(&self) -> Option<Arc<dyn Part>> {
        let state = match (self.address, &self.note) {
            (Some(address), _) => format!("listens on {address}"),
            (None, Some(note)) => note.clone(),
            (None, None) => return None,
        };
        Some(Arc::new(GrpcPart(state)))
    }

    /// Serves calls until stopped.
    #[cfg(feature = "grpc")]
    pub(super) fn serve(
        self,
        local: Option<Local>,
        config: &Config,
        stop: CancellationToken,
    ) -> Option<JoinHandle<()>> {
        let (listener, local) = (self.listener?, local?);
        let defaults = ops_grpc::Settings::default();
        let most = config.number("grpc_max_message_bytes");
        let most = most.and_then(|bytes| usize::try_from(bytes).ok());
        let settings = ops_grpc::Settings {
            // REST needs file descriptors as well.
            max_connections: defaults
                .max_connections
                .min(crate::system::connections() / 4)
                .max(1),
            max_message_bytes: most.unwrap_or(defaults.max_message_bytes),
            span: crate::telemetry::call_span,
            ..defaults
        };
        Some(tokio::spawn(async move {
            if let Err(error) = ops_grpc::serve(listener, local, settings, stop).await {
                tracing::error!(error, "gRPC is not served");
            }
        }))
    }

    /// Serves nothing: this build has no gRPC.
    #[cfg(not(feature = "grpc"))]
    pub(super) fn serve(
        self,
        _: Option<Local>,
        _: &Config,
        _: CancellationToken,
    ) -> Option<JoinHandle<()>> {
        drop(self.listener);
        None
    }
}

#[cfg(feature = "grpc")]
fn available(_chosen: bool) -> Result<bool> {
    Ok(true)
}

#[cfg(not(feature = "grpc"))]
fn available(chosen: bool) -> Result<bool> {
    match chosen {
        false => Ok(false),
        true => Err(exit::error(
            Exit::Usage,
            "the setting `grpc_listen` (--grpc-listen, OPSPAWN_GRPC_LISTEN) asks for gRPC, but this binary was built \
             without gRPC; build it with `--features grpc`, or with `full`, or leave the setting out",
        )),
    }
}

/// gRPC in `/ready`.
struct GrpcPart(String);

impl Part for GrpcPart {
    fn name(&self) -> &'static str {
        "grpc"
    }

    fn state(&self) -> String {
        self.0.clone()
    }

    fn metrics(&self) -> Vec<Metric> {
        Vec::new()
    }
}

#[cfg(all(test, feature = "grpc"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_a_note_unless_it_was_chosen() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap();
        let listen = |chosen| Grpc::bind(Some(GrpcListen { address, chosen }));
        let grpc = listen(false).await.unwrap();
        let note = grpc.note.clone().unwrap();
        assert!(note.contains("--grpc-listen"), "{note}");
        assert_eq!(grpc.part().unwrap().state(), note);
        assert_eq!(grpc.address, None);
        let Err(error) = listen(true).await else {
            panic!("it listens on a port that is taken")
        };
        assert!(
            format!("{error:#}").contains("Try --grpc-listen"),
            "{error:#}"
        );
        drop(taken);
        let grpc = listen(true).await.unwrap();
        assert_eq!(
            grpc.part().unwrap().state(),
            format!("listens on {address}")
        );
    }
}
