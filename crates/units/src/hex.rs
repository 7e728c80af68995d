//! Bytes as hexadecimal text. Digests are written in lower case, and read in either case.

use std::fmt;

/// Bytes that are shown as hexadecimal text.
#[derive(Debug, Clone, Copy)]
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The bytes as text.
#[must_use]
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let bytes = bytes.as_ref();
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// The bytes of a text of two digits each.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(pair);
    rest.is_empty().then(|| bytes.collect()).flatten()
}

/// So many bytes of a text of two digits each, neither more nor fewer.
#[must_use]
pub fn decode_array<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(pairs) {
        *byte = pair(digits)?;
    }
    Some(bytes)
}

fn pair([high, low]: &[u8; 2]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn digests_are_read_in_either_case() {
        assert_eq!(decode_array("00fF"), Some([0, 255]));
        assert_eq!(decode("00fF"), Some(vec![0, 255]));
        assert_eq!(decode(""), Some(vec![]));
        for text in ["0", "0g", "+1", "é", "00 1"] {
            assert_eq!(decode(text), None, "{text}");
        }
        assert_eq!(decode_array::<2>("00"), None);
        assert_eq!(decode_array::<2>("000000"), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(bytes in any::<[u8; 32]>()) {
            let text = encode(bytes);
            prop_assert_eq!(&text, &Hex(&bytes).to_string());
            prop_assert_eq!(decode_array(&text), Some(bytes));
            prop_assert_eq!(decode(&text), Some(bytes.to_vec()));
        }
    }
}
