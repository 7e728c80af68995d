//! Answers that ask for calls and are not whole: withheld by the provider, or cut at the output limit.

use std::sync::Arc;

use agentkit::{
    Event,
    drive::{MemoryRecorder, Stop},
    event::{FinishReason, GateDecision, ToolCalled},
    model::{Response, ResponseCall},
    run::Limits,
};
use serde_json::json;

use crate::chain::{CannedModel, agent, calls, run, said};

fn withheld() -> Response {
    Response {
        finish: FinishReason::ContentFilter,
        ..calls()
    }
}

/// An answer that was cut within the arguments of its call.
fn cut(arguments: &str) -> Response {
    Response {
        calls: vec![ResponseCall {
            provider_id: String::new(),
            name: "look".to_owned(),
            arguments: arguments.to_owned(),
        }],
        finish: FinishReason::Length,
        ..said("")
    }
}

/// The codes of the calls that were refused.
fn refusals(log: &MemoryRecorder) -> Vec<(String, String)> {
    let events = log.events().into_iter();
    events
        .filter_map(|event| match event {
            Event::ToolCalled(ToolCalled {
                decision: GateDecision::Refuse { error },
                ..
            }) => Some((error.code, error.message)),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn calls_of_an_answer_that_was_withheld_do_not_run() {
    let one = || CannedModel::new("a/one", vec![Ok(withheld()), Ok(said("done"))]);
    let two = || CannedModel::new("b/two", vec![Ok(withheld()), Ok(said("done"))]);
    for models in [vec![one()], vec![one(), two()]] {
        let log = Arc::new(MemoryRecorder::default());
        let chain: Vec<&Arc<CannedModel>> = models.iter().collect();
        let stop = run(&agent(&chain, Limits::default()), &log).await;
        let Stop::Failed(failure) = stop else {
            panic!("{stop:?}")
        };
        assert_eq!(
            (failure.code.as_str(), failure.retryable),
            ("model_content_filter", false)
        );
        let events = log.events();
        let is_call = |event: &Event| matches!(event, Event::ToolCalled(_) | Event::ToolStarted(_));
        assert!(!events.iter().any(is_call), "{events:?}");
        for model in &models {
            assert_eq!(model.asked(), 1);
        }
        let charged = events.iter().filter_map(|event| match event {
            Event::ModelFailed(failed) => Some(failed.charged_tokens),
            _ => None,
        });
        assert!(
            charged.eq(vec![15; models.len()]),
            "what was used is charged"
        );
    }
    // The next model goes on, and its calls run.
    let (one, two) = (
        one(),
        CannedModel::new("b/two", vec![Ok(calls()), Ok(said("done"))]),
    );
    let log = Arc::new(MemoryRecorder::default());
    let stop = run(&agent(&[&one, &two], Limits::default()), &log).await;
    assert_eq!(stop, Stop::Completed(json!("done")));
    assert_eq!((one.asked(), two.asked()), (1, 2));
}

#[tokio::test]
async fn a_call_that_was_cut_is_told_so_and_not_that_it_is_bad_json() {
    for arguments in [
        "",
        "{\"content\": \"once upon",
        "{\"a\": [1, 2",
        "{\"a\": tr",
    ] {
        let one = CannedModel::new("a/one", vec![Ok(cut(arguments)), Ok(said("done"))]);
        let log = Arc::new(MemoryRecorder::default());
        let stop = run(&agent(&[&one], Limits::default()), &log).await;
        assert_eq!(stop, Stop::Completed(json!("done")), "{arguments}");
        let refusals = refusals(&log);
        let [(code, message)] = &refusals[..] else {
            panic!("{arguments}: {refusals:?}")
        };
        assert_eq!(code, "invalid_arguments");
        assert!(
            message.contains("cut at its output limit") && message.contains("pieces"),
            "{arguments}: {message}"
        );
    }
    // Whole arguments run, and mistakes that no limit made are told as what they are.
    let whole = CannedModel::new(
        "a/one",
        vec![Ok(cut("{}")), Ok(cut("{]")), Ok(said("done"))],
    );
    let log = Arc::new(MemoryRecorder::default());
    let stop = run(&agent(&[&whole], Limits::default()), &log).await;
    assert_eq!(stop, Stop::Completed(json!("done")));
    let refusals = refusals(&log);
    assert_eq!(refusals.len(), 1);
    assert!(refusals[0].1.contains("not valid JSON"), "{refusals:?}");
}

#[tokio::test]
async fn answers_that_are_cut_again_and_again_end_as_such() {
    let answers = (0..9).map(|_| Ok(cut("{\"content\": \"once"))).collect();
    let one = CannedModel::new("a/one", answers);
    let log = Arc::new(MemoryRecorder::default());
    let stop = run(&agent(&[&one], Limits::default()), &log).await;
    let Stop::Failed(failure) = stop else {
        panic!("{stop:?}")
    };
    assert_eq!(failure.code, "answer_cut");
    assert!(failure.message.contains("max_output_tokens"), "{failure}");
    // Other answers of no use are that.
    let answers = (0..9).map(|_| Ok(cut("{]"))).collect::<Vec<_>>();
    let bad = answers.into_iter().map(|answer| {
        answer.map(|answer| Response {
            finish: FinishReason::ToolCalls,
            ..answer
        })
    });
    let one = CannedModel::new("a/one", bad.collect());
    let log = Arc::new(MemoryRecorder::default());
    let stop = run(&agent(&[&one], Limits::default()), &log).await;
    let Stop::Failed(failure) = stop else {
        panic!("{stop:?}")
    };
    assert_eq!(failure.code, "model_unusable");
}
