use proptest::prelude::*;

use super::*;

fn result(expression: &str) -> String {
    match evaluate(expression) {
        Ok(value) => value.to_string(),
        Err(error) => format!("{}: {}", error.code, error.message),
    }
}

#[test]
fn calculates_exactly() {
    for (expression, expected) in [
        ("1", "1"),
        (" 1 + 2 * 3 ", "7"),
        ("(1 + 2) * 3", "9"),
        ("0.1 + 0.2", "0.3"),
        ("1.10 + 2.20", "3.3"),
        ("2 - 3 - 4", "-5"),
        ("100 / 8 / 5", "2.5"),
        ("7 % 3", "1"),
        ("-7 % 3", "-1"),
        ("7.5 % 2", "1.5"),
        ("1 / 3", "0.3333333333333333333333333333"),
        ("2 / 3", "0.6666666666666666666666666667"),
        ("-0", "0"),
        ("--5", "5"),
        ("+-+5", "-5"),
        ("2 * -3", "-6"),
        ("2^10", "1024"),
        ("2**10", "1024"),
        ("2^3^2", "512"),
        ("-2^2", "-4"),
        ("(-2)^2", "4"),
        ("2^-2", "0.25"),
        ("2^-2^2", "0.0625"),
        ("0^0", "1"),
        ("(-1)^9000000000000000001", "-1"),
        ("1.5^2", "2.25"),
        (".5 + 5.", "5.5"),
        ("1.2e3", "1200"),
        ("1E+2", "100"),
        ("12e-2", "0.12"),
        ("5e-28", "0.0000000000000000000000000005"),
        ("0e99999", "0"),
        (
            "000.5e0 ",
            "invalid_expression: a number begins with 0; thousands separators are not accepted at column 1",
        ),
        ("0.50", "0.5"),
        ("1e28", "10000000000000000000000000000"),
        (
            "79228162514264337593543950335",
            "79228162514264337593543950335",
        ),
        (
            "12345678901234567890.12345678 + 0.00000001",
            "12345678901234567890.12345679",
        ),
        ("sum(1, 2, 3.5)", "6.5"),
        ("sum(4)", "4"),
        ("avg(1, 2, 4)", "2.3333333333333333333333333333"),
        ("min(3, -1, 2)", "-1"),
        ("MAX(3, -1, 2)", "3"),
        ("abs(-3.5)", "3.5"),
        ("floor(-1.5) + ceil(1.2)", "0"),
        ("round(2.5)", "3"),
        ("round(-2.5)", "-3"),
        ("round(1.005, 2)", "1.01"),
        ("round(sum(12.5, 7) * 1.19, 2)", "23.21"),
        ("sqrt(4)", "2"),
        ("sqrt(2)", "1.4142135623730950488016887242"),
        ("sqrt(0.0225)", "0.15"),
        ("sqrt(0)", "0"),
        ("sqrt(1e-28)", "0.00000000000001"),
        ("sqrt(1e28)", "100000000000000"),
        (
            "sqrt(15241578753238836750495351562536198787501905199875019052100)",
            "invalid_expression: a number has more than 28 digits at column 6",
        ),
        ("sqrt(sum(3^2, 4^2))", "5"),
    ] {
        assert_eq!(result(expression), expected, "{expression}");
    }
}

#[test]
fn says_what_is_wrong_and_where() {
    for (expression, expected) in [
        (
            "",
            "invalid_expression: expected a number, but the expression ends at column 1",
        ),
        (
            "1 +",
            "invalid_expression: expected a number, but the expression ends at column 4",
        ),
        (
            "1 + * 2",
            "invalid_expression: expected a number before `*` at column 5",
        ),
        (
            "2 3",
            "invalid_expression: expected an operator before `3` at column 3",
        ),
        (
            "2x",
            "invalid_expression: expected an operator before `x` at column 2",
        ),
        (
            "1_000",
            "invalid_expression: expected an operator before `_` at column 2",
        ),
        (
            "(1 + 2",
            "invalid_expression: expected `)`, but the expression ends at column 7",
        ),
        (
            "1 + 2)",
            "invalid_expression: unexpected `)`, as none is open at column 6",
        ),
        (
            "50%",
            "invalid_expression: expected a number, but the expression ends at column 4",
        ),
        (
            "3 × 4",
            "invalid_expression: expected an operator before `×` at column 3",
        ),
        (
            "3 + ä / x",
            "invalid_expression: expected a number before `ä` at column 5",
        ),
        (
            "1.2.3",
            "invalid_expression: expected an operator before `.` at column 4",
        ),
        (
            ".",
            "invalid_expression: expected a digit beside `.` at column 1",
        ),
        (
            "1e",
            "invalid_expression: expected the digits of an exponent at column 3",
        ),
        (
            "min()",
            "invalid_expression: expected a number before `)` at column 5",
        ),
        (
            "abs(1, 2)",
            "invalid_expression: abs takes one value, not 2 values at column 1",
        ),
        (
            "round(1, 2, 3)",
            "invalid_expression: round takes a value and a number of places, not 3 values at column 1",
        ),
        (
            "sin(1)",
            "invalid_expression: there is no function `sin`; there are sum, avg, min, max, abs, sqrt, floor, ceil, round at column 1",
        ),
        (
            "sum 1",
            "invalid_expression: expected `(` before `1` at column 5",
        ),
        (
            "1,000 + 1",
            "invalid_expression: unexpected `,`; thousands separators are not accepted, and lists stand in functions at column 2",
        ),
        (
            "sum(1,000)",
            "invalid_expression: a number begins with 0; thousands separators are not accepted at column 7",
        ),
        (
            "ä1 / 0",
            "invalid_expression: expected a number before `ä` at column 1",
        ),
        ("1 / 0", "division_by_zero: division by zero at column 3"),
        (
            "1 + 5 % (2 - 2)",
            "division_by_zero: division by zero at column 7",
        ),
        ("0 ^ -1", "division_by_zero: division by zero at column 3"),
        (
            "1e29",
            "overflow: the value is too large: the limit is about 7.9e28 at column 1",
        ),
        (
            "2 ^ 96",
            "overflow: the value is too large: the limit is about 7.9e28 at column 3",
        ),
        (
            "1e99999999999999999999",
            "overflow: the value is too large: the limit is about 7.9e28 at column 1",
        ),
        (
            "1e-29",
            "overflow: the value is too small: it would round to zero at column 1",
        ),
        (
            "1e-99999999999999999999",
            "overflow: the value is too small: it would round to zero at column 1",
        ),
        (
            "1e-15 * 1e-15",
            "overflow: the value is too small: it would round to zero at column 7",
        ),
        (
            "2 ^ 0.5",
            "undefined: an exponent must be a whole number; sqrt is there at column 3",
        ),
        (
            "sqrt(-1)",
            "undefined: a negative number has no square root at column 1",
        ),
        (
            "round(1, -1)",
            "undefined: round takes a whole number of places from 0 to 28 at column 1",
        ),
        (
            "round(1, 0.5)",
            "undefined: round takes a whole number of places from 0 to 28 at column 1",
        ),
        (
            "0.12345678901234567890123456789",
            "overflow: the value is too small: it would round to zero at column 1",
        ),
    ] {
        assert_eq!(result(expression), expected, "{expression}");
    }
}

