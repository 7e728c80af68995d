//! Numbers without a sign, as JSON writes them, read exactly.

/// Significant digits at the most: enough for every `f64`, and few enough that a product with the
/// microseconds of a day fits into 128 bits.
const MAX_DIGITS: usize = 24;

/// `digits * 10^exponent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decimal {
    digits: u128,
    exponent: i32,
}

impl Decimal {
    /// Reads the number that the text begins with, and gives the text behind the number.
    pub(crate) fn read(text: &str) -> Option<(Self, &str)> {
        let (whole, mut rest) = digits(text)?;
        let mut fraction = "";
        if let Some(after) = rest.strip_prefix('.') {
            (fraction, rest) = digits(after)?;
        }
        let mut exponent = 0;
        if let Some(after) = rest.strip_prefix(['e', 'E']) {
            let (sign, after) = match after.strip_prefix('-') {
                Some(after) => (-1, after),
                None => (1, after.strip_prefix('+').unwrap_or(after)),
            };
            let (power, after) = digits(after)?;
            exponent = sign * power.parse::<i32>().ok().filter(|power| *power < 1_000)?;
            rest = after;
        }
        let all = format!("{whole}{fraction}");
        let all = all.trim_start_matches('0');
        if all.len() > MAX_DIGITS {
            return None;
        }
        let decimal = Self {
            digits: if all.is_empty() { 0 } else { all.parse().ok()? },
            exponent: exponent - i32::try_from(fraction.len()).ok()?,
        };
        Some((decimal, rest))
    }

    /// A number that is all of the text.
    pub(crate) fn whole(text: &str) -> Option<Self> {
        let (decimal, rest) = Self::read(text)?;
        rest.is_empty().then_some(decimal)
    }

    /// The shortest decimal number that stands for a float; none if it is negative or no number.
    pub(crate) fn of(value: f64) -> Option<Self> {
        // Zero has a sign as well, which means nothing here.
        let value = if value == 0.0 { 0.0 } else { value };
        Self::whole(&format!("{value:e}"))
    }

    /// This many of `unit`, to the nearest whole number, halves up; none if it is beyond 128 bits, or
    /// so little that nothing would be left of it.
    pub(crate) fn times(self, unit: u64) -> Option<u128> {
        let product = self.digits.checked_mul(u128::from(unit))?;
        if product == 0 {
            return Some(0);
        }
        let power = |exponent: u32| 10_u128.checked_pow(exponent);
        let count = match u32::try_from(self.exponent) {
            Ok(exponent) => product.checked_mul(power(exponent)?)?,
            Err(_) => {
                let divisor = power(self.exponent.unsigned_abs())?;
                product / divisor + u128::from(product % divisor >= divisor.div_ceil(2))
            }
        };
        (count > 0).then_some(count)
    }
}

/// The digits that the text begins with, one at least, and what follows them.
fn digits(text: &str) -> Option<(&str, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn micros(text: &str) -> Option<u128> {
        Decimal::whole(text)?.times(1_000_000)
    }

    #[test]
    fn numbers_are_read_exactly() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1", Some(1_000_000)),
            ("007", Some(7_000_000)),
            ("0.1234564", Some(123_456)),
            ("0.1234565", Some(123_457)),
            ("1e3", Some(1_000_000_000)),
            ("1E+3", Some(1_000_000_000)),
            ("2.5e-1", Some(250_000)),
            ("0.0000005", Some(1)),
            ("0.00000049", None),
            ("0e9", Some(0)),
            ("1e-60", None),
            ("1e40", None),
            ("1e1000", None),
            ("0.000000000000000000000000000001", None),
            ("1234567890123456789012345", None),
            ("", None),
            (".5", None),
            ("5.", None),
            ("1e", None),
            ("-1", None),
            ("+1", None),
            ("1_000", None),
            ("1,5", None),
            ("inf", None),
        ] {
            assert_eq!(micros(text), expected, "{text}");
        }
    }

    #[test]
    fn what_follows_a_number_is_left() {
        for (text, rest) in [("1.5h", "h"), ("30s", "s"), ("1e3ms", "ms"), ("5 m", " m")] {
            assert_eq!(Decimal::read(text).unwrap().1, rest, "{text}");
        }
    }

    proptest! {
        /// A float and its text are the same amount.
        #[test]
        fn floats_mean_what_they_are_written_as(value in 0.0_f64..1e12) {
            let by_text = Decimal::whole(&value.to_string()).unwrap().times(1_000_000);
            prop_assert_eq!(Decimal::of(value).unwrap().times(1_000_000), by_text);
        }

        #[test]
        fn no_text_panics(text in "\\PC*", number in "[0-9.eE+-]{0,40}") {
            let _ = Decimal::read(&text);
            if let Some((decimal, _)) = Decimal::read(&number) {
                let _ = decimal.times(86_400_000_000);
            }
        }
    }

    #[test]
    fn floats_without_a_decimal_are_none() {
        for value in [f64::NAN, f64::INFINITY, -1.0] {
            assert_eq!(Decimal::of(value), None);
        }
        assert_eq!(Decimal::of(-0.0), Decimal::whole("0"));
        assert_eq!(Decimal::of(f64::MAX).unwrap().times(1), None);
        assert_eq!(Decimal::of(f64::MIN_POSITIVE).unwrap().times(1), None);
    }
}
