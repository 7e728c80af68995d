//! Exact arithmetic with fractions, and what becomes of it where a value has no exact form.

use dashu_int::{
    IBig, UBig,
    ops::{BitTest as _, EstimatedLog2 as _, UnsignedAbs as _},
};
use dashu_ratio::RBig;

use super::{
    Problem,
    near::{MAX_MAGNITUDE, Near},
};

/// A fraction whose parts have more bits is no longer kept exactly: about 4,900 digits.
const MAX_BITS: usize = 16 * 1024;
/// The most places that numbers are rounded to.
const MAX_PLACES: i64 = 1000;
/// Roots up to this root are looked for among the fractions.
const MAX_ROOT: usize = 1000;
/// What is made with words of 64 bits before a calculation is given up: a few seconds.
const MAX_WORK: u64 = 1 << 31;
/// Cost of a root, a logarithm or a power of a value that is not exact.
const FUNCTION: u64 = 100_000;

type Result<T> = std::result::Result<T, Problem>;

/// A number: exactly, or up to an error.
#[derive(Debug, Clone)]
pub(super) enum Number {
    Exact(RBig),
    Near(Near),
}

/// Work that is left for a calculation.
#[derive(Debug)]
pub(super) struct Work(u64);

impl Work {
    pub(super) fn new() -> Self {
        Self(MAX_WORK)
    }

    fn spend(&mut self, cost: u64) -> Result<()> {
        self.0 = self.0.checked_sub(cost).ok_or(Problem::TooLong)?;
        Ok(())
    }

    /// An operation on two fractions: products of their parts, and a common divisor.
    fn fractions(&mut self, a: &RBig, b: &RBig) -> Result<()> {
        let words = |value: &RBig| {
            let bits = value.numerator().bit_len() + value.denominator().bit_len();
            bits as u64 / 64 + 1
        };
        let words = words(a) + words(b);
        self.spend(words * words)
    }
}

impl Number {
    pub(super) fn whole(value: impl Into<IBig>) -> Self {
        Self::Exact(RBig::from(value.into()))
    }

    fn near(&self) -> Near {
        match self {
            Self::Exact(value) => Near::to(value),
            Self::Near(near) => near.clone(),
        }
    }

    fn is_negative(&self) -> bool {
        match self {
            Self::Exact(value) => *value < RBig::ZERO,
            Self::Near(near) => near.is_negative(),
        }
    }

    pub(super) fn negated(self) -> Self {
        match self {
            Self::Exact(value) => Self::Exact(-value),
            Self::Near(near) => Self::Near(near.negated()),
        }
    }

    pub(super) fn absolute(self) -> Self {
        if self.is_negative() {
            self.negated()
        } else {
            self
        }
    }

    pub(super) fn is_less(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(a), Self::Exact(b)) => a < b,
            (a, b) => a.near().middle() < b.near().middle(),
        }
    }
}

/// Reads `12`, `1.5`, `.5`, `5.` or `1.2e-3` exactly. The parts hold digits only.
pub(super) fn literal(whole: &str, fraction: &str, exponent: i64) -> Result<Number> {
    if whole.len() > 1 && whole.starts_with('0') {
        let problem = "a number begins with 0; thousands separators are not accepted";
        return Err(Problem::Syntax(problem.to_owned()));
    }
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Ok(Number::Exact(RBig::ZERO));
    }
    let exponent = exponent.saturating_sub(fraction.len() as i64);
    let size = exponent.saturating_add(digits.len() as i64);
    if size as f64 > MAX_MAGNITUDE + 1.0 {
        return Err(Problem::TooLarge);
    }
    if (size as f64) < -MAX_MAGNITUDE {
        return Err(Problem::TooSmall);
    }
    let digits: IBig = digits
        .parse()
        .map_err(|_| Problem::Syntax("a number cannot be read".to_owned()))?;
    let power = power_of_ten(exponent.unsigned_abs());
    kept(if exponent < 0 {
        RBig::from_parts(digits, power)
    } else {
        RBig::from(digits * IBig::from(power))
    })
}

/// A fraction, or what is near it if its parts are too long.
fn kept(value: RBig) -> Result<Number> {
    let bits = value
        .numerator()
        .bit_len()
        .max(value.denominator().bit_len());
    if bits <= MAX_BITS {
        return Ok(Number::Exact(value));
    }
    // Whether it is too large or too small is told like for any other.
    let near = Near::to(&value);
    near.multiply(&Near::to(&RBig::ONE)).map(Number::Near)
}

fn power_of_ten(exponent: u64) -> UBig {
    // Never more than the digits of an expression and the largest magnitude together.
    UBig::from(10_u8).pow(usize::try_from(exponent).unwrap_or(usize::MAX))
}

pub(super) fn add(a: &Number, b: &Number, work: &mut Work) -> Result<Number> {
    match (a, b) {
        (Number::Exact(a), Number::Exact(b)) => {
            work.fractions(a, b)?;
            kept(a + b)
        }
        (a, b) => a.near().add(&b.near()).map(Number::Near),
    }
}

