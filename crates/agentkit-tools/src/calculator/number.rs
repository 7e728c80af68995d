//! Decimal arithmetic that says what went wrong.

use rust_decimal::{
    Decimal, RoundingStrategy,
    prelude::{FromPrimitive as _, ToPrimitive as _},
};

use super::Problem;

type Result<T> = std::result::Result<T, Problem>;

/// Reads `12`, `1.5`, `.5`, `5.` or `1.2e-3` exactly. The parts hold digits only.
pub(super) fn literal(whole: &str, fraction: &str, exponent: i64) -> Result<Decimal> {
    if whole.len() > 1 && whole.starts_with('0') {
        let problem = "a number begins with 0; thousands separators are not accepted";
        return Err(Problem::Syntax(problem.to_owned()));
    }
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_end_matches('0');
    let dropped = (digits.len() - significant.len()) as i64;
    let significant = significant.trim_start_matches('0');
    if significant.is_empty() {
        return Ok(Decimal::ZERO);
    }
    let precise = || Problem::Syntax("a number has more than 28 digits".to_owned());
    if significant.len() > 29 {
        return Err(precise());
    }
    let mantissa: i128 = significant.parse().map_err(|_| precise())?;
    let exponent = exponent
        .saturating_add(dropped)
        .saturating_sub(fraction.len() as i64);
    if exponent < 0 {
        let scale = u32::try_from(-exponent)
            .ok()
            .filter(|scale| *scale <= Decimal::MAX_SCALE);
        let scale = scale.ok_or(Problem::TooSmall)?;
        return Decimal::try_from_i128_with_scale(mantissa, scale).map_err(|_| precise());
    }
    u32::try_from(exponent)
        .ok()
        .and_then(|exponent| 10_i128.checked_pow(exponent))
        .and_then(|power| mantissa.checked_mul(power))
        .and_then(|value| Decimal::try_from_i128_with_scale(value, 0).ok())
        .ok_or(Problem::TooLarge)
}

pub(super) fn add(a: Decimal, b: Decimal) -> Result<Decimal> {
    a.checked_add(b).ok_or(Problem::TooLarge)
}

pub(super) fn subtract(a: Decimal, b: Decimal) -> Result<Decimal> {
    a.checked_sub(b).ok_or(Problem::TooLarge)
}

pub(super) fn multiply(a: Decimal, b: Decimal) -> Result<Decimal> {
    let product = a.checked_mul(b).ok_or(Problem::TooLarge)?;
    if product.is_zero() && !a.is_zero() && !b.is_zero() {
        return Err(Problem::TooSmall);
    }
    Ok(product)
}

pub(super) fn divide(a: Decimal, b: Decimal) -> Result<Decimal> {
    if b.is_zero() {
        return Err(Problem::DivisionByZero);
    }
    let quotient = a.checked_div(b).ok_or(Problem::TooLarge)?;
    if quotient.is_zero() && !a.is_zero() {
        return Err(Problem::TooSmall);
    }
    Ok(quotient)
}

/// The remainder, with the sign of the dividend.
pub(super) fn remainder(a: Decimal, b: Decimal) -> Result<Decimal> {
    if b.is_zero() {
        return Err(Problem::DivisionByZero);
    }
    a.checked_rem(b).ok_or(Problem::TooLarge)
}

/// A whole power, by squaring; each step is rounded like any other product.
pub(super) fn power(base: Decimal, exponent: Decimal) -> Result<Decimal> {
    if !exponent.fract().is_zero() {
        return Err(Problem::Undefined(
            "an exponent must be a whole number; sqrt is there",
        ));
    }
    let exponent = exponent.to_i64().ok_or(Problem::TooLarge)?;
    let mut rest = exponent.unsigned_abs();
    let (mut square, mut result) = (base, Decimal::ONE);
    while rest > 0 {
        if rest % 2 == 1 {
            result = multiply(result, square)?;
        }
        rest /= 2;
        if rest > 0 {
            square = multiply(square, square)?;
        }
    }
    if exponent < 0 {
        divide(Decimal::ONE, result)
    } else {
        Ok(result)
    }
}

/// The square root, to 28 places; exact where there is an exact one.
pub(super) fn square_root(value: Decimal) -> Result<Decimal> {
    if value.is_zero() {
        return Ok(Decimal::ZERO);
    }
    if value.is_sign_negative() {
        return Err(Problem::Undefined("a negative number has no square root"));
    }
    // Newton's method from a guess that is right to about 15 digits, which doubles with each step.
    let mut root = value
        .to_f64()
        .and_then(|value| Decimal::from_f64(value.sqrt()))
        .filter(|guess| !guess.is_zero())
        .unwrap_or(Decimal::ONE);
    for _ in 0..100 {
        let next = divide(add(root, divide(value, root)?)?, Decimal::TWO)?;
        if next == root {
            break;
        }
        root = next;
    }
    // The last digits may be off by rounding; an exact root has half the places.
    let exact = root.round_dp(value.normalize().scale().div_ceil(2));
    Ok(if exact.checked_mul(exact) == Some(value) {
        exact
    } else {
        root
    })
}

/// Rounded to that many decimal places, halves away from zero.
pub(super) fn round(value: Decimal, places: Decimal) -> Result<Decimal> {
    let places = places
        .to_u32()
        .filter(|count| *count <= Decimal::MAX_SCALE && places.fract().is_zero())
        .ok_or(Problem::Undefined(
            "round takes a whole number of places from 0 to 28",
        ))?;
    Ok(value.round_dp_with_strategy(places, RoundingStrategy::MidpointAwayFromZero))
}
