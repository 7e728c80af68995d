//! Fuzz target: an expression.

use super::evaluate;

/// A result that is exact is an expression with the same result.
pub(crate) fn expression(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(shown) = evaluate(&text)
        && shown.digits.is_none()
    {
        let again = evaluate(&shown.text).expect("a result is an expression");
        assert_eq!(again.text, shown.text);
    }
}
