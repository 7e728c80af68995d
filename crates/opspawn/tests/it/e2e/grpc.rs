//! gRPC of the built binary: every method, bad input, streams over a kill, and a client of version 1.

mod bad_input;
mod calls;
mod follow;
mod operations;
mod port;
mod version_1;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use ops_proto::{
    tonic::{
        self, Status,
        body::Body,
        codegen::{Service, http},
        transport::Channel,
    },
    v1::{
        Json, agent_service_client::AgentServiceClient,
        approval_service_client::ApprovalServiceClient,
        schedule_service_client::ScheduleServiceClient, server_service_client::ServerServiceClient,
        task_service_client::TaskServiceClient,
    },
};
use ops_testkit::{Opspawn, wait_until};
use serde_json::Value;
use tonic_types::StatusExt as _;

use super::test_dir::TestDir;

/// A server with gRPC on a free port.
async fn server(test_dir: &TestDir) -> Opspawn {
    let dev = test_dir.dev().args(["--grpc-listen", "127.0.0.1:0"]);
    let server = dev.start().await.unwrap();
    let told = wait_until("the ready line", Duration::from_secs(20), async || {
        server.output().contains("grpc=").then_some(())
    });
    told.await.unwrap();
    server
}

/// The address of gRPC, of the ready line.
fn address(server: &Opspawn) -> String {
    let output = server.output();
    let found = output
        .split_whitespace()
        .find_map(|word| word.strip_prefix("grpc="));
    found
        .unwrap_or_else(|| panic!("no gRPC: {output}"))
        .to_owned()
}

/// A connection that notes the methods that are called.
#[derive(Clone)]
struct Noted {
    channel: Channel,
    paths: Arc<Mutex<BTreeSet<String>>>,
}

impl Service<http::Request<Body>> for Noted {
    type Response = http::Response<Body>;
    type Error = tonic::transport::Error;
    type Future = <Channel as Service<http::Request<Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let path = request.uri().path().to_owned();
        self.paths.lock().unwrap().insert(path);
        self.channel.call(request)
    }
}

/// Clients of one connection.
struct Clients {
    tasks: TaskServiceClient<Noted>,
    approvals: ApprovalServiceClient<Noted>,
    agents: AgentServiceClient<Noted>,
    schedules: ScheduleServiceClient<Noted>,
    server: ServerServiceClient<Noted>,
    noted: Noted,
}

impl Clients {
    async fn of(server: &Opspawn) -> Self {
        let noted = Noted {
            channel: channel(&address(server)).await,
            paths: Arc::default(),
        };
        Self {
            tasks: TaskServiceClient::new(noted.clone()),
            approvals: ApprovalServiceClient::new(noted.clone()),
            agents: AgentServiceClient::new(noted.clone()),
            schedules: ScheduleServiceClient::new(noted.clone()),
            server: ServerServiceClient::new(noted.clone()),
            noted,
        }
    }
}

async fn channel(address: &str) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect().await.unwrap()
}

/// A value as the message that carries its text.
fn json(value: &Value) -> Option<Json> {
    Some(Json {
        text: value.to_string(),
    })
}

/// The value of a message.
fn value(json: Option<&Json>) -> Value {
    json.map_or(Value::Null, |json| {
        serde_json::from_str(&json.text).unwrap()
    })
}

/// The code of a refusal, as REST has it.
#[track_caller]
fn code(status: &Status) -> String {
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("{status:?}"));
    assert_eq!(info.domain, "opspawn");
    assert_eq!(info.reason, info.metadata["code"].to_uppercase());
    assert!(!info.metadata["fix"].is_empty());
    info.metadata["code"].clone()
}
