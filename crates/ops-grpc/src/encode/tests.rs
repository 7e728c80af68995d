use prost_reflect::{DynamicMessage, MessageDescriptor};

use super::*;
use crate::{
    decode::{Unknown, fields},
    methods::descriptors,
};

fn kind(name: &str) -> MessageDescriptor {
    descriptors().get_message_by_name(name).unwrap()
}

/// The message as another program reads it.
fn read(name: &str, json: &str) -> DynamicMessage {
    let bytes = message(&kind(name), json, usize::MAX).unwrap();
    DynamicMessage::decode(kind(name), bytes.as_slice()).unwrap()
}

/// What a client sends comes back as it was.
#[test]
fn a_message_that_is_read_again_has_the_same_json() {
    for (name, json) in [
        (
            "opspawn.v1.SubmitTaskRequest",
            r#"{"task_type":"agent_run","prompt":"a\u0000\"é","inject_mcp_proxy":false,"input_data":{"n":12345678901234567890,"b":[1,2.50],"a":null},"priority":9,"run_at":"2025-04-12T10:00:00.123Z","labels":{"a":"1","b":""},"limits":{"max_steps":0,"max_tokens":18446744073709551615,"max_cost_usd":0.1,"on_exhausted":"wait"}}"#,
        ),
        (
            "opspawn.v1.ListTasksRequest",
            r#"{"status":"failed","state":["pending","cancelling"],"label":["a=b",""],"limit":0}"#,
        ),
        (
            "ops_core.proto.CreateTaskRequest",
            r#"{"task_type":"agent_run","input_data":{"bool":true,"empty":{},"list":[1,"x",null,[]],"null":null,"number":-0.5,"text":""}}"#,
        ),
    ] {
        let kind = kind(name);
        let bytes = message(&kind, json, usize::MAX).unwrap();
        let again = fields(&kind, &bytes, Unknown::Refused, 1 << 20).unwrap();
        let members = again
            .iter()
            .map(|(name, value)| format!("\"{name}\":{value}"));
        assert_eq!(
            format!("{{{}}}", members.collect::<Vec<_>>().join(",")),
            json
        );
    }
}

#[test]
fn a_task_of_version_1_is_read_by_another_program() {
    let task = read(
        "ops_core.proto.Task",
        r#"{"task_id":"task_1","task_type":"agent_run","status":"completed","input_data":{"prompt":"hi"},
            "result":{"answer":"x"},"error_message":null,"created_at":"2025-04-12T10:00:00.500Z",
            "updated_at":"1969-12-31T23:59:59.500Z","unknown":{"to":"it"}}"#,
    );
    let number = |name: &str| task.get_field_by_name(name).unwrap().as_enum_number();
    assert_eq!(number("status"), Some(3));
    let time = |name: &str| {
        let time = task.get_field_by_name(name).unwrap().into_owned();
        let time = time.as_message().unwrap().clone();
        let part = |part: &str| time.get_field_by_name(part).unwrap().into_owned();
        (
            part("seconds").as_i64().unwrap(),
            part("nanos").as_i32().unwrap(),
        )
    };
    assert_eq!(time("created_at"), (1_744_452_000, 500_000_000));
    assert_eq!(time("updated_at"), (-1, 500_000_000));
    assert!(!task.has_field_by_name("error_message"));
}

/// Readers refuse 100 messages within each other, and a task with such an input could never be read.
#[test]
fn a_deep_input_is_a_text_where_readers_would_give_up() {
    let depth = 60;
    let json = format!(
        r#"{{"input_data":{}1{}}}"#,
        r#"{"a":"#.repeat(depth),
        "}".repeat(depth)
    );
    let task = read("ops_core.proto.Task", &json);
    assert!(task.has_field_by_name("input_data"));
    let json = format!(
        r#"{{"input_data":{{"a":{}{}}}}}"#,
        "[".repeat(depth),
        "]".repeat(depth)
    );
    read("ops_core.proto.Task", &json);
}

#[test]
fn a_list_of_version_1_ends_where_its_clients_would_refuse_it() {
    let kind = kind("ops_core.proto.ListTasksResponse");
    let task = format!(r#"{{"task_id":"{}"}}"#, "x".repeat(1_000));
    let json = format!(
        r#"{{"tasks":[{}],"total":5000000000}}"#,
        [task.as_str(); 100].join(",")
    );
    let bytes = message(&kind, &json, 50_000).unwrap();
    assert!(bytes.len() < 50_100, "{}", bytes.len());
    let list = DynamicMessage::decode(kind, bytes.as_slice()).unwrap();
    let tasks = list
        .get_field_by_name("tasks")
        .unwrap()
        .as_list()
        .unwrap()
        .len();
    assert!((40..50).contains(&tasks), "{tasks}");
    assert_eq!(
        list.get_field_by_name("total").unwrap().as_i32(),
        Some(i32::MAX)
    );
}

#[test]
fn an_answer_that_does_not_fit_is_a_defect_and_no_panic() {
    let kind = kind("opspawn.v1.Task");
    for json in [
        "[]",
        "",
        r#"{"attempt":"x"}"#,
        r#"{"created_at":"soon"}"#,
        r#"{"labels":[]}"#,
    ] {
        assert!(message(&kind, json, usize::MAX).is_err(), "{json}");
    }
}
