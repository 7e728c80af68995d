//! The meaning of arguments named `path` or `url` in any spelling: a different spelling of a path or URL must
//! not evade a rule.

use reqwest::Url;

use super::pattern;

/// Kind of an argument, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `path`, or a name with the ending `_path`.
    Path,
    /// `url`, or a name with the ending `_url`.
    Url,
}

impl Kind {
    pub(super) fn of(name: &str) -> Option<Self> {
        match name.rsplit('_').next() {
            Some("path") => Some(Self::Path),
            Some("url") => Some(Self::Url),
            Some(_) | None => None,
        }
    }

    /// The plain spelling of an argument; `None` if the argument has the plain spelling.
    pub(super) fn plain(self, text: &str) -> Option<String> {
        let plain = match self {
            Self::Path => Some(path(text)),
            Self::Url => url(text),
        };
        plain.filter(|plain| plain != text)
    }

    /// The pattern for plain spellings; `None` if the pattern is the same.
    pub(super) fn pattern(self, text: &str) -> Option<String> {
        let plain = match self {
            // A `*` may stand for any number of names, so nobody knows what `..` takes back.
            Self::Path => (!text.contains("..")).then(|| path(text)),
            Self::Url => url_pattern(text),
        };
        plain.filter(|plain| plain != text)
    }
}

/// A path without `.`, without empty parts, and with `..` resolved.
pub(crate) fn path(text: &str) -> String {
    let root = if text.starts_with('/') { "/" } else { "" };
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            // Above the root is the root.
            ".." if !root.is_empty() => {}
            other => parts.push(other),
        }
    }
    match (root, parts.join("/")) {
        ("", plain) if plain.is_empty() => ".".to_owned(),
        (root, plain) => root.to_owned() + &plain,
    }
}

/// A URL as a client reads the URL: scheme and host in lower case, numbers of addresses in their usual form, no
/// default port, no `..`; and without the parts that no server receives (credentials, fragment, and the dot at
/// the end of a host).
#[must_use]
pub fn url(text: &str) -> Option<String> {
    let mut url = Url::parse(text).ok()?;
    url.set_fragment(None);
    // Fails only for URLs that have none.
    let _ = (url.set_username(""), url.set_password(None));
    if let Some(host) = url.host_str().and_then(|host| host.strip_suffix('.')) {
        let host = host.to_owned();
        url.set_host(Some(&host)).ok()?;
    }
    Some(decoded(url.as_str()))
}

/// Rounds of decoding: each server on the way may decode once.
const MAX_DECODED: usize = 4;

/// A URL as the most lenient server reads the URL; `None` if the plain spelling is the same: with escaped slashes
/// and dots decoded, no parameters of path segments, no empty segments, and `..` resolved afterwards.
/// `https://host/public/..%2fkeys` may be answered as `https://host/keys`.
///
/// RFC 3986 leaves these differences to the server, so the reading of the server is unknown here: restrictions
/// apply to both readings, and permissions have to hold for both.
#[must_use]
pub fn lenient_url(text: &str) -> Option<String> {
    let plain = url(text)?;
    let (base, path, rest) = parts(&plain)?;
    let path = self::path(&without_parameters(&taken_back(path)));
    let lenient = format!("{base}{path}{}{rest}", last_slash(&plain, &path));
    (lenient != plain).then_some(lenient)
}

/// A pattern of URLs for the lenient readings; `None` if the pattern is the same. A `*` may stand for any
/// number of segments, so a pattern with `*` and `..` has no lenient form.
fn lenient_pattern(pattern: &str) -> Option<String> {
    let (base, path, rest) = parts(pattern)?;
    let path = without_parameters(&taken_back(path));
    if path.split('/').any(|part| part == "..") {
        return None;
    }
    let path = self::path(&path);
    let lenient = format!("{base}{path}{}{rest}", last_slash(pattern, &path));
    (lenient != pattern).then_some(lenient)
}

/// The text before the path of a URL, the path, and the text after the path.
fn parts(url: &str) -> Option<(&str, &str, &str)> {
    let start = url.find("://")? + 3;
    let start = start + url[start..].find('/')?;
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let path = url.get(start..end)?;
    Some((&url[..start], path, &url[end..]))
}

/// The slash at the end of a path of a URL: the path without the slash is a different place.
fn last_slash(url: &str, path: &str) -> &'static str {
    let ends = parts(url).is_some_and(|(_, path, _)| taken_back(path).ends_with('/'));
    if ends && path != "/" { "/" } else { "" }
}

