//! The port: the ready line, health, reflection, `/ready`, metrics, and a port that is taken.

use ops_proto::{
    tonic::Code,
    v1::{GetTaskRequest, InfoRequest, task_service_client::TaskServiceClient},
};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use super::{
    super::test_dir::{TestDir, assert_calm},
    Clients, address, channel, code, server,
};

#[tokio::test]
async fn health_reflection_ready_and_metrics_tell_of_grpc() {
    let test_dir = TestDir::new();
    let server = server(&test_dir).await;
    let address = address(&server);
    let ready: Value = server.http().get("/ready").await.unwrap().json().unwrap();
    assert_eq!(ready["parts"]["grpc"], format!("listens on {address}"));

    let mut health = HealthClient::new(channel(&address).await);
    for service in ["", "ops_core.proto.TaskService", "opspawn.v1.TaskService"] {
        let check = HealthCheckRequest {
            service: service.to_owned(),
        };
        let status = health.check(check).await.unwrap().into_inner().status;
        assert_eq!(status, 1, "{service}");
    }
    let unknown = HealthCheckRequest {
        service: "nothing".to_owned(),
    };
    assert_eq!(
        health.check(unknown).await.unwrap_err().code(),
        Code::NotFound
    );

    let mut reflection = ServerReflectionClient::new(channel(&address).await);
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let asked = futures_util::stream::iter([ask]);
    let mut answers = reflection
        .server_reflection_info(asked)
        .await
        .unwrap()
        .into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) =
        answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("no list")
    };
    let names: Vec<_> = list
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    for name in [
        "ops_core.proto.TaskService",
        "opspawn.v1.ServerService",
        "grpc.health.v1.Health",
    ] {
        assert!(names.iter().any(|known| known == name), "{names:?}");
    }

    let mut clients = Clients::of(&server).await;
    clients.server.info(InfoRequest {}).await.unwrap();
    let missing = GetTaskRequest {
        task_id: "task_nope".to_owned(),
    };
    let refused = clients.tasks.get_task(missing).await.unwrap_err();
    assert_eq!(
        (refused.code(), code(&refused).as_str()),
        (Code::NotFound, "task_not_found")
    );
    let metrics = server.http().get("/metrics").await.unwrap().text();
    for line in [
        "opspawn_grpc_calls_total{method=\"opspawn.v1.ServerService/Info\",code=\"OK\"} 1",
        "opspawn_grpc_calls_total{method=\"opspawn.v1.TaskService/GetTask\",code=\"NOT_FOUND\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    // The routes behind are no answers of HTTP.
    assert!(!metrics.contains("route=\"/api/v1/info\""), "{metrics}");
    assert_calm(&server);
}

#[tokio::test]
async fn who_speaks_something_else_is_told_so() {
    let test_dir = TestDir::new();
    let server = server(&test_dir).await;
    let mut stream = tokio::net::TcpStream::connect(address(&server))
        .await
        .unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 400 ") && answer.contains("speaks gRPC"),
        "{answer}"
    );
    let length: usize = answer
        .split("content-length: ")
        .nth(1)
        .and_then(|rest| rest.split("\r\n").next())
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(answer.split("\r\n\r\n").nth(1).unwrap().len(), length);
}

#[tokio::test]
async fn a_port_that_is_taken_stops_only_a_server_that_asked_for_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let holder = TestDir::new();
    let held = server(&holder).await;
    let held = address(&held);
    assert_ne!(held, taken);
    let test_dir = TestDir::new();
    let asked = ["dev", "--listen", "127.0.0.1:0", "--grpc-listen", &held];
    let refused = test_dir.cli(&asked).run().await.ends(1);
    assert!(
        refused.stderr.contains("--grpc-listen 127.0.0.1:0"),
        "{refused:#?}"
    );
    for address in ["0.0.0.0:50051", "here"] {
        let asked = ["dev", "--listen", "127.0.0.1:0", "--grpc-listen", address];
        let refused = test_dir.cli(&asked).run().await.ends(2);
        assert!(refused.stderr.contains("grpc_listen"), "{refused:#?}");
    }
}

/// A page that is open in a browser cannot speak HTTP/2 without TLS, but a name that leads here can be called.
#[tokio::test]
async fn another_host_and_a_tool_of_an_agent_are_refused() {
    let test_dir = TestDir::new();
    let server = server(&test_dir).await;
    let address = address(&server);
    let endpoint = ops_proto::tonic::transport::Channel::from_shared(format!("http://{address}"))
        .unwrap()
        .origin("http://evil.example".parse().unwrap());
    let mut client = TaskServiceClient::new(endpoint.connect().await.unwrap());
    let get = || GetTaskRequest {
        task_id: "task_nope".to_owned(),
    };
    let refused = client.get_task(get()).await.unwrap_err();
    assert_eq!(
        (refused.code(), code(&refused).as_str()),
        (Code::PermissionDenied, "forbidden_host")
    );
    let mut client = TaskServiceClient::new(channel(&address).await);
    let mut request = ops_proto::tonic::Request::new(get());
    request
        .metadata_mut()
        .insert("x-agentkit-tool", "1".parse().unwrap());
    let refused = client.get_task(request).await.unwrap_err();
    assert_eq!(
        (refused.code(), code(&refused).as_str()),
        (Code::PermissionDenied, "forbidden_tool")
    );
}

#[cfg(feature = "otlp")]
#[tokio::test]
async fn a_call_is_a_span_of_its_clients_trace() {
    let test_dir = TestDir::new();
    let collector = super::super::telemetry::Collector::start();
    let dev = test_dir.dev().args(["--grpc-listen", "127.0.0.1:0"]);
    let dev = dev.env("OPSPAWN_OTLP_ENDPOINT", &collector.url);
    let mut server = dev.start().await.unwrap();
    let mut client = TaskServiceClient::new(channel(&address(&server)).await);
    let mut request = ops_proto::tonic::Request::new(GetTaskRequest {
        task_id: "task_nope".to_owned(),
    });
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    request
        .metadata_mut()
        .insert("traceparent", parent.parse().unwrap());
    client.get_task(request).await.unwrap_err();
    server
        .stop(std::time::Duration::from_secs(20))
        .await
        .unwrap();
    let spans = collector.spans();
    let span = spans
        .iter()
        .find(|span| span.name == "opspawn.v1.TaskService/GetTask");
    let span = span.unwrap_or_else(|| panic!("{spans:?}"));
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    assert_eq!(hex(&span.trace_id), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(hex(&span.parent_span_id), "00f067aa0ba902b7");
}