pub(super) fn subtract(a: &Number, b: &Number, work: &mut Work) -> Result<Number> {
    add(a, &b.clone().negated(), work)
}

pub(super) fn multiply(a: &Number, b: &Number, work: &mut Work) -> Result<Number> {
    match (a, b) {
        (Number::Exact(a), Number::Exact(b)) => {
            work.fractions(a, b)?;
            kept(a * b)
        }
        // Zero is exact whatever the other is.
        (Number::Exact(zero), Number::Near(_)) | (Number::Near(_), Number::Exact(zero))
            if zero.is_zero() =>
        {
            Ok(Number::Exact(RBig::ZERO))
        }
        (a, b) => a.near().multiply(&b.near()).map(Number::Near),
    }
}

pub(super) fn divide(a: &Number, b: &Number, work: &mut Work) -> Result<Number> {
    match (a, b) {
        (_, Number::Exact(b)) if b.is_zero() => Err(Problem::DivisionByZero),
        (Number::Exact(a), Number::Exact(b)) => {
            work.fractions(a, b)?;
            kept(a / b)
        }
        (a, b) => a.near().divide(&b.near()).map(Number::Near),
    }
}

/// The remainder, with the sign of the dividend.
pub(super) fn remainder(a: &Number, b: &Number, work: &mut Work) -> Result<Number> {
    let quotient = divide(a, b, work)?;
    let whole = if quotient.is_negative() {
        ceil(&quotient)?
    } else {
        floor(&quotient)?
    };
    let taken = multiply(&whole, b, work)?;
    subtract(a, &taken, work)
}

/// A power with any exponent. Negative bases have whole exponents.
pub(super) fn power(base: &Number, exponent: &Number, work: &mut Work) -> Result<Number> {
    match exponent {
        Number::Exact(exponent) if exponent.is_int() => {
            whole_power(base, exponent.numerator(), work)
        }
        _ if base.is_negative() => Err(Problem::Undefined(
            "a negative number has no power with an exponent that is not whole",
        )),
        Number::Exact(fraction) => match exact_root(base, fraction, work)? {
            Some(root) => whole_power(&root, fraction.numerator(), work),
            None => real_power(base, exponent, work),
        },
        Number::Near(_) => real_power(base, exponent, work),
    }
}

fn whole_power(base: &Number, exponent: &IBig, work: &mut Work) -> Result<Number> {
    let negative = *exponent < IBig::ZERO;
    if exponent.is_zero() {
        return Ok(Number::whole(1));
    }
    let odd = exponent.bit(0);
    let signed = |number: Number| if odd { number.negated() } else { number };
    if let Number::Exact(base) = base {
        if base.is_zero() {
            return if negative {
                Err(Problem::DivisionByZero)
            } else {
                Ok(Number::whole(0))
            };
        }
        if *base == RBig::ONE || *base == -RBig::ONE {
            let one = Number::whole(1);
            return Ok(if *base < RBig::ZERO { signed(one) } else { one });
        }
        let bits = base.numerator().bit_len().max(base.denominator().bit_len());
        let count = usize::try_from(exponent.unsigned_abs()).unwrap_or(usize::MAX);
        if bits.saturating_mul(count) <= MAX_BITS {
            work.spend(1000)?;
            let exponent = isize::try_from(count).unwrap_or(0);
            return kept(base.pow(if negative { -exponent } else { exponent }));
        }
        refuse_far(base, exponent)?;
    }
    let size = real_power(
        &base.clone().absolute(),
        &Number::Exact(RBig::from(exponent.clone())),
        work,
    )?;
    Ok(if base.is_negative() {
        signed(size)
    } else {
        size
    })
}

/// Refuses a value that is far too large or too small before the calculation.
fn refuse_far(base: &RBig, exponent: &IBig) -> Result<()> {
    let (low, high) = log2_bounds(base);
    // Near 1 the estimate says nothing.
    if low <= 0.01 && high >= -0.01 {
        return Ok(());
    }
    let exponent = exponent.to_f64().value();
    let size = f64::from(f32::midpoint(low, high)) * exponent * std::f64::consts::LOG10_2;
    if size > 2.0 * MAX_MAGNITUDE {
        return Err(Problem::TooLarge);
    }
    if size < -2.0 * MAX_MAGNITUDE {
        return Err(Problem::TooSmall);
    }
    Ok(())
}

/// Bounds of the binary logarithm of a value's size.
fn log2_bounds(value: &RBig) -> (f32, f32) {
    let (low, high) = value.numerator().clone().unsigned_abs().log2_bounds();
    let (less, more) = value.denominator().log2_bounds();
    (low - more, high - less)
}

