//! The bytes of version 1 stay readable, and stay what is written.

use std::collections::BTreeSet;

use agentkit::{Event, event::DecodeError};

const V1: &str = include_str!("../fixtures/events_v1.jsonl");
/// Bodies of version 1 with the fields that later releases added to it.
const V1_ADDED: &str = include_str!("../fixtures/events_v1_added.jsonl");
/// Bodies of version 2: results of tools with parts.
const V2: &str = include_str!("../fixtures/events_v2.jsonl");

#[test]
fn version_one_reads_and_writes_the_same_bytes() {
    let mut kinds = BTreeSet::new();
    for line in V1.lines() {
        let event = Event::decode(line.as_bytes()).unwrap_or_else(|e| panic!("{line}: {e:?}"));
        assert_eq!(String::from_utf8(event.encode()).unwrap(), line);
        kinds.insert(event.kind());
    }
    // Types that came later have theirs beside the fields that came later.
    for line in V1_ADDED.lines() {
        kinds.insert(Event::decode(line.as_bytes()).unwrap().kind());
    }
    assert_eq!(
        kinds,
        BTreeSet::from(Event::TYPES),
        "each type has a fixture"
    );
}

#[test]
fn fields_that_were_added_to_version_one_read_and_write_the_same_bytes() {
    for line in V1_ADDED.lines() {
        let event = Event::decode(line.as_bytes()).unwrap_or_else(|e| panic!("{line}: {e:?}"));
        assert_eq!(String::from_utf8(event.encode()).unwrap(), line);
    }
}

#[test]
fn a_result_with_parts_is_of_version_two_and_nothing_else_is() {
    for line in V2.lines() {
        let event = Event::decode(line.as_bytes()).unwrap_or_else(|e| panic!("{line}: {e:?}"));
        assert_eq!(String::from_utf8(event.encode()).unwrap(), line);
        assert_eq!(event.version(), 2);
    }
    // One without parts is as it ever was.
    let Event::ToolCompleted(mut completed) =
        Event::decode(V2.lines().next().unwrap().as_bytes()).unwrap()
    else {
        panic!("a result")
    };
    completed.parts.clear();
    let plain = String::from_utf8(Event::ToolCompleted(completed).encode()).unwrap();
    assert!(
        plain.starts_with(r#"{"v":1,"#) && !plain.contains("parts"),
        "{plain}"
    );
    let newer = Event::decode(br#"{"v":3,"type":"tool.completed","step":2,"output":1}"#);
    let error = newer.unwrap_err().to_string();
    assert!(error.contains("`tool.completed` version 3"), "{error}");
}

#[test]
fn unknown_fields_are_kept_out_of_the_way_and_unknown_types_are_named() {
    let newer = br#"{"v":1,"type":"tool.started","step":3,"attempt":2,"region":"eu"}"#;
    assert_eq!(Event::decode(newer).unwrap().kind(), "tool.started");
    let Err(DecodeError::Unknown { kind, version }) =
        Event::decode(br#"{"v":1,"type":"tool.dreamt","step":3}"#)
    else {
        panic!("an unknown type was read")
    };
    assert_eq!((kind.as_str(), version), ("tool.dreamt", 1));
    let error = Event::decode(br#"{"v":2,"type":"tool.started","step":3,"attempt":2}"#);
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("`tool.started` version 2")
    );
    assert!(matches!(
        Event::decode(b"{"),
        Err(DecodeError::Malformed(_))
    ));
}
