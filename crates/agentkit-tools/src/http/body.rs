//! Bodies of answers: read up to a limit, and shown as text if they are text.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use serde_json::{Value, json};

/// How far into a document its own word on its encoding is looked for, in bytes.
const SNIFFED: usize = 1024;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// What was read of a body.
#[derive(Debug, Default)]
pub(super) struct Body {
    bytes: Vec<u8>,
    end: End,
}

/// Why nothing more was read.
#[derive(Debug, Default)]
enum End {
    /// There is no more.
    #[default]
    Whole,
    /// More was not asked for.
    Truncated,
    /// The connection broke.
    Broken(String),
}

impl Body {
    /// Reads `max` bytes at most.
    pub(super) async fn read(mut incoming: Incoming, max: u64) -> Self {
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        let mut body = Self::default();
        let announced = incoming.size_hint().exact().unwrap_or(0);
        let announced = usize::try_from(announced).unwrap_or(usize::MAX);
        body.bytes.reserve_exact(announced.min(max));
        while let Some(frame) = incoming.frame().await {
            let data = match frame {
                Ok(frame) => frame.into_data().unwrap_or_default(),
                Err(error) => {
                    body.end = End::Broken(error.to_string());
                    break;
                }
            };
            let room = max - body.bytes.len();
            body.bytes.extend_from_slice(&data[..data.len().min(room)]);
            if data.len() > room {
                body.end = End::Truncated;
                break;
            }
        }
        body
    }

    /// Adds what is to be told of the body to a result.
    pub(super) fn describe(self, headers: &HeaderMap, result: &mut Value) {
        let declared = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let media_type = declared(header::CONTENT_TYPE).unwrap_or_default();
        let packed = declared(header::CONTENT_ENCODING)
            .is_some_and(|coding| !coding.eq_ignore_ascii_case("identity"));
        result["bytes"] = self.bytes.len().into();
        result["truncated"] = matches!(self.end, End::Truncated).into();
        if let End::Broken(error) = &self.end {
            result["incomplete"] = json!(format!("the connection broke: {error}"));
        }
        let text = if packed {
            Err(self.bytes)
        } else {
            text(self.bytes, media_type)
        };
        match text {
            Ok((text, charset)) => {
                result["text"] = text.into();
                if charset != UTF_8 {
                    result["charset"] = charset.name().into();
                }
            }
            Err(bytes) => result["base64"] = BASE64_STANDARD.encode(bytes).into(),
        }
    }
}

/// The text that the bytes stand for, and its encoding; the bytes again if they are not text.
///
/// The order is that of browsers: a byte order mark, what the server says, what the document says.
/// Then what is valid UTF-8 is that, and other text is what the web takes it for, windows-1252.
fn text(bytes: Vec<u8>, media_type: &str) -> Result<(String, &'static Encoding), Vec<u8>> {
    let media_type = media_type.to_ascii_lowercase();
    let told = Encoding::for_bom(&bytes)
        .map(|(encoding, _)| encoding)
        .or_else(|| declared(&media_type))
        .or_else(|| sniffed(&bytes, &media_type));
    let encoding = match told {
        Some(encoding) => encoding,
        None if is_utf8(&bytes) => UTF_8,
        None if media_type.starts_with("text/") => WINDOWS_1252,
        None => return Err(bytes),
    };
    if encoding == UTF_8 && !bytes.starts_with(BOM) && is_utf8(&bytes) {
        return Ok((utf8(bytes), encoding));
    }
    let mut decoder = encoding.new_decoder_with_bom_removal();
    let Some(size) = decoder.max_utf8_buffer_length(bytes.len()) else {
        return Err(bytes);
    };
    let mut text = String::with_capacity(size);
    // The last character may be cut; the decoder waits for the rest of it, which is not shown.
    let _ = decoder.decode_to_string(&bytes, &mut text, false);
    text.shrink_to_fit();
    Ok((text, encoding))
}

/// What [`is_utf8`] accepted, without a copy.
fn utf8(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| {
        let valid = error.utf8_error().valid_up_to();
        let mut bytes = error.into_bytes();
        bytes.truncate(valid);
        String::from_utf8(bytes).unwrap_or_default()
    })
}

/// The encoding that a content type names.
fn declared(media_type: &str) -> Option<&'static Encoding> {
    let (_, rest) = media_type.split_once("charset=")?;
    let label = rest.split(';').next()?.trim().trim_matches(['"', '\'']);
    Encoding::for_label_no_replacement(label.as_bytes())
}

/// The encoding that an HTML or XML document names in its beginning.
fn sniffed(bytes: &[u8], media_type: &str) -> Option<&'static Encoding> {
    if !media_type.contains("html") && !media_type.contains("xml") {
        return None;
    }
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(SNIFFED)]).to_ascii_lowercase();
    let at = ["charset=", "encoding="]
        .iter()
        .find_map(|key| start.find(key).map(|at| at + key.len()))?;
    let label = start[at..].trim_start().trim_start_matches(['"', '\'']);
    let end = label.find(|c: char| !(c.is_ascii_alphanumeric() || "-_:.".contains(c)));
    let encoding = Encoding::for_label_no_replacement(&label.as_bytes()[..end?])?;
    // The declaration itself could be read byte by byte, so the encoding has no wider units.
    Some(if encoding.is_ascii_compatible() {
        encoding
    } else {
        UTF_8
    })
}

