use prost_reflect::MessageDescriptor;

use super::*;
use crate::{encode::bytes, methods::descriptors};

fn kind(name: &str) -> MessageDescriptor {
    descriptors().get_message_by_name(name).unwrap()
}

fn submit(message: &[u8]) -> Result<Vec<(String, String)>, Fault> {
    fields(
        &kind("opspawn.v1.SubmitTaskRequest"),
        message,
        Unknown::Refused,
        1 << 20,
    )
}

fn create(message: &[u8]) -> Result<Vec<(String, String)>, Fault> {
    fields(
        &kind("ops_core.proto.CreateTaskRequest"),
        message,
        Unknown::Ignored,
        1 << 20,
    )
}

fn within(tag: u32, inner: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    bytes(tag, inner, &mut out);
    out
}

/// `input_data` with one member `a`.
fn input(value: &[u8]) -> Vec<u8> {
    let entry = [within(1, b"a"), within(2, value)].concat();
    within(2, &within(1, &entry))
}

#[test]
fn a_number_that_json_has_not_is_refused_with_its_place() {
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let value = [&[17][..], &number.to_le_bytes()].concat();
        let fault = create(&input(&value)).unwrap_err();
        assert_eq!(fault.path, ["input_data", "a"]);
        assert!(fault.message.contains("no number of JSON"), "{fault:?}");
    }
    let fault = submit(&within(12, &[&[25][..], &f64::NAN.to_le_bytes()].concat())).unwrap_err();
    assert_eq!(fault.path, ["limits", "max_cost_usd"]);
}

#[test]
fn a_deep_struct_is_refused_before_the_stack_ends() {
    for list in [false, true] {
        let mut value = vec![8, 0];
        for _ in 0..3_000 {
            value = match list {
                true => within(6, &within(1, &value)),
                false => within(
                    5,
                    &within(1, &[within(1, b"a"), within(2, &value)].concat()),
                ),
            };
        }
        let fault = create(&input(&value)).unwrap_err();
        assert!(
            fault.message.contains("nested deeper than 60"),
            "{}",
            fault.message
        );
    }
}

#[test]
fn what_is_no_utf8_no_enum_no_json_and_no_time_is_named() {
    let cases: [(&str, Vec<u8>, &str); 6] = [
        ("prompt", within(2, b"a\xff"), "is not UTF-8 at byte 1"),
        ("labels", within(11, &within(1, b"\xff")), "is not UTF-8"),
        (
            "agent_config",
            within(4, &within(1, b"{} , \"priority\": 9")),
            "is not JSON",
        ),
        ("agent_config", within(4, b""), "has no `text`"),
        (
            "limits.on_exhausted",
            within(12, &[48, 99]),
            "is 99, which is no value of `OnExhausted`",
        ),
        (
            "run_at",
            within(10, &[16, 0x80, 0x94, 0xeb, 0xdc, 0x03]),
            "is no time",
        ),
    ];
    for (path, message, says) in cases {
        let fault = submit(&message).unwrap_err();
        assert_eq!(fault.path.join("."), path);
        assert!(fault.message.contains(says), "{path}: {}", fault.message);
    }
}

#[test]
fn unknown_fields_are_refused_except_by_version_1() {
    let unknown = within(99, b"x");
    let fault = submit(&unknown).unwrap_err();
    assert!(fault.message.contains("has a field 99"), "{fault:?}");
    assert_eq!(create(&unknown), Ok(Vec::new()));
}

/// The format lets a writer split a message, repeat a field and pack a list.
#[test]
fn every_form_of_the_wire_is_one_value() {
    let limits = [
        within(12, &[8, 5]),
        within(12, &[16, 7]),
        within(2, b"x"),
        within(2, b"y"),
    ]
    .concat();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        submit(&limits).unwrap(),
        [
            pair("prompt", "\"y\""),
            pair("limits", r#"{"max_steps":5,"max_tokens":7}"#)
        ]
    );
    let list = kind("opspawn.v1.ListTasksRequest");
    for packed in [vec![18, 2, 1, 7], vec![16, 1, 16, 7]] {
        let read = fields(&list, &packed, Unknown::Refused, 1 << 20).unwrap();
        assert_eq!(read, [pair("state", r#"["pending","completed"]"#)]);
    }
    // Defaults without presence are not given; those with presence are.
    assert_eq!(
        submit(&[18, 0, 72, 0, 40, 0]).unwrap(),
        [pair("inject_mcp_proxy", "false")]
    );
}

/// Escapes make a text six times as large.
#[test]
fn a_text_that_grows_is_bounded() {
    let fault = submit(&within(2, &vec![1; 300_000])).unwrap_err();
    assert!(fault.too_large, "{fault:?}");
}

/// Any bytes are a message or a fault, in time that grows with their number.
#[test]
fn random_bytes_never_panic() {
    let mut seed = 42_u64;
    for name in [
        "opspawn.v1.SubmitTaskRequest",
        "ops_core.proto.CreateTaskRequest",
    ] {
        let kind = kind(name);
        for _ in 0..20_000 {
            let message: Vec<u8> = (0..seed % 60)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    // Small numbers are tags and lengths more often than not.
                    u8::try_from((seed >> 33) % 256).unwrap() >> ((seed >> 20) % 5)
                })
                .collect();
            seed = seed.wrapping_add(1);
            for unknown in [Unknown::Ignored, Unknown::Refused] {
                if let Ok(read) = fields(&kind, &message, unknown, 1 << 16) {
                    for (_, json) in read {
                        serde_json::from_str::<serde_json::Value>(&json).unwrap();
                    }
                }
            }
        }
    }
}
