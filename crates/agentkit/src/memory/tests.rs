use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::event::{Handle, Media, SegmentChange, SegmentOpened};

fn called(step: u32) -> MessageCall {
    MessageCall {
        step: StepId(step),
        provider_id: format!("p{step}"),
        name: "read".into(),
        arguments: json!({"n": step}),
    }
}

/// One call of the model's, and its result of so many bytes; the step of the message is `step`.
fn exchange(window: &mut Window, step: u32, size: usize) {
    window.reach(StepId(step));
    window.add_message(Message::Assistant {
        content: String::new(),
        calls: Vec::new(),
        parts: Some(json!({"opaque": step})),
    });
    window.reach(StepId(step + 1));
    window.extend_calls(called(step + 1));
    window.add_message(Message::Tool {
        step: StepId(step + 1),
        provider_id: format!("p{}", step + 1),
        name: "read".into(),
        content: "x".repeat(size),
        is_error: false,
        images: Vec::new(),
    });
}

fn filled() -> Window {
    let mut window = Window::default();
    window.add_message(Message::System {
        content: "be exact".into(),
    });
    window.add_message(Message::user("goal"));
    for turn in 0..10 {
        exchange(&mut window, turn * 2 + 1, 400);
    }
    window
}

fn bounds(target: u64, most: u64) -> Bounds {
    Bounds {
        beside: 0,
        target,
        most,
        keep: 3,
        summary: Some(20),
    }
}

fn added_up(window: &Window) -> u64 {
    window
        .messages
        .iter()
        .map(|message| estimate_tokens(message))
        .sum()
}

/// Calls and results belong together, in the order of the calls.
fn is_whole(window: &Window) {
    let mut open: Vec<StepId> = Vec::new();
    for message in &window.messages {
        match &**message {
            Message::Assistant { calls, .. } => {
                assert!(open.is_empty(), "a call without its result");
                open = calls.iter().map(|call| call.step).collect();
            }
            Message::Tool { step, .. } => {
                assert!(!open.is_empty(), "a result without its call");
                assert_eq!(open.remove(0), *step);
            }
            Message::System { .. } | Message::User { .. } => {}
        }
    }
    assert!(open.is_empty());
}

fn content(message: &Message) -> &str {
    match message {
        Message::System { content }
        | Message::User { content, .. }
        | Message::Assistant { content, .. }
        | Message::Tool { content, .. } => content,
    }
}

#[test]
fn tokens_are_those_of_the_messages() {
    let window = filled();
    assert_eq!(window.tokens(), added_up(&window));
}

#[test]
fn the_context_of_a_size_keeps_what_is_pinned_and_the_newest() {
    let mut window = filled();
    assert_eq!(window.get_context(100_000), window.messages());
    let shown = window.get_context(400);
    assert_eq!(shown[..2], window.messages()[..2]);
    assert!(matches!(*shown[2], Message::Assistant { .. }));
    assert_eq!(shown.last(), window.messages().last());
    assert!(shown.len() < window.messages().len());
    assert!(
        shown
            .iter()
            .map(|message| estimate_tokens(message))
            .sum::<u64>()
            <= 400
    );
    exchange(&mut window, 21, 40_000);
    window.add_pinned(Message::user("and this"));
    assert_eq!(
        window.get_context(400).len(),
        5,
        "the newest stays even if it is too large"
    );
    window.clear();
    assert!(window.get_context(400).is_empty());
}