/// Whether this is UTF-8 text; its last character may be cut.
fn is_utf8(bytes: &[u8]) -> bool {
    let valid = match std::str::from_utf8(bytes) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    };
    valid && !bytes.contains(&0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(bytes: &[u8], media_type: &str) -> Option<(String, &'static str)> {
        let (text, encoding) = text(bytes.to_vec(), media_type).ok()?;
        Some((text, encoding.name()))
    }

    #[test]
    fn text_is_read_in_the_encoding_that_it_has() {
        for (bytes, media_type, expected) in [
            (
                "grün €".as_bytes(),
                "text/plain; charset=utf-8",
                ("grün €", "UTF-8"),
            ),
            ("grün €".as_bytes(), "text/plain", ("grün €", "UTF-8")),
            (b"gr\xfcn", "text/plain", ("grün", "windows-1252")),
            (
                b"gr\xfcn",
                "text/plain; charset=ISO-8859-1",
                ("grün", "windows-1252"),
            ),
            (
                b"gr\xfcn",
                "text/plain; CharSet=\"latin1\"; x=y",
                ("grün", "windows-1252"),
            ),
            (
                b"\x82\xa0",
                "text/plain; charset=Shift_JIS",
                ("あ", "Shift_JIS"),
            ),
            (
                b"\xff\xfea\0b\0",
                "text/plain; charset=utf-8",
                ("ab", "UTF-16LE"),
            ),
            (b"\xef\xbb\xbfab", "text/plain", ("ab", "UTF-8")),
            (
                b"\xef\xbb\xbfab",
                "text/plain; charset=latin1",
                ("ab", "UTF-8"),
            ),
            (b"{\"a\":1}", "application/json", ("{\"a\":1}", "UTF-8")),
            (b"plain", "", ("plain", "UTF-8")),
            (b"plain", "application/octet-stream", ("plain", "UTF-8")),
            (
                b"plain",
                "text/plain; charset=none-such",
                ("plain", "UTF-8"),
            ),
            (b"", "image/png", ("", "UTF-8")),
            // Cut in the middle of a character.
            (b"gr\xc3", "application/json", ("gr", "UTF-8")),
            (
                b"a\xffb",
                "text/plain; charset=utf-8",
                ("a\u{fffd}b", "UTF-8"),
            ),
        ] {
            let (text, encoding) = shown(bytes, media_type).unwrap();
            assert_eq!((text.as_str(), encoding), expected, "{media_type}");
        }
        let html = b"<html><head><meta charset=\"windows-1251\"><title>\xcf\xf0</title>";
        let (text, encoding) = shown(html, "text/html").unwrap();
        assert!(text.ends_with("<title>Пр</title>"), "{text}");
        assert_eq!(encoding, "windows-1251");
        let xml = b"<?xml version='1.0' encoding='ISO-8859-2'?><a>\xb1</a>";
        assert!(
            shown(xml, "application/xml")
                .unwrap()
                .0
                .ends_with("<a>ą</a>")
        );
        let wide = b"<meta charset=utf-16><p>ok";
        assert_eq!(shown(wide, "text/html").unwrap().1, "UTF-8");
    }

    #[test]
    fn what_is_no_text_is_none() {
        for (bytes, media_type) in [
            (b"\x89PNG\r\n\x1a\n".as_slice(), "image/png"),
            (b"a\0b", "application/octet-stream"),
            (b"\xff\xd8\xff", ""),
        ] {
            assert_eq!(shown(bytes, media_type), None, "{media_type}");
        }
    }

    #[test]
    fn a_packed_body_is_not_taken_for_text() {
        let mut headers = HeaderMap::new();
        headers.insert("content-encoding", "gzip".parse().unwrap());
        headers.insert("content-type", "text/plain".parse().unwrap());
        let body = Body {
            bytes: b"abc".to_vec(),
            end: End::Truncated,
        };
        let mut result = json!({});
        body.describe(&headers, &mut result);
        assert_eq!(
            result,
            json!({"bytes": 3, "truncated": true, "base64": "YWJj"})
        );
    }

    proptest! {
        #[test]
        fn any_bytes_and_content_type_are_read(
            bytes in proptest::collection::vec(any::<u8>(), 0..100),
            media_type in "(text/html|application/xml|)(; ?charset=[a-z0-9\"-]{0,12})?",
            head in "(<meta charset=|<\\?xml encoding=)?[a-z0-9\"'-]{0,12}",
        ) {
            let mut document = head.into_bytes();
            document.extend(bytes);
            let _ = text(document, &media_type);
        }

        #[test]
        fn utf8_comes_out_as_it_went_in(whole in "[^\\x00\u{feff}]{0,50}") {
            prop_assert_eq!(shown(whole.as_bytes(), ""), Some((whole, "UTF-8")));
        }
    }
}