/// `base ^ exponent` of a base that is not negative.
fn real_power(base: &Number, exponent: &Number, work: &mut Work) -> Result<Number> {
    if let Number::Exact(zero) = base
        && zero.is_zero()
    {
        return if exponent.is_negative() {
            Err(Problem::DivisionByZero)
        } else {
            Ok(Number::whole(0))
        };
    }
    work.spend(2 * FUNCTION)?;
    let logarithm = base.near().ln()?;
    logarithm
        .multiply(&exponent.near())?
        .exp()
        .map(Number::Near)
}

/// The root that the denominator of the exponent stands for, if it is a fraction.
fn exact_root(base: &Number, exponent: &RBig, work: &mut Work) -> Result<Option<Number>> {
    let Number::Exact(base) = base else {
        return Ok(None);
    };
    let degree = usize::try_from(exponent.denominator().clone()).unwrap_or(usize::MAX);
    if degree > MAX_ROOT {
        return Ok(None);
    }
    work.spend(FUNCTION)?;
    let root = |part: &UBig| {
        let root = part.nth_root(degree);
        (root.pow(degree) == *part).then_some(root)
    };
    let numerator = root(&base.numerator().clone().unsigned_abs());
    let denominator = root(base.denominator());
    Ok(numerator.zip(denominator).map(|(numerator, denominator)| {
        Number::Exact(RBig::from_parts(numerator.into(), denominator))
    }))
}

pub(super) fn square_root(value: &Number, work: &mut Work) -> Result<Number> {
    if value.is_negative() {
        return Err(Problem::Undefined("a negative number has no square root"));
    }
    let half = RBig::from_parts(1.into(), 2_u8.into());
    if let Some(root) = exact_root(value, &half, work)? {
        return Ok(root);
    }
    work.spend(FUNCTION)?;
    value.near().square_root().map(Number::Near)
}

/// The natural logarithm.
pub(super) fn ln(value: &Number, work: &mut Work) -> Result<Number> {
    let positive = match value {
        Number::Exact(value) if *value == RBig::ONE => return Ok(Number::whole(0)),
        Number::Exact(value) => *value > RBig::ZERO,
        Number::Near(near) => !near.is_negative(),
    };
    if !positive {
        return Err(Problem::Undefined("only positive numbers have a logarithm"));
    }
    work.spend(FUNCTION)?;
    value.near().ln().map(Number::Near)
}

/// The logarithm to a base, exactly if it is whole.
pub(super) fn logarithm(value: &Number, base: &Number, work: &mut Work) -> Result<Number> {
    let quotient = divide(&ln(value, work)?, &ln(base, work)?, work)?;
    if let (Number::Exact(exact), Number::Exact(_), Number::Near(near)) = (value, base, &quotient) {
        let guess = near.middle().round().to_int().value();
        if let Ok(Number::Exact(power)) = whole_power(base, &guess, work)
            && power == *exact
        {
            return Ok(Number::whole(guess));
        }
    }
    Ok(quotient)
}

pub(super) fn exponential(value: &Number, work: &mut Work) -> Result<Number> {
    match value {
        Number::Exact(zero) if zero.is_zero() => Ok(Number::whole(1)),
        _ => {
            work.spend(FUNCTION)?;
            value.near().exp().map(Number::Near)
        }
    }
}

pub(super) fn floor(value: &Number) -> Result<Number> {
    match value {
        Number::Exact(value) => Ok(Number::whole(value.floor())),
        Number::Near(near) => {
            let (low, high) = near.bounds();
            certain(low.floor().to_int().value(), high.floor().to_int().value())
        }
    }
}

pub(super) fn ceil(value: &Number) -> Result<Number> {
    floor(&value.clone().negated()).map(Number::negated)
}

/// Rounded to that many decimal places, halves away from zero.
pub(super) fn round(value: &Number, places: &Number, work: &mut Work) -> Result<Number> {
    let count = match places {
        Number::Exact(places) if places.is_int() => i64::try_from(places.numerator().clone()).ok(),
        Number::Exact(_) | Number::Near(_) => None,
    };
    let count = count
        .filter(|count| (-MAX_PLACES..=MAX_PLACES).contains(count))
        .ok_or(Problem::Undefined(
            "round takes a whole number of places from -1000 to 1000",
        ))?;
    let unit = whole_power(&Number::whole(10), &count.into(), work)?;
    let whole = match value {
        Number::Exact(_) => match multiply(value, &unit, work)? {
            Number::Exact(scaled) => Number::whole(scaled.round()),
            Number::Near(_) => return Ok(value.clone()),
        },
        Number::Near(near) => {
            let (low, high) = near.shifted(count).bounds();
            certain(low.round().to_int().value(), high.round().to_int().value())?
        }
    };
    divide(&whole, &unit, work)
}

/// A whole number that both bounds of a value agree on.
fn certain(low: IBig, high: IBig) -> Result<Number> {
    if low == high {
        Ok(Number::whole(low))
    } else {
        Err(Problem::Undefined(
            "a value is too close to where rounding changes: round it to other places first",
        ))
    }
}
