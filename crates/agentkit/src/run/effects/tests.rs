use serde_json::json;

use super::*;
use crate::{
    event::{GateDecision, Initiator, ToolCalled},
    run::phase::Progress,
    tool::Resources,
};

fn state(step: u32, tool: &str, effect: Effect, resources: Resources) -> CallState {
    let call = ToolCalled {
        step: StepId(step),
        provider_id: format!("p{step}"),
        name: tool.to_owned(),
        input: json!({"number": step}),
        effect,
        resources: Some(resources),
        key: Some(CallKey::new([7; 16])),
        initiator: Initiator::Model,
        purpose: None,
        decision: GateDecision::Start,
    };
    CallState::new(call)
}

fn completed(step: u32, files: &[(&str, bool)]) -> ToolCompleted {
    let delta = |(path, is_there): &(&str, bool)| FileDelta {
        path: (*path).to_owned(),
        digest: is_there.then(|| "d".to_owned()),
        bytes: 1,
    };
    ToolCompleted {
        step: StepId(step),
        output: json!("ok"),
        handle: None,
        files: files.iter().map(delta).collect(),
        child: None,
        parts: Vec::new(),
    }
}

fn write_file(effects: &mut Effects, step: u32, path: &str) {
    let resources = Resources::writes([Resource::file(path)]);
    let call = state(step, "write_file", Effect::Idempotent, resources);
    effects.completed(&call, &completed(step, &[(path, true)]));
}

#[test]
fn each_call_with_an_effect_is_told_with_its_outcome() {
    let mut effects = Effects::default();
    assert_eq!(effects.told(StepId(1), 4_096), None);
    write_file(&mut effects, 2, "a/b.md");
    let url = Resources::writes([Resource::url("https://api.example.com/orders")]);
    let post = |step| state(step, "http_request", Effect::Write, url.clone());
    effects.completed(&post(3), &completed(3, &[]));
    effects.failed(&post(4), "http_status");
    effects.failed(&post(5), OUTCOME_UNKNOWN);
    effects.resolved(&post(6), EffectOutcome::NotDone);
    let program = state(
        7,
        "tidy",
        Effect::Write,
        Resources::writes([Resource::tree(".")]),
    );
    effects.completed(&program, &completed(7, &[("x", true), ("old", false)]));
    // Calls that changed nothing: a read, a fetch, and a call that a person denied.
    let read = state(
        8,
        "read_file",
        Effect::Pure,
        Resources::reads([Resource::file("x")]),
    );
    effects.completed(&read, &completed(8, &[]));
    let fetch = state(
        9,
        "http_fetch",
        Effect::Idempotent,
        Resources::reads([Resource::url("https://a")]),
    );
    effects.completed(&fetch, &completed(9, &[]));
    let mut denied = post(10);
    denied.tries = 0;
    denied.progress = Progress::Queued;
    effects.failed(&denied, "denied");
    let expected = "[Record of this run, kept by the machine: everything that your calls have changed up to call_10. Calls that only \
         read are not listed.]\n\
         - call_2 write_file on file a/b.md: done\n\
         - call_3 http_request {\"number\":3} on url https://api.example.com/orders: done\n\
         - call_4 http_request {\"number\":4} on url https://api.example.com/orders: failed (http_status)\n\
         - call_5 http_request {\"number\":5} on url https://api.example.com/orders: not known whether it took effect\n\
         - call_6 http_request {\"number\":6} on url https://api.example.com/orders: did not take effect\n\
         - call_7 tidy on file x, removed file old: done";
    assert_eq!(effects.told(StepId(10), 4_096).unwrap(), expected);
    effects.forget(StepId(7));
    assert_eq!(effects.count(), 5);
}

/// The sum of the counts in a text: one for each single call, and that of each group.
fn counted(text: &str) -> u64 {
    let lines = text.lines().skip(1);
    let count = |line: &str| match line.strip_prefix("- call_") {
        Some(_) => 1,
        None => line[2..].split(' ').next().unwrap().parse::<u64>().unwrap(),
    };
    lines.map(count).sum()
}

#[test]
fn the_oldest_calls_are_merged_and_none_is_lost() {
    let mut effects = Effects::default();
    for step in 1..=40 {
        write_file(
            &mut effects,
            step,
            &format!("part{}/f{}.md", step % 2, step % 4),
        );
    }
    let whole = effects.told(StepId(40), 8_192).unwrap();
    assert_eq!((counted(&whole), whole.lines().count()), (40, 41));
    let some = effects.told(StepId(40), 1_200).unwrap();
    assert!(some.len() <= 1_200, "{some}");
    assert_eq!(counted(&some), 40, "{some}");
    assert!(
        some.contains("calls of write_file on file part1/f1.md (call_1 to call_"),
        "{some}"
    );
    assert!(
        some.ends_with("- call_40 write_file on file part0/f0.md: done"),
        "{some}"
    );
    let few = effects.told(StepId(40), 330).unwrap();
    assert!(few.len() <= 330, "{few}");
    assert!(
        few.contains("20 calls of write_file on files below part1 (call_1 to call_39): 20 done"),
        "{few}"
    );
    let least = effects.told(StepId(40), 1).unwrap();
    assert!(
        least.ends_with("\n- 40 calls (call_1 to call_40): 40 done"),
        "{least}"
    );
}

#[test]
fn what_is_kept_is_bounded() {
    let mut effects = Effects::default();
    for step in 1..=5_000 {
        write_file(&mut effects, step, &format!("folder{step}/file{step}.md"));
        assert!(effects.calls.len() <= MAX_CALLS);
    }
    assert_eq!(effects.count(), 5_000);
    let told = effects.told(StepId(5_000), 8_192).unwrap();
    assert!(told.len() <= 8_192);
    assert_eq!(counted(&told), 5_000, "{told}");
    let kept = serde_json::to_string(&effects).unwrap();
    assert!(kept.len() < 100_000, "{}", kept.len());
    assert_eq!(serde_json::from_str::<Effects>(&kept).unwrap(), effects);
}

#[test]
fn a_resource_has_something_larger() {
    for (resource, above) in [
        ("file a/b/c.md", "files below a"),
        ("removed file a/b", "files below a"),
        ("file c.md", "files"),
        ("folder a/b", "files below a"),
        (
            "url https://api.example.com/orders/1",
            "host api.example.com",
        ),
        ("service mail", "service mail"),
        ("task 01", "tasks"),
        ("anything", "anything"),
        (
            "file a/b, file a/c, url https://h/x",
            "files below a, host h",
        ),
    ] {
        assert_eq!(merged::larger(resource), above, "{resource}");
    }
}
