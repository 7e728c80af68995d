//! Compares the wall clock with a clock that never steps: whether the wall clock was set, and in which
//! direction.
//!
//! Dates are times of the wall clock. When the clock is set forward, a date may be due at once; when the
//! clock is set back, dates that were made under the old time may be due far too late.

use ops_core::{Micros, ports::Clock, time::SECOND};

/// The clock was set if it shows so much less or more than it would have to.
const STEP: i64 = SECOND;

/// Both clocks at the time of a look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    wall: Micros,
    boot: i64,
}

impl Look {
    pub(crate) fn at(clock: &dyn Clock) -> Self {
        Self {
            wall: clock.now(),
            boot: clock.boot_micros(),
        }
    }

    /// Whether the clock was set back between two looks.
    pub(crate) fn was_set_back(self, later: Self) -> bool {
        self.stepped(later) < -STEP
    }

    /// The look at which the wall clock was further ahead of the other clock.
    pub(crate) fn further_ahead(self, other: Self) -> Self {
        if other.stepped(self) >= 0 {
            self
        } else {
            other
        }
    }

    /// Whether the clock was set between two looks.
    pub(crate) fn was_set(self, later: Self) -> bool {
        self.stepped(later).saturating_abs() > STEP
    }

    /// How much more has passed by the wall clock.
    fn stepped(self, later: Self) -> i64 {
        let passed = later.boot.saturating_sub(self.boot);
        let shown = later.wall.0.saturating_sub(self.wall.0);
        shown.saturating_sub(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_look_of_the_clock_that_was_ahead_is_kept() {
        let look = |wall, boot| Look {
            wall: Micros(wall),
            boot,
        };
        let (usual, later, ahead) = (look(100, 7), look(120, 27), look(9_000, 9));
        assert_eq!(usual.further_ahead(ahead).wall, Micros(9_000));
        assert_eq!(ahead.further_ahead(later).wall, Micros(9_000));
        assert_eq!(later.further_ahead(usual).wall, Micros(120));
    }

    #[test]
    fn a_clock_that_goes_on_or_slips_was_not_set() {
        let look = |wall, boot| Look {
            wall: Micros(wall),
            boot,
        };
        let first = look(100 * SECOND, 7 * SECOND);
        for (wall, boot, set, back) in [
            (160, 67, false, false),
            // It slips by a second.
            (160, 68, false, false),
            (160, 66, false, false),
            (9_000, 67, true, false),
            (162, 67, true, false),
            // A suspended machine: the boot clock goes on.
            (4_000, 3_907, false, false),
            (158, 67, true, true),
            (90, 8, true, true),
        ] {
            let later = look(wall * SECOND, boot * SECOND);
            assert_eq!(first.was_set_back(later), back, "{wall} {boot}");
            assert_eq!(first.was_set(later), set, "{wall} {boot}");
        }
    }
}
