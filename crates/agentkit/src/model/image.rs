//! Images that a model is shown.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::Url;
use serde::{Deserialize, Serialize};

/// The kinds of images that every provider takes, with the bytes that they begin with.
const KINDS: [(&str, &[u8]); 4] = [
    ("image/png", b"\x89PNG\r\n\x1a\n"),
    ("image/jpeg", b"\xff\xd8\xff"),
    ("image/gif", b"GIF8"),
    ("image/webp", b"RIFF"),
];

/// An image that a model is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Image {
    /// Its bytes.
    Inline {
        /// For instance `image/png`.
        media_type: String,
        /// The bytes in base64.
        base64: String,
    },
    /// A place where the provider can get it.
    Url {
        /// The place.
        url: String,
    },
}

/// Something that is no image that a model can be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// It is neither of the two forms.
    #[error("must be like `data:image/png;base64,...` or `https://...`")]
    Form,
    /// The bytes are not base64.
    #[error("is not base64 (RFC 4648, with padding) after the comma")]
    Base64,
    /// It is of another kind.
    #[error("must be a PNG, JPEG, GIF or WebP image")]
    Kind,
    /// The bytes are not of the kind that is named.
    #[error("is not of the kind that its media type names")]
    Content,
}

impl Image {
    /// An image in this program, which is a PNG, JPEG, GIF or WebP.
    ///
    /// # Errors
    /// [`ImageError::Kind`] if it is none of these.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ImageError> {
        let media_type = Self::kind_of(bytes).ok_or(ImageError::Kind)?;
        Ok(Self::Inline {
            media_type: media_type.to_owned(),
            base64: STANDARD.encode(bytes),
        })
    }

    /// The media type of bytes that are a PNG, JPEG, GIF or WebP image.
    #[must_use]
    pub fn kind_of(bytes: &[u8]) -> Option<&'static str> {
        let mut kinds = KINDS.iter();
        let (media_type, _) = kinds.find(|(_, begin)| bytes.starts_with(begin))?;
        // RIFF begins recordings and films as well.
        let is_it = *media_type != "image/webp" || bytes.get(8..12) == Some(b"WEBP");
        is_it.then_some(media_type)
    }

    /// Reads a `data` URL (RFC 2397) in base64, or an `http` or `https` URL.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        let Some(data) = text.strip_prefix("data:") else {
            let url = Url::parse(text).map_err(|_| ImageError::Form)?;
            return match url.scheme() {
                "http" | "https" => Ok(Self::Url { url: url.into() }),
                _ => Err(ImageError::Form),
            };
        };
        let (media_type, base64) = data.split_once(";base64,").ok_or(ImageError::Form)?;
        let (_, begin) = KINDS
            .iter()
            .find(|(kind, _)| media_type.eq_ignore_ascii_case(kind))
            .ok_or(ImageError::Kind)?;
        let bytes = STANDARD.decode(base64).map_err(|_| ImageError::Base64)?;
        if !bytes.starts_with(begin) {
            return Err(ImageError::Content);
        }
        Ok(Self::Inline {
            media_type: media_type.to_ascii_lowercase(),
            base64: base64.to_owned(),
        })
    }
}

/// As [`Image::parse`] reads it.
impl std::fmt::Display for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inline { media_type, base64 } => write!(f, "data:{media_type};base64,{base64}"),
            Self::Url { url } => f.write_str(url),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\nrest";

    #[test]
    fn bytes_and_texts_give_the_same_image() {
        let image = Image::from_bytes(PNG).unwrap();
        assert_eq!(Image::parse(&image.to_string()), Ok(image.clone()));
        let upper = image.to_string().replace("image/png", "IMAGE/PNG");
        assert_eq!(Image::parse(&upper), Ok(image));
        let url = "https://example.org/a.png";
        assert_eq!(Image::parse(url).unwrap().to_string(), url);
    }

    #[test]
    fn what_is_no_image_says_so() {
        let data =
            |kind: &str, bytes: &[u8]| format!("data:{kind};base64,{}", STANDARD.encode(bytes));
        assert_eq!(Image::from_bytes(b"<svg/>"), Err(ImageError::Kind));
        for (text, error) in [
            ("a.png", ImageError::Form),
            ("file:///etc/passwd", ImageError::Form),
            ("data:image/png,abc", ImageError::Form),
            ("data:image/png;base64,###", ImageError::Base64),
            (&data("image/svg+xml", b"<svg/>"), ImageError::Kind),
            (&data("image/gif", PNG), ImageError::Content),
        ] {
            assert_eq!(Image::parse(text), Err(error), "{text}");
        }
    }
}
