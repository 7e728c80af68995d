//! The functions of an expression, by name.

use super::{
    Problem,
    number::{self, Number, Work},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Sum,
    Avg,
    Min,
    Max,
    Abs,
    Sqrt,
    Floor,
    Ceil,
    Round,
    Mod,
    Pow,
    Exp,
    Ln,
    Log,
    Log2,
    Log10,
}

impl Function {
    const ALL: [(Self, &str); 16] = [
        (Self::Sum, "sum"),
        (Self::Avg, "avg"),
        (Self::Min, "min"),
        (Self::Max, "max"),
        (Self::Abs, "abs"),
        (Self::Sqrt, "sqrt"),
        (Self::Floor, "floor"),
        (Self::Ceil, "ceil"),
        (Self::Round, "round"),
        (Self::Mod, "mod"),
        (Self::Pow, "pow"),
        (Self::Exp, "exp"),
        (Self::Ln, "ln"),
        (Self::Log, "log"),
        (Self::Log2, "log2"),
        (Self::Log10, "log10"),
    ];

    pub(super) fn named(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|(_, known)| known.eq_ignore_ascii_case(name))
            .map(|(function, _)| function)
    }

    pub(super) fn names() -> String {
        Self::ALL.map(|(_, name)| name).join(", ")
    }

    /// The value for one or more arguments.
    pub(super) fn apply(self, values: &[Number], work: &mut Work) -> Result<Number, Problem> {
        match (self, values) {
            (Self::Sum, _) => sum(values, work),
            (Self::Avg, _) => {
                number::divide(&sum(values, work)?, &Number::whole(values.len()), work)
            }
            (Self::Min, _) => extreme(values, |value, best| value.is_less(best)),
            (Self::Max, _) => extreme(values, |value, best| best.is_less(value)),
            (Self::Abs, [value]) => Ok(value.clone().absolute()),
            (Self::Sqrt, [value]) => number::square_root(value, work),
            (Self::Floor, [value]) => number::floor(value),
            (Self::Ceil, [value]) => number::ceil(value),
            (Self::Round, [value]) => number::round(value, &Number::whole(0), work),
            (Self::Round, [value, places]) => number::round(value, places, work),
            (Self::Mod, [value, divisor]) => number::remainder(value, divisor, work),
            (Self::Pow, [base, exponent]) => number::power(base, exponent, work),
            (Self::Exp, [value]) => number::exponential(value, work),
            (Self::Ln, [value]) => number::ln(value, work),
            (Self::Log, [value, base]) => number::logarithm(value, base, work),
            (Self::Log2, [value]) => number::logarithm(value, &Number::whole(2), work),
            (Self::Log10, [value]) => number::logarithm(value, &Number::whole(10), work),
            (Self::Log, [_]) => Err(Problem::Syntax(
                "log of one value can mean two things: write ln(x), log10(x) or log(x, base)"
                    .to_owned(),
            )),
            (
                Self::Abs
                | Self::Sqrt
                | Self::Floor
                | Self::Ceil
                | Self::Round
                | Self::Mod
                | Self::Pow
                | Self::Exp
                | Self::Ln
                | Self::Log
                | Self::Log2
                | Self::Log10,
                _,
            ) => Err(self.miscounted(values.len())),
        }
    }

    fn miscounted(self, count: usize) -> Problem {
        let wanted = match self {
            Self::Round => "a value and a number of places",
            Self::Mod => "a value and a divisor",
            Self::Pow => "a base and an exponent",
            Self::Log => "a value and a base",
            Self::Sum | Self::Avg | Self::Min | Self::Max => "one value or more",
            Self::Abs
            | Self::Sqrt
            | Self::Floor
            | Self::Ceil
            | Self::Exp
            | Self::Ln
            | Self::Log2
            | Self::Log10 => "one value",
        };
        let named = Self::ALL
            .into_iter()
            .find(|(function, _)| *function == self);
        let name = named.map_or("it", |(_, name)| name);
        Problem::Syntax(format!("{name} takes {wanted}, not {count} values"))
    }
}

fn sum(values: &[Number], work: &mut Work) -> Result<Number, Problem> {
    let mut sum = Number::whole(0);
    for value in values {
        sum = number::add(&sum, value, work)?;
    }
    Ok(sum)
}

fn extreme(
    values: &[Number],
    better: impl Fn(&Number, &Number) -> bool,
) -> Result<Number, Problem> {
    let mut values = values.iter();
    let first = values
        .next()
        .ok_or(Problem::Undefined("it takes at least one value"))?;
    let best = values.fold(
        first,
        |best, value| if better(value, best) { value } else { best },
    );
    Ok(best.clone())
}