#[test]
fn old_results_are_cleared_first_and_say_how_they_are_read_again() {
    let mut window = filled();
    let total = window.tokens();
    let plan = window.plan(&bounds(total - 7 * 50, total));
    let Plan::Open(opened) = plan else {
        panic!("{plan:?}")
    };
    assert_eq!(opened.change, SegmentChange::Cleared);
    assert_eq!(
        opened.keep_from,
        StepId(15),
        "the three newest exchanges stay"
    );
    let kept = BTreeMap::from([(
        StepId(4),
        Handle {
            digest: "ab".into(),
            bytes: 9_000,
        },
    )]);
    window.compact(&opened, None, &kept);
    is_whole(&window);
    assert_eq!(window.segment(), 1);
    assert_eq!(window.tokens(), added_up(&window));
    assert!(window.tokens() < total - 7 * 50);
    assert_eq!(
        content(&window.messages[3]),
        "[400 bytes, left out to save room]"
    );
    assert_eq!(
        content(&window.messages[5]),
        "[400 bytes, left out to save room; read_result with handle \"call_4\" reads it again]"
    );
    assert_eq!(content(window.messages.last().unwrap()).len(), 400);
    let opaque =
        |message: &&Arc<Message>| matches!(&***message, Message::Assistant { parts: Some(_), .. });
    assert_eq!(
        window.messages.iter().filter(opaque).count(),
        0,
        "no part crosses a segment"
    );
    let again = window.plan(&bounds(total - 7 * 50, total));
    assert_ne!(
        again,
        Plan::Open(opened),
        "what is cleared is not cleared again"
    );
}

#[test]
fn the_older_part_is_summed_up_where_clearing_is_not_enough() {
    let mut window = filled();
    window.add_pinned(Message::user("mind the gap"));
    exchange(&mut window, 21, 400);
    exchange(&mut window, 23, 400);
    exchange(&mut window, 25, 400);
    let total = window.tokens();
    let plan = window.plan(&bounds(500, total));
    assert_eq!(
        plan,
        Plan::Summarise {
            keep_from: StepId(21)
        }
    );
    let opened = SegmentOpened::new(StepId(21), SegmentChange::Summarised);
    window.compact(&opened, Some("ten were read"), &BTreeMap::new());
    is_whole(&window);
    assert_eq!(window.messages.len(), 3 + 1 + 6);
    let (pinned, note) = (content(&window.messages[2]), content(&window.messages[3]));
    assert_eq!(pinned, "mind the gap", "what is pinned stays");
    assert!(note.ends_with("\nten were read"), "{note}");
    assert_eq!(window.tokens(), added_up(&window));
    // The next time, the summary is a part of what is older.
    exchange(&mut window, 27, 400);
    let plan = window.plan(&bounds(420, total));
    assert_eq!(
        plan,
        Plan::Summarise {
            keep_from: StepId(23)
        }
    );
}

#[test]
fn without_a_summary_a_note_says_what_is_missing() {
    let mut window = filled();
    let mut bounds = bounds(500, window.tokens());
    bounds.summary = None;
    let Plan::Open(opened) = window.plan(&bounds) else {
        panic!("nothing to do")
    };
    assert_eq!(opened.change, SegmentChange::Dropped);
    window.compact(&opened, None, &BTreeMap::new());
    is_whole(&window);
    assert!(content(&window.messages[2]).contains("14 messages of it are left out"));
    assert!(window.tokens() <= 500);
    assert_eq!(window.plan(&bounds), Plan::Send);
}

#[test]
fn results_that_are_too_large_alone_are_cut() {
    let mut window = Window::default();
    window.add_message(Message::user("goal"));
    exchange(&mut window, 1, 40_000);
    let bounds = bounds(2_000, 3_000);
    let Plan::Open(opened) = window.plan(&bounds) else {
        panic!("nothing to do")
    };
    assert!(matches!(opened.change, SegmentChange::Truncated { .. }));
    window.compact(&opened, None, &BTreeMap::new());
    is_whole(&window);
    assert!(window.tokens() <= 2_000);
    let result = content(&window.messages[2]);
    assert!(result.ends_with("[cut here: 40000 bytes were more than your context holds]"));
    assert_eq!(window.plan(&bounds), Plan::Send);
}

#[test]
fn what_is_pinned_and_too_large_is_said_to_be() {
    let mut window = Window::default();
    window.add_message(Message::user("g".repeat(40_000)));
    assert_eq!(window.plan(&bounds(2_000, 3_000)), Plan::TooLarge);
    assert_eq!(window.plan(&bounds(2_000, 20_000)), Plan::Send);
    exchange(&mut window, 1, 40);
    assert_eq!(window.plan(&bounds(2_000, 3_000)), Plan::TooLarge);
}

