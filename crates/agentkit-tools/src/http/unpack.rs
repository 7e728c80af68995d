//! Unpacks bodies: gzip, deflate, br and zstd (RFC 9110, 8.4; RFC 9659).
//!
//! What comes out is bounded, whatever is packed into how few bytes: unpacking ends with the last
//! byte that is wanted. The windows that a packed body may ask for are those of the RFCs, so the
//! memory is bounded as well.

use std::io::{self, Read};

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// The value of `Accept-Encoding`.
pub(super) const ACCEPTED: &str = "gzip, deflate, br, zstd";
/// The window that zstd may use in HTTP: 8 MiB.
const ZSTD_WINDOW_LOG: u32 = 23;
/// How much is unpacked at once.
const PIECE: usize = 64 * 1024;

/// A way in which a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

/// Why the unpacking ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// There is no more.
    None,
    /// More was not wanted.
    Unwanted,
    /// The packed bytes end too early, or are damaged.
    Broken(String),
}

impl Coding {
    /// The coding of a `Content-Encoding`, if it is one that is known here. Several on top of each
    /// other are not: nobody sends them but to do harm.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            "br" => Some(Self::Brotli),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// At most `max` bytes of what is packed.
    pub(super) fn unpack(self, packed: &[u8], max: usize) -> (Vec<u8>, Ended) {
        match self {
            Self::Gzip => read(MultiGzDecoder::new(packed), max),
            // By the RFC it has the frame of zlib, which some servers leave out.
            Self::Deflate if has_zlib_header(packed) => read(ZlibDecoder::new(packed), max),
            Self::Deflate => read(DeflateDecoder::new(packed), max),
            Self::Brotli => read(brotli_decompressor::Decompressor::new(packed, PIECE), max),
            Self::Zstd => match zstd(packed) {
                Ok(decoder) => read(decoder, max),
                Err(error) => (Vec::new(), Ended::Broken(error.to_string())),
            },
        }
    }
}

fn zstd(packed: &[u8]) -> io::Result<impl Read + '_> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG)?;
    Ok(decoder)
}

fn has_zlib_header(packed: &[u8]) -> bool {
    matches!(packed, [first, second, ..]
        if first & 0x0f == 8 && (u16::from(*first) * 256 + u16::from(*second)) % 31 == 0)
}

fn read(mut unpacked: impl Read, max: usize) -> (Vec<u8>, Ended) {
    let mut bytes = Vec::new();
    let mut piece = vec![0; PIECE];
    loop {
        match unpacked.read(&mut piece) {
            Ok(0) => return (bytes, Ended::None),
            Ok(read) => {
                let room = max - bytes.len();
                bytes.extend_from_slice(&piece[..read.min(room)]);
                if read > room {
                    return (bytes, Ended::Unwanted);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (bytes, Ended::Broken(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{
        Compression,
        write::{DeflateEncoder, GzEncoder, ZlibEncoder},
    };
    use proptest::prelude::*;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn packed(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        match coding {
            Coding::Gzip => gzip(bytes),
            Coding::Deflate => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Coding::Zstd => zstd::encode_all(bytes, 19).unwrap(),
            // One block that is not packed further (RFC 7932, 9.2), in pieces of 64 KiB at most.
            Coding::Brotli => {
                assert!(bytes.len() <= 1 << 16 && !bytes.is_empty());
                let length = u32::try_from(bytes.len() - 1).unwrap();
                // Window 0; not the last block, 4 nibbles of length, unpacked; then an empty last.
                let header = (length << 4 | 1 << 20).to_le_bytes();
                let mut packed = header[..3].to_vec();
                packed.extend_from_slice(bytes);
                packed.push(3);
                packed
            }
        }
    }

    const ALL: [Coding; 4] = [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd];

    #[test]
    fn every_coding_is_unpacked() {
        let text = "grün und blau. ".repeat(100);
        for coding in ALL {
            assert_eq!(Coding::named(coding.name()), Some(coding));
            let packed = packed(coding, text.as_bytes());
            let (bytes, rest) = coding.unpack(&packed, 1 << 20);
            assert_eq!(
                (bytes.as_slice(), rest),
                (text.as_bytes(), Ended::None),
                "{coding:?}"
            );
            let (bytes, rest) = coding.unpack(&packed, 10);
            assert_eq!((bytes.len(), rest), (10, Ended::Unwanted), "{coding:?}");
        }
        // Without the frame of zlib, as some servers send it; and two members of gzip.
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        let (bytes, rest) = Coding::Deflate.unpack(&encoder.finish().unwrap(), 1 << 20);
        assert_eq!((bytes.as_slice(), rest), (text.as_bytes(), Ended::None));
        let two = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(
            Coding::Gzip.unpack(&two, 100),
            (b"one two".to_vec(), Ended::None)
        );
    }

    /// tools/T7: a few bytes that stand for very many are unpacked as far as they are wanted.
    #[test]
    fn a_bomb_ends_at_the_limit() {
        let zeros = vec![0; 256 << 20];
        for coding in [Coding::Gzip, Coding::Zstd] {
            let packed = packed(coding, &zeros);
            assert!(packed.len() < 1 << 20, "{coding:?}");
            let (bytes, rest) = coding.unpack(&packed, 1000);
            assert_eq!((bytes.len(), rest), (1000, Ended::Unwanted), "{coding:?}");
        }
    }

    #[test]
    fn a_window_that_takes_much_memory_is_refused() {
        // A frame of zstd with a window of 2 GiB (RFC 8878, 3.1.1.1.2).
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00];
        let (bytes, rest) = Coding::Zstd.unpack(&frame, 1000);
        assert!(
            bytes.is_empty() && matches!(rest, Ended::Broken(_)),
            "{rest:?}"
        );
    }

    #[test]
    fn what_breaks_off_is_unpacked_as_far_as_it_came() {
        let text: String = (0..20_000).map(|n| format!("{n} ")).collect();
        for coding in [Coding::Gzip, Coding::Deflate, Coding::Zstd] {
            let packed = packed(coding, text.as_bytes());
            let (bytes, rest) = coding.unpack(&packed[..packed.len() / 2], 1 << 20);
            assert!(text.as_bytes().starts_with(&bytes), "{coding:?}");
            assert!(
                !bytes.is_empty() && matches!(rest, Ended::Broken(_)),
                "{coding:?} {rest:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_unpacked_or_broken(
            bytes in proptest::collection::vec(any::<u8>(), 0..200), which in 0_usize..4,
        ) {
            let (unpacked, _) = ALL[which].unpack(&bytes, 10_000);
            prop_assert!(unpacked.len() <= 10_000);
        }
    }
}
