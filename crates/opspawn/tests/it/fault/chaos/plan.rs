//! How much of each fault there is.

use std::fmt;

use crate::fault::plan::Luck;

/// The variable with another plan, for instance `seed=7,tasks=2000,kills=500`.
const VARIABLE: &str = "OPSPAWN_CHAOS";

/// How many tasks there are, and how many faults of each kind.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) tasks: usize,
    pub(super) kills: usize,
    pub(super) database_restarts: usize,
    pub(super) broker_restarts: usize,
    pub(super) freezes: usize,
    /// How often all connections to the database are cut.
    pub(super) cuts: usize,
}

/// A fault of one process.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Kill,
    /// It stands still for longer than its leases hold.
    Freeze,
}

impl Plan {
    /// The plan of the variable, or the small one of the test suite.
    pub(super) fn from_env() -> Self {
        let mut plan = Self {
            seed: 20_261_201,
            tasks: 40,
            kills: 10,
            database_restarts: 2,
            broker_restarts: 1,
            freezes: 3,
            cuts: 2,
        };
        let text = std::env::var(VARIABLE).unwrap_or_default();
        for pair in text.split(',').filter(|pair| !pair.is_empty()) {
            let (name, number) = pair
                .split_once('=')
                .expect("a plan is written `name=number`");
            let number: usize = number.parse().expect("a plan holds numbers");
            match name {
                "seed" => plan.seed = number as u64,
                "tasks" => plan.tasks = number,
                "kills" => plan.kills = number,
                "database_restarts" => plan.database_restarts = number,
                "broker_restarts" => plan.broker_restarts = number,
                "freezes" => plan.freezes = number,
                "cuts" => plan.cuts = number,
                other => panic!("{VARIABLE} knows no `{other}`"),
            }
        }
        plan
    }

    /// All faults.
    pub(super) fn faults(&self) -> usize {
        self.kills + self.database_restarts + self.broker_restarts + self.freezes + self.cuts
    }

    /// Deals kills and freezes to so many processes.
    pub(super) fn decks(&self, processes: usize, luck: &mut Luck) -> Vec<Vec<Fault>> {
        let kills = std::iter::repeat_n(Fault::Kill, self.kills);
        let freezes = std::iter::repeat_n(Fault::Freeze, self.freezes);
        let mut deck: Vec<Fault> = kills.chain(freezes).collect();
        luck.shuffle(&mut deck);
        let mut decks = vec![Vec::new(); processes];
        for (index, fault) in deck.into_iter().enumerate() {
            decks[index % processes].push(fault);
        }
        decks
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "seed={},tasks={},kills={},database_restarts={},broker_restarts={},freezes={},cuts={}",
            self.seed,
            self.tasks,
            self.kills,
            self.database_restarts,
            self.broker_restarts,
            self.freezes,
            self.cuts
        )
    }
}
