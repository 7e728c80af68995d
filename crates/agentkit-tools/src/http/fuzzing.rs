//! Fuzz targets: pages, packed bodies and addresses.

use std::net::IpAddr;

use url::{Host, Url};

use super::{
    address::{effective, is_public},
    readable::readable,
    target,
    unpack::Coding,
};

/// The most bytes of text and of unpacked bodies here.
const MAX: usize = 64 << 10;

/// A page as text: not much longer than was asked for.
pub(crate) fn html(data: &[u8]) {
    let base = Url::parse("https://example.com/a/b").expect("a URL");
    let read = readable(&String::from_utf8_lossy(data), &base, MAX);
    assert!(read.text.len() <= MAX);
}

/// A body in each coding: never more than was asked for.
pub(crate) fn packed(data: &[u8]) {
    for coding in [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd] {
        let (bytes, _) = coding.unpack(data, MAX);
        assert!(bytes.len() <= MAX);
        assert_eq!(Coding::named(coding.name()), Some(coding));
    }
}

/// A URL. What one parser took, it takes again as the same; an address that stands in it is judged as the one that
/// would be called.
pub(crate) fn url(data: &[u8]) {
    let Ok(url) = target::parse(&String::from_utf8_lossy(data)) else {
        return;
    };
    let again = target::parse(url.as_str()).expect("a URL is a URL");
    assert_eq!(again, url);
    assert!(url.username().is_empty() && url.password().is_none());
    let ip: IpAddr = match url.host() {
        Some(Host::Ipv4(ip)) => ip.into(),
        Some(Host::Ipv6(ip)) => ip.into(),
        Some(Host::Domain(_)) | None => return,
    };
    let effective = effective(ip);
    if effective.is_loopback() || effective.is_unspecified() {
        assert!(!is_public(effective), "{ip}");
    }
}