/// A path with slashes, dots, semicolons, percent signs and unreserved characters decoded.
fn taken_back(path: &str) -> String {
    let mut path = path.to_owned();
    for _ in 0..MAX_DECODED {
        let again = decode(&path, |byte| {
            byte.is_ascii_alphanumeric() || b"-._~/\\;%".contains(&byte)
        });
        if again == path {
            break;
        }
        path = again;
    }
    path.replace('\\', "/")
}

/// A path without the parameters after a `;` in each segment. A `*` in the parameters may stand for further
/// segments, and stays.
fn without_parameters(path: &str) -> String {
    let parts: Vec<String> = path
        .split('/')
        .map(|part| match part.split_once(';') {
            Some((name, parameters)) if parameters.contains('*') => format!("{name}*"),
            Some((name, _)) => name.to_owned(),
            None => part.to_owned(),
        })
        .collect();
    parts.join("/")
}

/// Patterns of URLs: as they are written, in their plain spelling, and for lenient readings.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct UrlPatterns {
    exact: Vec<String>,
    lenient: Vec<String>,
}

impl UrlPatterns {
    /// `texts` are patterns as they are written, with or without their plain spellings.
    pub(super) fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut patterns = Self {
            exact: Vec::new(),
            lenient: Vec::new(),
        };
        for text in texts {
            let plain = url_pattern(text).filter(|plain| plain != text);
            let plain = [Some(text.to_owned()), plain].into_iter().flatten();
            for pattern in plain {
                patterns.lenient.extend(lenient_pattern(&pattern));
                patterns.exact.push(pattern);
            }
        }
        patterns
    }

    /// Whether a pattern may describe a URL, in the reading of some server.
    pub(super) fn may_match(&self, url: &str) -> bool {
        let lenient = lenient_url(url);
        self.matches(url) || lenient.is_some_and(|url| self.matches_leniently(&url))
    }

    /// Whether the patterns describe a URL in every reading of a server.
    pub(super) fn surely_match(&self, url: &str) -> bool {
        let lenient = lenient_url(url);
        self.matches(url) && lenient.is_none_or(|url| self.matches_leniently(&url))
    }

    fn matches(&self, url: &str) -> bool {
        self.exact.iter().any(|one| pattern::matches(one, url))
    }

    fn matches_leniently(&self, url: &str) -> bool {
        self.matches(url) || self.lenient.iter().any(|one| pattern::matches(one, url))
    }
}

/// The host of a URL in its plain spelling, without its port; the whole text of anything else.
pub(crate) fn host(url: &str) -> &str {
    let Some((_, rest)) = url.split_once("://") else {
        return url;
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = &rest[..end];
    // A colon within brackets belongs to the address.
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host,
        Some(_) | None => authority,
    }
}

fn url_pattern(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, rest) = rest.split_at(end);
    let host = host.to_ascii_lowercase();
    let port = match scheme.as_str() {
        "http" => ":80",
        "https" => ":443",
        _ => "",
    };
    let host = host.strip_suffix(port).unwrap_or(&host);
    let rest = match rest {
        "" if !host.ends_with('*') => "/",
        rest => rest,
    };
    Some(format!("{scheme}://{host}{}", decoded(rest)))
}

/// Decodes unreserved characters (RFC 3986, 6.2.2).
fn decoded(text: &str) -> String {
    decode(text, |byte| {
        byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
    })
}