#[test]
fn a_transcript_fits_however_long_the_conversation() {
    let window = filled();
    let whole = transcript(&window, StepId(15), 10_000, 50);
    let text = content(&whole[1]);
    assert!(text.starts_with("told: goal\nagent calls read: {\"n\":2}\nread returned: xxx"));
    assert_eq!(text.matches("agent calls").count(), 7, "{text}");
    for max_tokens in [900, 500, 300] {
        let messages = transcript(&window, StepId(15), max_tokens, 50);
        let tokens: u64 = messages
            .iter()
            .map(|message| estimate_tokens(message))
            .sum();
        assert!(tokens <= max_tokens + 20, "{tokens} of {max_tokens}");
    }
    let short = transcript(&window, StepId(15), 300, 50);
    assert!(content(&short[1]).contains("earlier entries are left out]\n"));
    assert!(content(&short[1]).contains("read returned: x"));
}

proptest::proptest! {
    /// Whatever the sizes, compaction ends, keeps pairs together, and what it says fits does.
    #[test]
    fn compaction_ends_and_keeps_its_word(
        pinned in 0_usize..3_000,
        sizes in proptest::collection::vec(0_usize..6_000, 0..20),
        keep in 1_usize..8,
        most in 0_u64..4_000,
        summarises in proptest::bool::ANY,
    ) {
        let mut window = Window::default();
        window.add_message(Message::user("g".repeat(pinned)));
        for (turn, size) in (0..).zip(&sizes) {
            exchange(&mut window, turn * 2 + 1, *size);
        }
        let bounds = Bounds {
            beside: 30,
            target: most / 5 * 3,
            most,
            keep,
            summary: summarises.then_some((most / 8).max(16)),
        };
        for round in 0.. {
            proptest::prop_assert!(round < 12, "it does not end");
            let opened = match window.plan(&bounds) {
                Plan::Open(opened) => opened,
                Plan::Summarise { keep_from } => SegmentOpened::new(keep_from, SegmentChange::Summarised),
                Plan::Send => {
                    proptest::prop_assert!(window.tokens() + 30 <= most);
                    break;
                }
                Plan::TooLarge => {
                    proptest::prop_assert!(window.tokens() + 30 > most);
                    break;
                }
            };
            window.compact(&opened, Some("it went well"), &BTreeMap::new());
            is_whole(&window);
            proptest::prop_assert_eq!(window.tokens(), added_up(&window));
        }
    }
}

#[test]
fn images_count_and_go_with_the_results_that_hold_them() {
    let image = |n: u32| Media {
        media_type: "image/png".into(),
        digest: format!("{n:064}"),
        bytes: 9,
    };
    let shown = |window: &Window| -> Vec<usize> {
        let images = |message: &Arc<Message>| match &**message {
            Message::Tool { images, .. } => Some(images.len()),
            _ => None,
        };
        window.messages().iter().filter_map(images).collect()
    };
    let with_images = || {
        let mut window = filled();
        let before = window.tokens();
        for message in &mut window.messages {
            if let Message::Tool { images, step, .. } = Arc::make_mut(message) {
                images.push(image(step.0));
            }
        }
        window.rewrite(|_, _| {});
        window.tokens = window.marks.iter().map(|mark| mark.tokens).sum();
        assert_eq!(window.tokens(), before + 10 * estimate::IMAGE_TOKENS);
        window
    };
    let kept = BTreeMap::new();
    let mut window = with_images();
    let opened = SegmentOpened::new(StepId(15), SegmentChange::Cleared);
    window.compact(&opened, None, &kept);
    assert_eq!(shown(&window), [0, 0, 0, 0, 0, 0, 0, 1, 1, 1]);
    assert_eq!(added_up(&window), window.tokens());

    // One that is cut to so little loses its image before its text.
    let opened = SegmentOpened::new(StepId(19), SegmentChange::Truncated { max_bytes: 1_000 });
    window.compact(&opened, None, &kept);
    assert_eq!(shown(&window).last(), Some(&0));
    let Message::Tool { content, .. } = &**window.messages().last().unwrap() else {
        panic!("a result")
    };
    assert!(content.starts_with(&"x".repeat(400)), "{content}");
    assert!(content.contains("images are left out"), "{content}");
}
