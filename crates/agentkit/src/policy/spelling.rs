//! What an argument named `path` or `url` means, whatever way it is written: a rule must not be
//! evaded by another spelling of what it speaks of.

use reqwest::Url;

/// What an argument is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `path`, or a name that ends with `_path`.
    Path,
    /// `url`, or a name that ends with `_url`.
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

    /// The plain spelling of an argument, if it is written in another one.
    pub(super) fn plain(self, text: &str) -> Option<String> {
        let plain = match self {
            Self::Path => Some(path(text)),
            Self::Url => url(text),
        };
        plain.filter(|plain| plain != text)
    }

    /// What a pattern is for plain spellings, if that is another pattern.
    pub(super) fn pattern(self, text: &str) -> Option<String> {
        let plain = match self {
            // A `*` may stand for any number of names, so nobody knows what `..` takes back.
            Self::Path => (!text.contains("..")).then(|| path(text)),
            Self::Url => url_pattern(text),
        };
        plain.filter(|plain| plain != text)
    }
}

/// Without `.`, empty parts and what `..` takes back.
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

/// As a client reads it: scheme and host in lower case, numbers of addresses in their usual form, no
/// default port, no `..`; and without what the server is not asked with, which is credentials and the
/// fragment, and the dot at the end of a host.
pub(crate) fn url(text: &str) -> Option<String> {
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

/// The host of a URL in its plain spelling, without its port; the whole text if it is no such URL.
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

/// Without escapes of what needs none (RFC 3986, 6.2.2).
fn decoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let digits = rest.get(1..3);
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (byte, digits) {
            (Some(byte), _) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
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
