//! The wire format of protocol buffers, one field at a time: nothing is built of what a client sends.

use bytes::Buf as _;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// A value on the wire.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Wire<'a> {
    /// A varint.
    Varint(u64),
    /// Eight bytes.
    Fixed64(u64),
    /// Four bytes.
    Fixed32(u32),
    /// A text, bytes or a message.
    Bytes(&'a [u8]),
}

/// Reads the fields of a message.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

/// The bytes are no message.
#[derive(Debug, PartialEq)]
pub(crate) struct Malformed;

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Wire<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.0.is_empty() {
            true => None,
            false => Some(self.read()),
        }
    }
}

impl<'a> Fields<'a> {
    fn read(&mut self) -> Result<(u32, Wire<'a>), Malformed> {
        let read = self.value();
        if read.is_err() {
            // A reader of what is left would read anything.
            self.0 = &[];
        }
        read
    }

    fn value(&mut self) -> Result<(u32, Wire<'a>), Malformed> {
        loop {
            let (number, kind) = decode_key(&mut self.0).map_err(|_| Malformed)?;
            let wire = match kind {
                WireType::Varint => Wire::Varint(varint(&mut self.0)?),
                WireType::SixtyFourBit => {
                    Wire::Fixed64(self.0.try_get_u64_le().map_err(|_| Malformed)?)
                }
                WireType::ThirtyTwoBit => {
                    Wire::Fixed32(self.0.try_get_u32_le().map_err(|_| Malformed)?)
                }
                WireType::LengthDelimited => Wire::Bytes(self.bytes()?),
                // No message of ours has groups.
                WireType::StartGroup | WireType::EndGroup => {
                    skip_field(kind, number, &mut self.0, DecodeContext::default())
                        .map_err(|_| Malformed)?;
                    if self.0.is_empty() {
                        return Ok((0, Wire::Varint(0)));
                    }
                    continue;
                }
            };
            return Ok((number, wire));
        }
    }

    fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(varint(&mut self.0)?).map_err(|_| Malformed)?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(bytes)
    }
}

/// A varint.
pub(crate) fn varint(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    decode_varint(bytes).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_order_and_a_cut_one_ends_the_message() {
        // 1: varint 150, 2: "ab", 3: fixed32, 4: fixed64
        let bytes = [
            8, 0x96, 1, 18, 2, b'a', b'b', 29, 1, 0, 0, 0, 33, 2, 0, 0, 0, 0, 0, 0, 0,
        ];
        let read: Vec<_> = Fields(&bytes).collect();
        assert_eq!(
            read,
            [
                Ok((1, Wire::Varint(150))),
                Ok((2, Wire::Bytes(b"ab"))),
                Ok((3, Wire::Fixed32(1))),
                Ok((4, Wire::Fixed64(2))),
            ]
        );
        for cut in [
            &bytes[..2],
            &bytes[..6],
            &bytes[..9],
            &[18, 0xff, 0xff, 0xff, 0xff, 0x0f],
        ] {
            assert_eq!(Fields(cut).last(), Some(Err(Malformed)), "{cut:?}");
        }
        assert_eq!(Fields(&[]).last(), None);
    }
}