/// Decodes these ASCII bytes; the remaining escapes are in upper case.
fn decode(text: &str, is_plain: impl Fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let digits = rest.get(1..3);
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (byte, digits) {
            (Some(byte), _) if is_plain(byte) => {
                out.push(char::from(byte));
                rest = &rest[3..];
            }
            (Some(_), Some(digits)) => {
                out.push('%');
                out.push_str(&digits.to_ascii_uppercase());
                rest = &rest[3..];
            }
            (Some(_) | None, _) => {
                out.push('%');
                rest = &rest[1..];
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_an_argument_is() {
        for (name, kind) in [
            ("path", Some(Kind::Path)),
            ("to_path", Some(Kind::Path)),
            ("url", Some(Kind::Url)),
            ("base_url", Some(Kind::Url)),
            ("pathology", None),
            ("curl", None),
        ] {
            assert_eq!(Kind::of(name), kind, "{name}");
        }
    }

    #[test]
    fn a_path_has_one_plain_spelling() {
        for (text, plain) in [
            ("secret", "secret"),
            ("./a/../secret", "secret"),
            ("secret/", "secret"),
            ("a//b/./c", "a/b/c"),
            ("../secret", "../secret"),
            ("a/../../secret", "../secret"),
            ("/../etc/./passwd", "/etc/passwd"),
            ("/", "/"),
            ("", "."),
            ("./", "."),
            ("...", "..."),
        ] {
            assert_eq!(path(text), plain, "{text}");
        }
    }

    #[test]
    fn a_url_has_one_plain_spelling() {
        for (text, plain) in [
            ("HTTP://Host", "http://host/"),
            ("http://host:80/a/../b", "http://host/b"),
            ("https://ann:pw@host./x#part", "https://host/x"),
            ("http://0x7f.1/", "http://127.0.0.1/"),
            ("https:\\\\host\\x", "https://host/x"),
            (" ht\ntps://host/x", "https://host/x"),
            ("https://host/%73ecret?%61=%2f", "https://host/secret?a=%2F"),
            ("https://host/%", "https://host/%"),
            ("https://h\u{f6}st/", "https://xn--hst-sna/"),
        ] {
            assert_eq!(url(text).unwrap(), plain, "{text}");
        }
        assert_eq!(url("no url"), None);
    }

    #[test]
    fn a_url_has_a_lenient_reading_where_servers_differ() {
        for (text, lenient) in [
            ("http://h/public/..%2fx", Some("http://h/x")),
            ("http://h/public/%2e%2e%2fx", Some("http://h/x")),
            ("http://h/public/..%5cx", Some("http://h/x")),
            ("http://h/public/..;/x", Some("http://h/x")),
            (
                "http://h/public/..;a=1/x?q=..%2f",
                Some("http://h/x?q=..%2F"),
            ),
            ("http://h/public/%252e%252e%252fx", Some("http://h/x")),
            ("http://h//deny/x", Some("http://h/deny/x")),
            ("http://h/a//b/", Some("http://h/a/b/")),
            ("http://h/a%2Fb", Some("http://h/a/b")),
            ("http://h/a;v=1/b", Some("http://h/a/b")),
            ("http://h/..%2f..%2f", Some("http://h/")),
            ("http://h/a/../b", None),
            ("http://h/", None),
            ("http://h/a/b/?x=//y", None),
            ("no url", None),
        ] {
            assert_eq!(lenient_url(text).as_deref(), lenient, "{text}");
        }
        // Each layer of escapes takes one more pass, and there are only so many.
        let deep = format!("http://h/{}", "%25".repeat(50_000));
        assert!(lenient_url(&deep).is_some());
    }

    #[test]
    fn patterns_judge_both_readings_of_a_url() {
        for (pattern, url, may, surely) in [
            ("http://h/public/*", "http://h/public/a", true, true),
            ("http://h/public/*", "http://h/public/..%2Fx", true, false),
            ("http://h/public/*", "http://h/public/..;/x", true, false),
            ("http://h/public/*", "http://h/public/..%5Cx", true, false),
            ("http://h/public/*", "http://h/public//a", true, true),
            ("http://h/public/*", "http://h/public/a%2Fb", true, true),
            ("http://h/deny/*", "http://h//deny/x", true, false),
            ("http://h/deny/*", "http://h/a/..%2Fdeny/x", true, false),
            ("http://h/a%2Fb/*", "http://h/a%2Fb/c", true, true),
            ("http://h/a%2fb/*", "http://h/a%2Fb/c", true, true),
            // Another place for a server that tells them apart.
            ("http://h/a%2Fb/*", "http://h/a/b/c", false, false),
            ("http://h/a;v=*/c", "http://h/a;v=1/c", true, true),
            ("*", "http://h/public/..%2Fx", true, true),
            ("http://h/a/*", "http://h/b", false, false),
        ] {
            let patterns = UrlPatterns::new([pattern]);
            assert_eq!(patterns.may_match(url), may, "{pattern} {url}");
            assert_eq!(patterns.surely_match(url), surely, "{pattern} {url}");
        }
    }

    #[test]
    fn a_plain_url_has_a_host() {
        for (text, host) in [
            ("https://host/x:1", "host"),
            ("https://host:8443/", "host"),
            ("http://[::1]:80/", "[::1]"),
            ("http://[::1]/", "[::1]"),
            ("no url", "no url"),
        ] {
            assert_eq!(super::host(text), host, "{text}");
        }
    }

    #[test]
    fn patterns_are_read_alike() {
        for (kind, text, plain) in [
            (Kind::Url, "HTTPS://Host:443/A*", Some("https://host/A*")),
            (Kind::Url, "https://host", Some("https://host/")),
            (Kind::Url, "https://host*", None),
            (Kind::Url, "https://*", None),
            (Kind::Url, "*.example.com/*", None),
            (Kind::Path, "./reports/*", Some("reports/*")),
            (Kind::Path, "reports/*", None),
            (Kind::Path, "a/*/../b", None),
        ] {
            assert_eq!(kind.pattern(text).as_deref(), plain, "{text}");
        }
    }
}