#[test]
fn bounds_length_and_depth() {
    let nested = |open: &str, close: &str, depth: usize| {
        format!("{}1{}", open.repeat(depth), close.repeat(depth))
    };
    for (open, close) in [("(", ")"), ("-", ""), ("abs(", ")"), ("1^", "")] {
        assert_eq!(result(&nested(open, close, 64)), "1", "{open}");
        let error = evaluate(&nested(open, close, 65)).unwrap_err();
        assert!(
            error
                .message
                .contains("nests deeper than 64 levels at column"),
            "{open}"
        );
        assert!(evaluate(&nested(open, close, 12_000)).is_err());
    }
    assert_eq!(result(&format!("1{}", "+1".repeat(32_767))), "32768");
    let error = evaluate(&"1+".repeat(40_000)).unwrap_err();
    assert_eq!(
        error.message,
        "the expression has 80000 bytes, and 65536 is the limit"
    );
}

/// An expression with its value by `rust_decimal` itself; none if that overflows.
#[derive(Debug, Clone)]
struct Tree {
    text: String,
    value: Option<Decimal>,
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = (-1_000_000_i64..1_000_000, 0_u32..6).prop_map(|(mantissa, scale)| {
        let value = Decimal::new(mantissa, scale);
        Tree {
            text: format!("({value})"),
            value: Some(value),
        }
    });
    leaf.prop_recursive(6, 40, 2, |inner| {
        (
            inner.clone(),
            prop_oneof![Just('+'), Just('-'), Just('*')],
            inner,
        )
            .prop_map(|(left, operator, right)| Tree {
                text: format!("({} {operator} {})", left.text, right.text),
                value: left
                    .value
                    .zip(right.value)
                    .and_then(|(a, b)| match operator {
                        '+' => a.checked_add(b),
                        '-' => a.checked_sub(b),
                        _ => a
                            .checked_mul(b)
                            .filter(|product| !product.is_zero() || a.is_zero() || b.is_zero()),
                    }),
            })
    })
}

proptest! {
    #[test]
    fn agrees_with_the_decimals(tree in tree()) {
        prop_assert_eq!(evaluate(&tree.text).ok(), tree.value.map(|value| value.normalize()));
    }

    #[test]
    fn answers_anything(expression in "\\PC{0,40}") {
        let _ = evaluate(&expression);
    }

    #[test]
    fn answers_anything_like_an_expression(
        expression in "([0-9]{1,3}|[-+*/%^().,e ]|sqrt\\(|round\\(|sum\\(|1e28|1e-28){0,16}",
    ) {
        let _ = evaluate(&expression);
    }

    #[test]
    fn a_root_squared_is_the_number(mantissa in 1_i64.., scale in 0_u32..=28) {
        let value = Decimal::new(mantissa, scale);
        let root = number::square_root(value).unwrap();
        let miss = (root * root - value).abs();
        let tolerance = value * Decimal::new(1, 26) + (root + Decimal::ONE) * Decimal::new(2, 28);
        prop_assert!(miss <= tolerance, "{root} of {value}");
    }

    #[test]
    fn an_exact_root_is_found(mantissa in 0_i64..10_000_000_000_000, scale in 0_u32..=14) {
        let root = Decimal::new(mantissa, scale);
        prop_assert_eq!(number::square_root(root * root).unwrap(), root);
    }
}
