//! Query strings: known parameters, each once.

use ops_core::Code;
use ops_engine::FieldError;
use utoipa::openapi::{
    Required,
    path::{Parameter, ParameterBuilder, ParameterIn},
};

use crate::{
    json::{Member, extend, in_document},
    problem::Problem,
};

/// Declares the parameters of a query string: for `/openapi.json`, and as `KNOWN` for [`Query::parse`].
/// Their types are those of answers, with further keywords of their schemas after `=`.
macro_rules! params {
    (
        $(#[doc = $about:literal])+
        $vis:vis struct $name:ident {
            $($(#[doc = $text:literal])* $field:ident: $kind:ty $(= $more:tt)?,)+
        }
    ) => {
        $(#[doc = $about])+
        $vis enum $name {}

        impl $name {
            /// The names of the parameters.
            pub(crate) const KNOWN: &'static [&'static str] = &[$(stringify!($field)),+];
        }

        impl utoipa::IntoParams for $name {
            fn into_params(
                _: impl Fn() -> Option<utoipa::openapi::path::ParameterIn>,
            ) -> Vec<utoipa::openapi::path::Parameter> {
                vec![$($crate::query::parameter($crate::json::Member {
                    name: stringify!($field),
                    about: concat!($($text),*),
                    schema: <$kind as $crate::json::Shown>::schema(),
                    more: $crate::json::view!(@more $($more)?),
                    required: false,
                })),+]
            }
        }
    };
}

/// A parameter of a query string, for `/openapi.json`.
pub(crate) fn parameter(member: Member) -> Parameter {
    let mut schema = member.schema;
    extend(&mut schema, member.more);
    let about = Some(member.about.trim()).filter(|about| !about.is_empty());
    ParameterBuilder::new()
        .name(member.name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(about)
        .schema(Some(in_document(schema)))
        .build()
}

pub(crate) use params;

/// The parameters of a request, decoded.
pub(crate) struct Query {
    pairs: Vec<(&'static str, String)>,
    errors: Vec<FieldError>,
}

impl Query {
    /// Reads a query string whose parameters are `known`; those in `lists` may be repeated.
    pub(crate) fn parse(
        query: Option<&str>,
        known: &[&'static str],
        lists: &[&'static str],
    ) -> Self {
        let mut read = Self {
            pairs: Vec::new(),
            errors: Vec::new(),
        };
        let pieces = query.unwrap_or_default().split('&');
        for piece in pieces.filter(|piece| !piece.is_empty()) {
            let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
            let name = String::from_utf8_lossy(&decode(name)).into_owned();
            let Some(known_name) = known.iter().find(|known| **known == name) else {
                let message =
                    units::nearest::unknown("query parameter", &name, known.iter().copied());
                let shown: String = name.chars().take(80).collect();
                read.fail(&shown, "unknown_field", message);
                continue;
            };
            if !lists.contains(known_name) && read.get(known_name).is_some() {
                read.fail(
                    known_name,
                    "duplicate_field",
                    format!("`{name}` is given twice"),
                );
                continue;
            }
            match String::from_utf8(decode(value)) {
                Ok(value) => read.pairs.push((known_name, value)),
                Err(_) => read.fail(known_name, "string_type", "must be UTF-8"),
            }
        }
        read
    }

    /// Reads the query string of a request that takes no parameters.
    ///
    /// # Errors
    /// 422 that names every parameter.
    pub(crate) fn none(query: Option<&str>) -> Result<(), Problem> {
        Self::parse(query, &[], &[]).check()
    }

    /// A parameter; an empty one is none.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Every value of a parameter.
    pub(crate) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.pairs
            .iter()
            .filter(move |(known, value)| *known == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// A whole number within a range.
    pub(crate) fn number(
        &mut self,
        name: &'static str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Option<u64> {
        let number = self.get(name)?.parse().ok();
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let (low, high) = (range.start(), range.end());
            let message = match *high {
                u64::MAX => format!("must be a whole number from {low}"),
                high => format!("must be a whole number from {low} to {high}"),
            };
            self.fail(name, "int_type", message);
        }
        number
    }

    /// The most items of a page: up to `most`, and `default` unless it is given.
    pub(crate) fn limit(&mut self, most: u32, default: u32) -> u32 {
        let limit = self.number("limit", 1..=u64::from(most));
        limit
            .and_then(|limit| limit.try_into().ok())
            .unwrap_or(default)
    }

    /// Whether a switch is on: `true`, or given without a value.
    pub(crate) fn flag(&mut self, name: &'static str) -> bool {
        let given = self.pairs.iter().find(|(known, _)| *known == name);
        match given.map(|(_, value)| value.as_str()) {
            None | Some("false") => false,
            Some("true" | "") => true,
            Some(_) => {
                self.fail(name, "bool_type", "must be `true` or `false`");
                false
            }
        }
    }

    /// Says that a parameter is wrong.
    pub(crate) fn fail(&mut self, name: &str, kind: &'static str, message: impl Into<String>) {
        self.errors.push(FieldError::new(&[name], kind, message));
    }

    /// Refuses the request if a parameter was wrong.
    ///
    /// # Errors
    /// 422 that names every parameter that is wrong.
    pub(crate) fn check(self) -> Result<(), Problem> {
        if self.errors.is_empty() {
            return Ok(());
        }
        Err(Problem::parts(Code::InvalidQuery, "query", self.errors))
    }
}

/// Decodes `%41` and `+`; what is no escape stays as it is.
fn decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let escaped = bytes.get(at + 1..at + 3).filter(|_| *byte == b'%');
        let escaped = escaped
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .filter(|hex| hex.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match escaped {
            Some(escaped) => {
                out.push(escaped);
                at += 3;
            }
            None => {
                out.push(if *byte == b'+' { b' ' } else { *byte });
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_checked() {
        let mut query = Query::parse(
            Some("limit=5&state=a%2cb&state=c+d&&cursor="),
            &["limit", "state", "cursor"],
            &["state"],
        );
        assert_eq!(query.number("limit", 1..=9), Some(5));
        assert_eq!(query.all("state").collect::<Vec<_>>(), ["a,b", "c d"]);
        assert_eq!(query.get("cursor"), None);
        assert!(query.check().is_ok());

        let mut query = Query::parse(Some("limti=5&limit=1&limit=%zz"), &["limit"], &[]);
        assert_eq!(query.number("limit", 2..=9), None);
        let body = String::from_utf8(query.check().unwrap_err().body(None)).unwrap();
        for part in [
            "unknown query parameter `limti`; did you mean `limit`?",
            "`limit` is given twice",
            "`limit` must be a whole number from 2 to 9",
            "\"loc\":[\"query\",\"limti\"]",
        ] {
            assert!(body.contains(part), "{part} in {body}");
        }
    }

    #[test]
    fn broken_escapes_stay() {
        assert_eq!(decode("a%4"), b"a%4");
        assert_eq!(decode("%+1"), b"% 1");
        assert_eq!(decode("%e2%82%ac"), "\u{20ac}".as_bytes());
    }
}
