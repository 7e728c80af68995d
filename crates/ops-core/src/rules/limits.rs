//! What the limits of a task come to.

use crate::task::TaskLimits;

/// Limits laid over others: those that are named replace the ones below.
#[must_use]
pub fn lay_over(new: TaskLimits, below: TaskLimits) -> TaskLimits {
    TaskLimits {
        max_steps: new.max_steps.or(below.max_steps),
        max_tokens: new.max_tokens.or(below.max_tokens),
        max_cost_micros: new.max_cost_micros.or(below.max_cost_micros),
        timeout_micros: new.timeout_micros.or(below.timeout_micros),
        on_exhausted: new.on_exhausted.or(below.on_exhausted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::OnExhausted;

    #[test]
    fn limits_that_are_named_replace_the_ones_below() {
        let below = TaskLimits {
            max_steps: Some(1),
            max_tokens: Some(2),
            on_exhausted: Some(OnExhausted::Fail),
            ..TaskLimits::default()
        };
        let new = TaskLimits {
            max_steps: Some(9),
            timeout_micros: Some(5),
            on_exhausted: Some(OnExhausted::Wait),
            ..TaskLimits::default()
        };
        let laid = lay_over(new, below);
        assert_eq!((laid.max_steps, laid.max_tokens), (Some(9), Some(2)));
        assert_eq!(laid.timeout_micros, Some(5));
        assert_eq!(laid.on_exhausted, Some(OnExhausted::Wait));
        assert_eq!(lay_over(TaskLimits::default(), below), below);
    }
}
