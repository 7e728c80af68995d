//! Fuzz targets: stored events, and the one text of a JSON value.

use serde_json::Value;
use units::fuzzing::Target;

use crate::{Json, event::TaskEvent, json::canonical};

/// The targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "task_event",
        run: event,
    },
    Target {
        name: "canonical_json",
        run: json,
    },
];

/// A stored event: what is read is written again, and read as the same.
fn event(data: &[u8]) {
    let _ = TaskEvent::actor(data);
    let Ok(event) = TaskEvent::decode(data) else {
        return;
    };
    assert!(TaskEvent::is_engine(event.kind()));
    let envelope = event.envelope();
    let again = TaskEvent::decode(&envelope.body);
    assert_eq!(again.expect("a written event is readable"), event);
}

/// JSON has one text: writing it once more changes nothing, and the text means the same.
fn json(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let write = |text: &str| {
        let mut out = Vec::new();
        let written = canonical(&mut out, text, &|_, _| true);
        written.map(|()| String::from_utf8(out).expect("JSON is UTF-8"))
    };
    // A lone surrogate is JSON, and no text.
    if let Ok(json) = Json::parse(&text)
        && let Ok(once) = write(json.as_str())
    {
        assert_eq!(write(&once).expect("and so has the text"), once);
        // Of a key that comes twice the first value is not looked at, whatever number stands in it.
        if let Ok(before) = serde_json::from_str::<Value>(json.as_str()) {
            let after = serde_json::from_str::<Value>(&once);
            assert_eq!(after.expect("a text that is like it"), before);
        }
        let _ = json.fields(&["a", "goal", "agent_config"]);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_target_holds_its_seeds_and_changed_copies_of_them() {
        units::fuzzing::check(super::TARGETS);
    }
}
