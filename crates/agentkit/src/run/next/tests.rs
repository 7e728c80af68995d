use super::*;
use crate::{
    Agent, Event,
    event::{ModelStarted, RunStarted},
    model::{Prices, scripted::Scripted},
    planner::React,
    run::{Limits, PinnedModel},
};

/// A run whose first model call is lost, with this reservation.
fn lost(limits: Limits, tokens: u64, cost_micros: u64) -> Run {
    let model = Scripted::parse("[[turn]]\nanswer = 'x'").unwrap();
    let agent = Agent::builder(model).limits(limits).build().unwrap();
    let mut config = agent.config().clone();
    let name = config.model.clone();
    config.models = vec![PinnedModel {
        name: name.clone(),
        context_tokens: None,
        max_output_tokens: None,
        // A micro-USD a token.
        prices: vec![Prices {
            up_to: None,
            input: 1_000_000,
            cached_input: None,
            cache_write: None,
            output: 1_000_000,
        }],
    }];
    let events = [
        Event::RunStarted(RunStarted {
            goal: "go".to_owned(),
            images: Vec::new(),
            config,
        }),
        Event::ModelStarted(ModelStarted {
            step: StepId(1),
            attempt: 1,
            name,
            reserved_tokens: tokens,
            reserved_cost_micros: cost_micros,
            purpose: Purpose::Turn,
        }),
    ];
    let mut run = Run::default();
    for event in events {
        run.apply(&event).unwrap();
    }
    run
}

/// tests/X5: a budget holds although the call that is made again may have been served.
#[test]
fn a_lost_call_s_reservation_counts_before_the_next_call() {
    let tokens = |most| Limits {
        max_tokens: Some(most),
        ..Limits::default()
    };
    let cost = |most| Limits {
        max_cost_micros: Some(most),
        ..Limits::default()
    };
    for (limits, code) in [(tokens(1_000), "token_limit"), (cost(2_000), "cost_limit")] {
        let Next::CallModel {
            step,
            attempt,
            reserved_tokens,
            reserved_cost_micros,
            ..
        } = lost(limits.clone(), 900, 1_900).next(&React, 0)
        else {
            panic!("what is left is enough for a call")
        };
        assert_eq!((step, attempt), (StepId(1), 2));
        match limits.max_tokens {
            Some(_) => assert_eq!(reserved_tokens, 100),
            None => assert!(reserved_cost_micros <= 100, "{reserved_cost_micros}"),
        }
        let next = lost(limits, 1_000, 2_000).next(&React, 0);
        let Next::Done(Outcome::Failed(failure)) = next else {
            panic!("nothing is left: {next:?}")
        };
        assert_eq!(failure.code, code);
    }
}
