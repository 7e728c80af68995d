//! What an evaluation found, for people and for programs.

use agentkit::Definition;
use serde_json::{Value, json};

use super::{
    file::Case,
    run::{CaseRun, Counted, Outcome},
    transcript::Step,
};
use crate::output::{self, Table, show};

/// One case on the version, and on the one that it is compared with.
pub(crate) struct Line<'a> {
    pub(crate) case: &'a Case,
    pub(crate) outcome: Outcome,
    pub(crate) baseline: Option<Outcome>,
}

/// A whole evaluation.
pub(crate) struct Report<'a> {
    pub(crate) agent: &'a Definition,
    pub(crate) baseline: Option<&'a Definition>,
    pub(crate) lines: Vec<Line<'a>>,
    /// Whether the steps of runs are shown.
    pub(crate) transcript: bool,
}

impl Line<'_> {
    /// Whether it holds no more.
    fn regressed(&self) -> bool {
        !self.outcome.passed() && self.baseline.as_ref().is_some_and(Outcome::passed)
    }

    /// The verdict with the number of runs that hold, of a case with several.
    fn shown_verdict(&self) -> String {
        match self.outcome.runs.len() {
            1 => self.verdict().to_owned(),
            runs => format!("{} ({} of {runs})", self.verdict(), self.outcome.held()),
        }
    }

    fn verdict(&self) -> &'static str {
        match (self.outcome.passed(), &self.baseline) {
            (true, Some(baseline)) if !baseline.passed() => "better",
            (true, _) => "ok",
            (false, _) if self.regressed() => "REGRESSION",
            (false, _) => "FAILED",
        }
    }
}

impl Report<'_> {
    fn regressions(&self) -> usize {
        self.lines.iter().filter(|line| line.regressed()).count()
    }

    fn failed(&self) -> usize {
        let failed = self.lines.iter().filter(|line| !line.outcome.passed());
        failed.count()
    }

    /// Whether the version is good enough: as good as the other one, or all right by itself.
    pub(crate) fn passed(&self) -> bool {
        match self.baseline {
            Some(_) => self.regressions() == 0,
            None => self.failed() == 0,
        }
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let cases = self.lines.iter().map(|line| {
            let shown = |one: &Outcome| outcome(one, self.transcript);
            let mut case = shown(&line.outcome);
            case["name"] = line.case.name.as_str().into();
            case["verdict"] = line.verdict().to_lowercase().into();
            case["baseline"] = line.baseline.as_ref().map_or(Value::Null, shown);
            case
        });
        json!({
            "agent": {"name": self.agent.name, "digest": self.agent.digest()},
            "baseline": self.baseline.map(|other| json!({
                "name": other.name, "digest": other.digest(),
            })),
            "cases": cases.collect::<Vec<_>>(),
            "failed": self.failed(),
            "regressions": self.regressions(),
            "passed": self.passed(),
        })
    }

    /// For people.
    pub(crate) fn print(&self) {
        let version = |definition: &Definition| {
            let digest = definition.digest();
            format!("{} ({})", definition.name, &digest[..12])
        };
        show!("agent     {}", version(self.agent));
        if let Some(baseline) = self.baseline {
            show!("baseline  {}", version(baseline));
        }
        show!();
        let mut table = Table::new(&["CASE", "VERDICT", "STEPS", "TOKENS", "USD", "DIVERGED"]);
        let both = |line: &Line<'_>, show: fn(&Outcome) -> String| match &line.baseline {
            Some(baseline) => format!("{} -> {}", show(baseline), show(&line.outcome)),
            None => show(&line.outcome),
        };
        for line in &self.lines {
            table.add_row([
                line.case.name.clone(),
                line.shown_verdict(),
                both(line, |one| one.counted().steps.to_string()),
                both(line, |one| one.counted().tokens.to_string()),
                both(line, |one| format!("{:.4}", one.counted().usd())),
                both(line, |one| one.shown().divergences.len().to_string()),
            ]);
        }
        table.print();
        for line in self.lines.iter().filter(|line| !line.outcome.passed()) {
            show!("\n{}", line.case.name);
            let shown = line.outcome.shown();
            for failure in &shown.failures {
                show!("  {failure}");
            }
            for divergence in &shown.divergences {
                let arguments = output::cut(&divergence.arguments.to_string(), 120);
                show!("  not made: {}({arguments})", divergence.tool);
            }
            if self.transcript {
                for step in &shown.transcript {
                    show!("{}", step.line());
                }
            }
        }
        let (cases, failed) = (self.lines.len(), self.failed());
        match self.baseline {
            Some(_) => show!(
                "\n{cases} cases, {failed} failed, {} worse than the baseline",
                self.regressions()
            ),
            None => show!("\n{cases} cases, {failed} failed"),
        }
        let mut judging = Counted::default();
        for line in &self.lines {
            let outcomes = std::iter::once(&line.outcome).chain(&line.baseline);
            outcomes.for_each(|one| judging.add(&one.judging()));
        }
        if judging.steps > 0 {
            let (tokens, usd) = (judging.tokens, judging.usd());
            show!("judging took {tokens} tokens, {usd:.4} USD");
        }
    }
}

fn outcome(outcome: &Outcome, transcript: bool) -> Value {
    let run = |one: &CaseRun| run(one, transcript);
    let (shown, counted, judging) = (outcome.shown(), outcome.counted(), outcome.judging());
    let mut whole = run(shown);
    whole["passed"] = outcome.passed().into();
    whole["held"] = outcome.held().into();
    whole["pass_rate"] = outcome.pass_rate.into();
    whole["steps"] = counted.steps.into();
    whole["tokens"] = counted.tokens.into();
    whole["cost_usd"] = counted.usd().into();
    whole["judge_tokens"] = judging.tokens.into();
    whole["judge_cost_usd"] = judging.usd().into();
    whole["runs"] = outcome.runs.iter().map(run).collect();
    whole
}

fn run(run: &CaseRun, transcript: bool) -> Value {
    let divergences = run.divergences.iter();
    let divergences: Vec<Value> = divergences
        .map(|one| json!({"tool": one.tool, "arguments": one.arguments}))
        .collect();
    let judgements = run.judgements.iter();
    let judgements: Vec<Value> = judgements
        .map(|one| json!({"statement": one.statement, "holds": one.holds, "reason": one.reason}))
        .collect();
    let mut shown = json!({
        "passed": run.holds(),
        "failures": run.failures,
        "answer": run.answer,
        "steps": run.counted.steps,
        "tokens": run.counted.tokens,
        "cost_usd": run.counted.usd(),
        "divergences": divergences,
        "judgements": judgements,
    });
    if transcript {
        shown["transcript"] = run.transcript.iter().map(Step::json).collect();
    }
    shown
}
