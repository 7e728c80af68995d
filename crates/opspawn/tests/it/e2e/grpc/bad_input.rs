//! What no client should send, and many calls at once beside honest ones.

use std::time::{Duration, Instant};

use ops_proto::{
    prost_types::{ListValue, Struct, Value, value::Kind},
    tonic::{
        Code, Request, Status,
        client::Grpc,
        codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
        codegen::http::uri::PathAndQuery,
        transport::Channel,
    },
    v1::{self, task_service_client::TaskServiceClient},
    version_1::{CreateTaskRequest, task_service_client::TaskServiceClient as Version1},
};
use tokio::io::AsyncWriteExt as _;
use tonic_types::StatusExt as _;

use super::{
    super::test_dir::{TestDir, assert_calm},
    address, channel, code, server,
};

/// Messages as their bytes, so that a test may send any.
struct Raw;

struct Bytes;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Bytes;
    type Decoder = Bytes;

    fn encoder(&mut self) -> Bytes {
        Bytes
    }

    fn decoder(&mut self) -> Bytes {
        Bytes
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put_slice(out, &item);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let length = bytes::Buf::remaining(bytes);
        Ok(Some(bytes::Buf::copy_to_bytes(bytes, length).to_vec()))
    }
}

async fn send(channel: &Channel, method: &'static str, message: Vec<u8>) -> Result<(), Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let path = PathAndQuery::from_static(method);
    grpc.unary(Request::new(message), path, Raw)
        .await
        .map(|_| ())
}

