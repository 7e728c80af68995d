//! Numbers that are known up to an error: roots, logarithms, and fractions that grew too large.
//!
//! Each operation bounds the error of its result from those of its operands, so what is shown in
//! the end are digits that are right, however the calculation went.

use dashu_float::DBig;
use dashu_ratio::RBig;

use super::Problem;

/// How many digits are carried.
pub(super) const PRECISION: usize = 100;
/// Values are between 10^-MAX_MAGNITUDE and 10^MAX_MAGNITUDE.
pub(super) const MAX_MAGNITUDE: f64 = 10_000.0;
/// The natural logarithm of ten.
const LN_10: f64 = std::f64::consts::LN_10;

type Result<T> = std::result::Result<T, Problem>;

/// A value, and how far it may be from the true value.
#[derive(Debug, Clone)]
pub(super) struct Near {
    middle: DBig,
    /// Decimal logarithm of the bound of the error.
    error: f64,
}

impl Near {
    /// The nearest to an exact value.
    pub(super) fn to(value: &RBig) -> Self {
        Self::rounded(value.to_float(PRECISION).value(), f64::NEG_INFINITY)
    }

    pub(super) fn pi() -> Self {
        Self::rounded(DBig::pi(PRECISION), f64::NEG_INFINITY)
    }

    pub(super) fn e() -> Result<Self> {
        Self::to(&RBig::ONE).exp()
    }

    /// A value that one operation gave, with the error that its operands bring.
    fn rounded(middle: DBig, error: f64) -> Self {
        let middle = middle.with_precision(PRECISION).value();
        let error = joined(&[error, magnitude(&middle) - PRECISION as f64]);
        Self { middle, error }
    }

    fn checked(middle: DBig, error: f64) -> Result<Self> {
        let near = Self::rounded(middle, error);
        let size = magnitude(&near.middle);
        if size > MAX_MAGNITUDE + 1.0 {
            return Err(Problem::TooLarge);
        }
        if size < -MAX_MAGNITUDE && !near.is_zero() {
            return Err(Problem::TooSmall);
        }
        Ok(near)
    }

    fn is_zero(&self) -> bool {
        self.middle.repr().significand().is_zero()
    }

    pub(super) fn is_negative(&self) -> bool {
        self.middle < DBig::ZERO
    }

    pub(super) fn middle(&self) -> &DBig {
        &self.middle
    }

    /// How many of the digits are certain.
    pub(super) fn certain(&self) -> usize {
        let digits = magnitude(&self.middle) - self.error - 0.4;
        // As a float it is small, and negative ones become zero.
        digits.floor().clamp(0.0, PRECISION as f64) as usize
    }

    pub(super) fn negated(self) -> Self {
        Self {
            middle: -self.middle,
            error: self.error,
        }
    }

    pub(super) fn add(&self, other: &Self) -> Result<Self> {
        let error = joined(&[self.error, other.error]);
        Self::checked(&self.middle + &other.middle, error)
    }

    pub(super) fn multiply(&self, other: &Self) -> Result<Self> {
        let error = joined(&[
            magnitude(&self.middle) + other.error,
            magnitude(&other.middle) + self.error,
            self.error + other.error,
        ]);
        Self::checked(&self.middle * &other.middle, error)
    }

    pub(super) fn divide(&self, other: &Self) -> Result<Self> {
        let below = other.least("the divisor is too close to zero to be told from it")?;
        let quotient = &self.middle / &other.middle;
        let error = joined(&[
            self.error - below,
            magnitude(&quotient) + other.error - below,
        ]);
        Self::checked(quotient, error)
    }

    pub(super) fn square_root(&self) -> Result<Self> {
        let below = self.least("the value is too close to zero to be told from it")?;
        Self::checked(self.middle.sqrt(), self.error - below / 2.0)
    }

    /// The natural logarithm of a positive value.
    pub(super) fn ln(&self) -> Result<Self> {
        let below = self.least("the value is too close to zero to be told from it")?;
        Self::checked(self.middle.ln(), self.error - below)
    }

    pub(super) fn exp(&self) -> Result<Self> {
        // A float suffices for the bounds.
        let about = self.middle.to_f64().value() / LN_10;
        if about > MAX_MAGNITUDE {
            return Err(Problem::TooLarge);
        }
        if about < -MAX_MAGNITUDE {
            return Err(Problem::TooSmall);
        }
        if self.error > -1.0 {
            return Err(Problem::Undefined("an exponent is not known well enough"));
        }
        let power = self.middle.exp();
        let error = magnitude(&power) + self.error + 0.1;
        Self::checked(power, error)
    }

    /// Times a power of ten.
    pub(super) fn shifted(&self, places: i64) -> Self {
        let places = isize::try_from(places).unwrap_or(0);
        let (digits, exponent) = self.middle.clone().into_repr().into_parts();
        let middle = DBig::from_parts(digits, exponent + places);
        Self::rounded(middle, self.error + places as f64)
    }

    /// The least and the greatest that the value may be.
    pub(super) fn bounds(&self) -> (DBig, DBig) {
        if self.error == f64::NEG_INFINITY {
            return (self.middle.clone(), self.middle.clone());
        }
        let power = isize::try_from(self.error.ceil() as i64).unwrap_or(0);
        let error = DBig::from_parts(1.into(), power);
        let error = error.with_precision(PRECISION).value();
        (&self.middle - &error, &self.middle + &error)
    }

    /// Decimal logarithm of a bound below the value's size.
    fn least(&self, problem: &'static str) -> Result<f64> {
        let below = magnitude(&self.middle) - 1.0;
        if self.is_zero() || self.error > below - 0.5 {
            return Err(Problem::Undefined(problem));
        }
        // What the error takes off is less than a third of it.
        Ok(below - 0.2)
    }
}

/// Decimal logarithm of a bound above the size of a value, at most 1 above it.
fn magnitude(value: &DBig) -> f64 {
    let repr = value.repr();
    if repr.significand().is_zero() {
        return f64::NEG_INFINITY;
    }
    repr.digits() as f64 + repr.exponent() as f64
}

/// Decimal logarithm of the sum of values that are given by theirs.
fn joined(logarithms: &[f64]) -> f64 {
    let most = logarithms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if most == f64::NEG_INFINITY {
        return most;
    }
    let sum: f64 = logarithms.iter().map(|log| 10_f64.powf(log - most)).sum();
    most + sum.log10() + 1e-6
}
