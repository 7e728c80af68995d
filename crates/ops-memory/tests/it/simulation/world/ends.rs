//! The end of a history: the faults stop, and every task must end.

use ops_core::{
    Actor, TaskAction,
    ports::{RunStore as _, TaskStore as _, UpkeepStore as _},
};

use super::{SECOND, World, append::mark_of, now};

/// Rounds of five seconds until all tasks must have ended.
const ROUNDS: u32 = 2_000;

impl World {
    pub(super) fn drain(&mut self) {
        self.has_faults = false;
        for worker in &mut self.workers {
            worker.is_frozen = false;
        }
        for round in 0.. {
            self.clock.pass(5 * SECOND);
            for index in 0..self.workers.len() {
                self.beat(index);
            }
            self.keep_up();
            self.resume_all();
            for index in 0..self.workers.len() {
                self.claim(index);
                for _ in 0..16 {
                    self.work(index);
                }
            }
            let ended = self
                .plans
                .iter()
                .all(|(task, plan)| self.life(plan.tenant, *task).state.name().is_terminal());
            if ended {
                break;
            }
            assert!(round < ROUNDS, "tasks do not end: {:?}", self.states());
        }
        for (task, plan) in &self.plans {
            let log = now(self.store.log(plan.tenant, *task, 0, 10_000)).unwrap();
            let log: Vec<_> = log
                .iter()
                .map(|stored| (stored.seq, mark_of(&stored.event), stored.at))
                .collect();
            self.oracle.check_log(*task, &log);
        }
        assert_eq!(self.oracle.tasks.len(), self.plans.len());
        assert!(now(self.store.ready_queues()).unwrap().is_empty());
    }

    fn resume_all(&mut self) {
        for (task, plan) in &self.plans {
            let resume = TaskAction::Resume.by(Actor::Local);
            let _ = now(self.store.command(plan.tenant, *task, resume));
        }
    }

    fn states(&self) -> Vec<String> {
        let lives = self
            .plans
            .iter()
            .map(|(task, plan)| self.life(plan.tenant, *task));
        lives.map(|life| format!("{:?}", life.state)).collect()
    }
}