fn value(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

fn input(name: &str, kind: Kind) -> Option<Struct> {
    Some(Struct {
        fields: [(name.to_owned(), value(kind))].into(),
    })
}

const SUBMIT: &str = "/opspawn.v1.TaskService/SubmitTask";
const LIST: &str = "/opspawn.v1.TaskService/ListTasks";
const CREATE: &str = "/ops_core.proto.TaskService/CreateTask";

#[tokio::test]
async fn every_mistake_is_named_and_none_is_a_defect() {
    let test_dir = TestDir::new();
    let server = server(&test_dir).await;
    let channel = channel(&address(&server)).await;
    let mut tasks = TaskServiceClient::new(channel.clone());
    let mut old = Version1::new(channel.clone());

    // Each names its code and its place.
    let base = || v1::SubmitTaskRequest {
        prompt: "x".to_owned(),
        ..Default::default()
    };
    for (request, place) in [
        (
            v1::SubmitTaskRequest {
                priority: 10,
                ..base()
            },
            "priority",
        ),
        (
            v1::SubmitTaskRequest {
                limits: Some(v1::Limits {
                    max_cost_usd: Some(f64::NAN),
                    ..Default::default()
                }),
                ..base()
            },
            "limits.max_cost_usd",
        ),
        (
            v1::SubmitTaskRequest {
                limits: Some(v1::Limits {
                    on_exhausted: 99,
                    ..Default::default()
                }),
                ..base()
            },
            "limits.on_exhausted",
        ),
        (
            v1::SubmitTaskRequest {
                agent_config: Some(v1::Json {
                    text: "{}, \"priority\": 9".to_owned(),
                }),
                ..base()
            },
            "agent_config",
        ),
        (
            v1::SubmitTaskRequest {
                input_data: Some(v1::Json {
                    text: format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)),
                }),
                ..base()
            },
            "",
        ),
        (
            v1::SubmitTaskRequest {
                run_at: Some(ops_proto::prost_types::Timestamp {
                    seconds: i64::MAX,
                    nanos: -1,
                }),
                ..base()
            },
            "run_at",
        ),
    ] {
        let refused = tasks.submit_task(request).await.unwrap_err();
        assert_eq!(
            (refused.code(), code(&refused).as_str()),
            (Code::InvalidArgument, "invalid_body"),
            "{place}"
        );
        let details = refused.get_error_details();
        let violations = &details.bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, place, "{refused:?}");
    }
    for limit in [0, 1_001, u32::MAX] {
        let list = v1::ListTasksRequest {
            limit: Some(limit),
            ..Default::default()
        };
        let refused = tasks.list_tasks(list).await.unwrap_err();
        assert_eq!(
            (refused.code(), code(&refused).as_str()),
            (Code::InvalidArgument, "invalid_query")
        );
        assert_eq!(
            refused
                .get_error_details()
                .bad_request()
                .unwrap()
                .field_violations[0]
                .field,
            "limit"
        );
    }
    let mut deep = Kind::ListValue(ListValue::default());
    for _ in 0..90 {
        deep = Kind::ListValue(ListValue {
            values: vec![value(deep)],
        });
    }
    for kind in [
        Kind::NumberValue(f64::NAN),
        Kind::NumberValue(f64::NEG_INFINITY),
        deep,
    ] {
        let create = CreateTaskRequest {
            task_type: "agent_run".to_owned(),
            input_data: input("prompt", kind),
        };
        let refused = old.create_task(create).await.unwrap_err();
        assert_eq!(
            (refused.code(), code(&refused).as_str()),
            (Code::InvalidArgument, "invalid_body")
        );
    }
    let large = CreateTaskRequest {
        task_type: "agent_run".to_owned(),
        input_data: input("prompt", Kind::StringValue("x".repeat(5 << 20))),
    };
    let refused = old.create_task(large).await.unwrap_err();
    assert_eq!(
        (refused.code(), code(&refused).as_str()),
        (Code::ResourceExhausted, "body_too_large")
    );
    let unknown = CreateTaskRequest {
        task_type: "nothing".to_owned(),
        input_data: None,
    };
    let refused = old.create_task(unknown).await.unwrap_err();
    assert_eq!(
        (refused.code(), code(&refused).as_str()),
        (Code::InvalidArgument, "unknown_task_type")
    );

    // Bytes that are no message, text that is no UTF-8, a field of a later release.
    for (method, message) in [
        (SUBMIT, vec![0xff; 64]),
        (SUBMIT, vec![18, 2, 0xc3, 0x28]),
        (SUBMIT, vec![18, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        (SUBMIT, vec![0x9a, 0x3f, 1, b'x']),
        (LIST, vec![10, 1, b'x']),
        (CREATE, vec![10, 2, 0xc3, 0x28]),
        (CREATE, vec![18, 3, 10, 1, 0xff]),
    ] {
        let refused = send(&channel, method, message.clone()).await.unwrap_err();
        assert_eq!(
            refused.code(),
            Code::InvalidArgument,
            "{method} {message:x?}: {refused:?}"
        );
        assert_eq!(code(&refused), "invalid_body");
    }
    let nothing = send(&channel, "/opspawn.v1.TaskService/Nothing", vec![])
        .await
        .unwrap_err();
    assert_eq!(nothing.code(), Code::Unimplemented);

    let mut expired = Request::new(v1::ListTasksRequest::default());
    expired
        .metadata_mut()
        .insert("grpc-timeout", "0n".parse().unwrap());
    let refused = tasks.list_tasks(expired).await.unwrap_err();
    assert_eq!(refused.code(), Code::DeadlineExceeded);
    let mut odd = Request::new(v1::ListTasksRequest::default());
    odd.metadata_mut()
        .insert("grpc-timeout", "soon".parse().unwrap());
    assert_eq!(
        tasks.list_tasks(odd).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    let mut packed = Request::new(v1::ListTasksRequest::default());
    packed
        .metadata_mut()
        .insert("grpc-encoding", "gzip".parse().unwrap());
    assert_eq!(
        tasks.list_tasks(packed).await.unwrap_err().code(),
        Code::Unimplemented
    );

    assert_eq!(
        tasks
            .list_tasks(v1::ListTasksRequest::default())
            .await
            .unwrap()
            .into_inner()
            .total,
        0
    );
    assert_calm(&server);
}

/// security/S9: a client that holds much and reads nothing costs others no time.
#[tokio::test]
async fn hundreds_of_streams_and_silent_connections_stand_beside_honest_calls() {
    let test_dir = TestDir::new();
    let server = server(&test_dir).await;
    let address = address(&server);
    let mut honest = TaskServiceClient::new(channel(&address).await);
    let request = v1::SubmitTaskRequest {
        prompt: "x".to_owned(),
        run_at: Some(ops_proto::prost_types::Timestamp {
            seconds: 4_000_000_000,
            nanos: 0,
        }),
        ..Default::default()
    };
    let id = honest
        .submit_task(request)
        .await
        .unwrap()
        .into_inner()
        .task_id;
    // Nobody reads the streams of these.
    let mut streams = Vec::new();
    for _ in 0..4 {
        let client = TaskServiceClient::new(channel(&address).await);
        for _ in 0..200 {
            let follow = v1::FollowTaskRequest {
                task_id: id.clone(),
                ..Default::default()
            };
            let mut client = client.clone();
            streams.push(client.follow_task(follow).await.unwrap());
        }
    }
    // Connections that never begin, or begin and say nothing, or break the protocol.
    let mut silent = Vec::new();
    for number in 0..300 {
        let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        let start: &[u8] = match number % 3 {
            0 => b"",
            1 => b"PRI * HT",
            _ => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        };
        // The server may have closed the connection by then.
        let _ = stream.write_all(start).await;
        silent.push(stream);
    }
    let followers = server.http().get("/metrics").await.unwrap().text();
    assert!(followers.contains("opspawn_followers 800"), "{followers}");
    let mut slowest = Duration::ZERO;
    for _ in 0..50 {
        let begun = Instant::now();
        honest
            .list_tasks(v1::ListTasksRequest::default())
            .await
            .unwrap();
        server.http().get("/health").await.unwrap().ok().unwrap();
        slowest = slowest.max(begun.elapsed());
    }
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    drop(streams);
    let gone = || async {
        let metrics = server.http().get("/metrics").await.unwrap().text();
        metrics.contains("opspawn_followers 0").then_some(())
    };
    ops_testkit::wait_until("the followers to be gone", Duration::from_secs(20), gone)
        .await
        .unwrap();
    let metrics = server.http().get("/metrics").await.unwrap().text();
    let left = "opspawn_grpc_calls_total{method=\"opspawn.v1.TaskService/FollowTask\",code=\"CANCELLED\"} 800";
    assert!(metrics.contains(left), "{metrics}");
    assert_calm(&server);
}
