//! What the tasks of these tests do.

use serde_json::{Value, json};

/// A source of luck that a seed decides (splitmix64).
pub(super) struct Luck(pub(super) u64);

impl Luck {
    /// A number below `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((x ^ (x >> 31)) % end as u64).expect("less than a usize")
    }

    /// Brings a list into another order.
    pub(super) fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            list.swap(last, self.below(last + 1));
        }
    }
}

/// A tool call of a plan; its key is unique.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) tool: &'static str,
    pub(super) key: String,
}

/// A task: what it is called, and what the model stub makes it do.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// Its name, its idempotency key, and the conversation in the stub's log.
    pub(super) name: String,
    /// Turn i makes these calls; after the last comes the answer.
    pub(super) turns: Vec<Vec<Call>>,
}

impl Job {
    /// One tool call a turn.
    pub(super) fn sequence(name: &str, tools: &[&'static str]) -> Self {
        let turns = tools.iter().map(|tool| vec![*tool]).collect();
        Self::of(name, turns)
    }

    /// A task of at least ten steps: five model calls and six tool calls, three of them at once, or six
    /// and five, one after the other.
    pub(super) fn mixed(index: usize, luck: &mut Luck) -> Self {
        let mut turns = vec![
            vec!["ledger_write"],
            vec!["ledger_write"],
            vec!["ledger_pure"],
        ];
        if index.is_multiple_of(4) {
            turns.push(vec!["ledger_pure", "ledger_idempotent", "ledger_keyed"]);
        } else {
            turns.push(vec!["ledger_keyed"]);
            turns.push(vec![
                ["ledger_write", "ledger_pure", "ledger_idempotent"][luck.below(3)],
            ]);
        }
        luck.shuffle(&mut turns);
        Self::of(&format!("task-{index:03}"), turns)
    }

    /// These tool calls, turn by turn.
    pub(super) fn of(name: &str, turns: Vec<Vec<&'static str>>) -> Self {
        let call = |turn: usize, index: usize, tool| Call {
            tool,
            key: format!("{name}/{turn}/{index}"),
        };
        let turns = turns.into_iter().enumerate().map(|(turn, tools)| {
            let calls = tools.into_iter().enumerate();
            calls.map(|(index, tool)| call(turn, index, tool)).collect()
        });
        Self {
            name: name.to_owned(),
            turns: turns.collect(),
        }
    }

    /// What the task answers.
    pub(super) fn answer(&self) -> String {
        format!("the end of {}", self.name)
    }

    /// The call with this key, and how many calls its turn makes.
    pub(super) fn find(&self, key: &str) -> Option<(&Call, usize)> {
        let calls = self
            .turns
            .iter()
            .flat_map(|turn| turn.iter().map(move |call| (call, turn.len())));
        calls.into_iter().find(|(call, _)| call.key == key)
    }

    /// The body of its submit.
    pub(super) fn body(&self) -> Value {
        let call = |call: &Call| json!({"tool": call.tool, "arguments": {"key": call.key}});
        let turns: Vec<Vec<Value>> = self
            .turns
            .iter()
            .map(|turn| turn.iter().map(call).collect())
            .collect();
        let plan = json!({"key": self.name, "plan": turns, "answer": self.answer()});
        json!({"task_type": "agent_run", "name": self.name,
            "input_data": {"goal": plan.to_string()}})
    }
}
