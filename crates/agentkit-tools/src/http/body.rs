//! Bodies of answers: read up to a limit of size and time, unpacked, and shown as text if they are
//! text.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::{
    readable::readable,
    unpack::{Coding, Ended},
};

/// How far into a document its own word on its encoding is looked for, in bytes.
const SNIFFED: usize = 1024;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// The bytes of a body that were read, as they came.
#[derive(Debug, Default)]
pub(super) struct Body {
    bytes: Vec<u8>,
    end: End,
}

/// A body as it was meant.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    end: End,
    /// Packing of the body.
    packed: Packed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packed {
    No,
    /// The body was packed, and is not any more.
    Undone(Coding),
    /// In a way that is not known here.
    Unknown,
}

/// Why the reading ended.
#[derive(Debug, Default)]
enum End {
    /// There is no more.
    #[default]
    Whole,
    /// More was not asked for.
    Truncated,
    /// The connection broke off.
    Broken(String),
}

impl Body {
    /// Reads `max` bytes at most, until then.
    pub(super) async fn read(mut incoming: Incoming, max: u64, until: Instant) -> Self {
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        let mut body = Self::default();
        let announced = incoming.size_hint().exact().unwrap_or(0);
        let announced = usize::try_from(announced).unwrap_or(usize::MAX);
        body.bytes.reserve_exact(announced.min(max));
        loop {
            let data = match timeout_at(until, incoming.frame()).await {
                Ok(None) => break,
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                Ok(Some(Err(error))) => {
                    body.end = End::Broken(format!("the connection broke: {error}"));
                    break;
                }
                // What came is worth more than nothing: a stream of events never ends.
                Err(_) => {
                    body.end = End::Broken("the time was over before the body ended".to_owned());
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

    /// The body without its `Content-Encoding`, `max` bytes at most.
    pub(super) fn unpacked(self, headers: &HeaderMap, max: u64) -> Content {
        let codings: Vec<&str> = headers
            .get_all(header::CONTENT_ENCODING)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity"))
            .collect();
        let coding = match codings.as_slice() {
            [] => None,
            [one] => Coding::named(one),
            _ => None,
        };
        let Some(coding) = coding.filter(|_| !self.bytes.is_empty()) else {
            let packed = if codings.is_empty() || self.bytes.is_empty() {
                Packed::No
            } else {
                Packed::Unknown
            };
            return Content {
                bytes: self.bytes,
                end: self.end,
                packed,
            };
        };
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        let (bytes, rest) = coding.unpack(&self.bytes, max);
        let end = match (self.end, rest) {
            (_, Ended::Unwanted) => End::Truncated,
            // That it ends too early is known.
            (end @ (End::Truncated | End::Broken(_)), Ended::None | Ended::Broken(_)) => end,
            (End::Whole, Ended::None) => End::Whole,
            (End::Whole, Ended::Broken(error)) => {
                End::Broken(format!("the packed body is damaged: {error}"))
            }
        };
        Content {
            bytes,
            end,
            packed: Packed::Undone(coding),
        }
    }
}

impl Content {
    /// Why this is not all that there is, unless what was asked for is just that much.
    pub(super) fn missing(&self, has_limit: bool) -> Option<&str> {
        match &self.end {
            End::Whole => None,
            End::Truncated if has_limit => None,
            End::Truncated => Some("the body is larger than what is read of one"),
            End::Broken(why) => Some(why),
        }
    }

    /// Adds to a result how much there is.
    pub(super) fn tell(&self, result: &mut Value) {
        result["bytes"] = self.bytes.len().into();
        result["truncated"] = matches!(self.end, End::Truncated).into();
        if let End::Broken(why) = &self.end {
            result["incomplete"] = why.as_str().into();
        }
        if let Packed::Undone(coding) = self.packed {
            result["unpacked"] = coding.name().into();
        }
    }

    /// Adds the content to a result: as text if it is text, and without its tags if it is HTML.
    pub(super) fn show(self, headers: &HeaderMap, form: &Form<'_>, result: &mut Value) {
        let declared = headers.get(header::CONTENT_TYPE);
        let media_type = declared.and_then(|value| value.to_str().ok());
        let media_type = media_type.unwrap_or_default();
        let text = if self.packed == Packed::Unknown {
            Err(self.bytes)
        } else {
            text(self.bytes, media_type)
        };
        let (text, charset) = match text {
            Ok(text) => text,
            Err(bytes) => {
                result["base64"] = BASE64_STANDARD.encode(bytes).into();
                return;
            }
        };
        if charset != UTF_8 {
            result["charset"] = charset.name().into();
        }
        match form {
            Form::Readable { base, max } if is_html(media_type, &text) => {
                let page = readable(&text, base, usize::try_from(*max).unwrap_or(usize::MAX));
                if page.cut {
                    result["truncated"] = true.into();
                }
                if !page.title.is_empty() {
                    result["title"] = page.title.into();
                }
                result["form"] = "readable".into();
                result["text"] = page.text.into();
            }
            Form::Readable { .. } | Form::Raw => result["text"] = text.into(),
        }
    }
}

/// How a text is shown.
pub(super) enum Form<'a> {
    /// As the body came.
    Raw,
    /// HTML as text that is read without its tags, with links from where it is.
    Readable { base: &'a Url, max: u64 },
}

fn is_html(media_type: &str, text: &str) -> bool {
    let media_type = media_type.to_ascii_lowercase();
    let start = text.trim_start().get(..14).unwrap_or_default();
    let start = start.to_ascii_lowercase();
    let looks_so = start.starts_with("<!doctype html") || start.starts_with("<html");
    media_type.contains("html") || (media_type.is_empty() && looks_so)
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
    use serde_json::json;

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

    fn described(bytes: &[u8], end: End, pairs: &[(&'static str, &str)]) -> Value {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        let bytes = bytes.to_vec();
        let content = Body { bytes, end }.unpacked(&headers, 100);
        let mut result = json!({});
        content.tell(&mut result);
        content.show(&headers, &Form::Raw, &mut result);
        result
    }

    #[test]
    fn a_body_in_an_unknown_coding_is_not_taken_for_text() {
        for codings in [
            &[("content-encoding", "compress")][..],
            &[("content-encoding", "gzip, br")],
        ] {
            assert_eq!(
                described(b"abc", End::Truncated, codings),
                json!({"bytes": 3, "truncated": true, "base64": "YWJj"})
            );
        }
        assert_eq!(
            described(b"abc", End::Whole, &[("content-encoding", "identity")]),
            json!({"bytes": 3, "truncated": false, "text": "abc"})
        );
        let damaged = described(b"abc", End::Whole, &[("content-encoding", "gzip")]);
        let why = damaged["incomplete"].as_str().unwrap();
        assert!(why.contains("packed body is damaged"), "{why}");
    }

    #[test]
    fn html_is_known_by_its_type_or_its_beginning() {
        for (media_type, text, expected) in [
            ("text/html; charset=utf-8", "x", true),
            ("application/xhtml+xml", "x", true),
            ("", "\n<!DOCTYPE HTML><p>", true),
            ("text/plain", "<!doctype html>", false),
            ("", "<p>", false),
            ("application/json", "{}", false),
        ] {
            assert_eq!(is_html(media_type, text), expected, "{media_type} {text}");
        }
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
