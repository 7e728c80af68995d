//! The routes for another surface of the same process: the same answers without a port.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use ops_core::{Caller, Code, TaskId, TenantId};
use ops_engine::{Followed, Follower};
use tokio_util::sync::CancellationToken;

use super::App;
use crate::{Hosts, metrics::Following, serve::dispatch::Dispatcher};

/// The body of an answer.
pub type LocalBody = UnsyncBoxBody<Bytes, std::io::Error>;

/// The routes without a port.
#[derive(Clone)]
pub struct Local {
    app: Arc<App>,
    dispatcher: Arc<Dispatcher>,
}

/// One reader of one task's log, counted among the followers of the server.
pub struct LocalFollower {
    follower: Follower,
    silence: Duration,
    stop: CancellationToken,
    _counted: Following,
}

impl Local {
    pub(super) fn new(
        app: Arc<App>,
        routes: Router,
        hosts: Hosts,
        listen: Option<SocketAddr>,
    ) -> Self {
        Self {
            app,
            dispatcher: Arc::new(Dispatcher::new(routes, hosts, listen)),
        }
    }

    /// Answers a request as the port of REST would: with a request id, a check of the hosts, and problems. HTTP metrics
    /// do not count the answer.
    pub async fn call(&self, request: Request<Bytes>) -> Response<LocalBody> {
        let Ok(response) = self.dispatcher.answer(request.map(Full::new)).await;
        response.map(|body| body.map_err(std::io::Error::other).boxed_unsync())
    }

    /// Follows a task after an event; 0 is the start of its log. The caller has asked for the task's events with
    /// [`Local::call`] before, which checks the request.
    ///
    /// # Errors
    /// `task_not_found`, or a code of the storage.
    pub async fn follow(
        &self,
        task: TaskId,
        after: u64,
    ) -> Result<LocalFollower, ops_engine::Error> {
        let settings = &self.app.settings;
        let caller = Caller::local(TenantId::DEFAULT);
        Ok(LocalFollower {
            follower: settings.engine.follow(caller.tenant, task, after).await?,
            silence: settings.keep_alive,
            stop: settings.stop.clone(),
            _counted: self.app.metrics.follower(),
        })
    }

    /// The OpenAPI document of the routes, as JSON.
    #[must_use]
    pub fn document(&self) -> &Bytes {
        self.app.document.json()
    }

    /// Takes note of the answer to a gRPC call, for `/metrics`. There must be few different methods.
    pub fn grpc_answered(&self, method: Arc<str>, code: &'static str) {
        self.app.metrics.grpc_answered(method, code);
    }
}

impl LocalFollower {
    /// The next piece, or [`Followed::Quiet`] after the server's longest silence. `None` after the end, and where the
    /// stream broke off: then no [`Followed::End`] came before.
    ///
    /// # Errors
    /// `shutting_down` once the server stops; `task_not_found` if the task was deleted; a code of the storage.
    pub async fn next(&mut self) -> Result<Option<Followed>, ops_engine::Error> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {
                let message = "the server is stopping; follow again after the last event";
                Err(ops_engine::Error::new(Code::ShuttingDown, message))
            }
            followed = self.follower.next(self.silence) => followed,
        }
    }
}
