//! Bodies of requests, declared once: `body!` makes of one declaration the type that a handler works
//! with, its reader, and its JSON Schema in `/openapi.json`. So a field that is read is documented, and
//! one that is documented is read.
//!
//! A reader takes the fields as text, tells everything that is wrong at once, and builds no tree of a
//! large value. It checks types; what a value must be beyond its type is a rule of the engine, which a
//! schema repeats for clients.

mod kind;

use ops_core::Code;
use ops_engine::FieldError;
use serde_json::{Map, Value, json};

pub(super) use self::kind::{
    Any, AnyOrNull, Choice, Flag, Kind, Labels, Names, Nested, Object, RawFlag, RawText, Seconds,
    Text, Time, Usd, Whole, Within,
};
use crate::{
    json::{Fields, Member, Schemas, extend, nullable, object},
    problem::Problem,
};

/// A body, or an object within a body.
pub(super) trait Body: Sized {
    /// Its name among the schemas.
    const NAME: &'static str;
    /// The names of its fields.
    const FIELDS: &'static [&'static str];

    /// Takes the values out of the fields of an object.
    fn take(fields: &Fields<'_>, errors: &mut Vec<FieldError>) -> Self;

    /// Its JSON Schema.
    fn schema() -> Value;

    /// Adds the named schemas that the schema refers to.
    fn schemas(found: &mut Schemas);

    /// Reads a text that stands at this place of a request; none if it is no object. What is wrong
    /// goes to `errors`.
    fn read_at(text: &str, path: &[&str], errors: &mut Vec<FieldError>) -> Option<Self> {
        let fields = object(text, Self::FIELDS, path, errors);
        fields.is_object().then(|| Self::take(&fields, errors))
    }

    /// Reads a whole body, and checks the conditions between its fields.
    ///
    /// # Errors
    /// 422 that names all mistakes.
    fn read<T>(
        text: &str,
        check: impl FnOnce(Self, &mut Vec<FieldError>) -> T,
    ) -> Result<T, Problem> {
        let mut errors = Vec::new();
        let body = Self::read_at(text, &[], &mut errors);
        let checked = body.map(|body| check(body, &mut errors));
        match checked {
            Some(checked) if errors.is_empty() => Ok(checked),
            Some(_) | None => Err(Problem::parts(Code::InvalidBody, "body", errors)),
        }
    }
}

/// The schema of an object with these fields and no others. A field that is not required may be
/// `null`, which counts as missing.
pub(super) fn schema_of(about: &str, members: Vec<Member>, conditions: Value) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for member in members {
        let mut schema = member.schema;
        extend(&mut schema, member.more);
        if member.required {
            required.push(member.name);
        } else {
            schema = nullable(schema);
        }
        schema["description"] = member.about.trim().into();
        properties.insert(member.name.to_owned(), schema);
    }
    let mut schema = json!({
        "type": "object",
        "description": about.trim(),
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    if !units::mutant!("ops-server.conditions_are_not_told") {
        extend(&mut schema, conditions);
    }
    schema
}

/// A condition: one of these fields is there, and is not `null`.
pub(super) fn one_given(names: &[&str]) -> Value {
    let given =
        |name: &&str| json!({"required": [name], "properties": {*name: {"not": {"type": "null"}}}});
    match names {
        [one] => given(one),
        names => json!({"anyOf": names.iter().map(given).collect::<Vec<_>>()}),
    }
}

/// A condition: none of these fields is there, or all of them are `null`.
pub(super) fn none_given(names: &[&str]) -> Value {
    let properties = names
        .iter()
        .map(|name| ((*name).to_owned(), json!({"type": "null"})));
    json!({"properties": properties.collect::<Map<_, _>>()})
}

/// Declares a body: its fields with their kinds, further keywords of their schemas after `=`, what is
/// said where a required one is missing after `;`, and what fields must be together after `with`.
macro_rules! body {
    (
        $(#[doc = $about:literal])+
        $vis:vis struct $name:ident {
            $(
                $(#[doc = $text:literal])+
                $field:ident: $kind:ty $(= $more:tt)? $(; required $missing:literal)?,
            )+
        }
        $(with $conditions:expr;)?
    ) => {
        $(#[doc = $about])+
        #[derive(Debug)]
        $vis struct $name {
            $(
                $(#[doc = $text])+
                $vis $field: Option<<$kind as $crate::rest::shape::Kind>::Value>,
            )+
        }

        impl $crate::rest::shape::Body for $name {
            const NAME: &'static str = stringify!($name);
            const FIELDS: &'static [&'static str] = &[$(stringify!($field)),+];

            fn take(
                fields: &$crate::json::Fields<'_>,
                errors: &mut Vec<ops_engine::FieldError>,
            ) -> Self {
                use $crate::rest::shape::Kind;
                $($(
                    if !<$kind>::is_given(fields, stringify!($field)) {
                        errors.push(fields.error(Some(stringify!($field)), "missing", $missing));
                    }
                )?)+
                Self {
                    $($field: match <$kind>::is_given(fields, stringify!($field)) {
                        true => <$kind>::read(fields, stringify!($field), errors),
                        false => None,
                    },)+
                }
            }

            fn schema() -> serde_json::Value {
                use $crate::{json::Member, rest::shape::Kind};
                $crate::rest::shape::schema_of(
                    concat!($($about),+),
                    vec![$(Member {
                        name: stringify!($field),
                        about: concat!($($text),+),
                        schema: <$kind>::schema(),
                        more: $crate::rest::shape::body!(@more $($more)?),
                        required: $crate::rest::shape::body!(@required $($missing)?),
                    }),+],
                    $crate::rest::shape::body!(@with $($conditions)?),
                )
            }

            fn schemas(found: &mut $crate::json::Schemas) {
                $(<$kind as $crate::rest::shape::Kind>::schemas(found);)+
            }
        }

        $crate::rest::shape::named!($name);
    };
    (@more) => { serde_json::Value::Null };
    (@more $more:tt) => { serde_json::json!($more) };
    (@with) => { serde_json::Value::Null };
    (@with $conditions:expr) => { $conditions };
    (@required) => { false };
    (@required $missing:literal) => { true };
}

/// Lets `#[utoipa::path]` name a body.
macro_rules! named {
    ($name:ident) => {
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                $crate::json::in_document(<Self as $crate::rest::shape::Body>::schema())
            }
        }

        impl utoipa::ToSchema for $name {
            fn name() -> std::borrow::Cow<'static, str> {
                <Self as $crate::rest::shape::Body>::NAME.into()
            }

            fn schemas(found: &mut $crate::json::Schemas) {
                <Self as $crate::rest::shape::Body>::schemas(found);
            }
        }
    };
}

pub(super) use {body, named};

#[cfg(test)]
mod tests {
    use super::*;

    body! {
        /// Something
        /// small.
        struct Small {
            /// How many.
            count: Within<1, 5> = {"default": 2},
            /// Whose.
            name: Text; required "is missing: say whose",
            /// The former value.
            was: AnyOrNull; required "is missing",
            /// How.
            inner: Nested<Inner>,
        }
        with one_given(&["count", "inner"]);
    }

    body! {
        /// More.
        struct Inner {
            /// Whether.
            on: Flag,
        }
    }

    #[test]
    fn one_declaration_reads_and_describes() {
        let read = |text: &str| {
            let mut errors = Vec::new();
            let body = Small::read_at(text, &["at"], &mut errors);
            let errors: Vec<_> = errors
                .iter()
                .map(|error| format!("{} {}", error.path.join("."), error.message))
                .collect();
            (body, errors)
        };
        let (body, errors) = read(r#"{"count":5,"name":"a","was":null,"inner":{"on":true}}"#);
        assert_eq!(errors, Vec::<String>::new());
        let body = body.unwrap();
        assert_eq!((body.count, body.name.as_deref()), (Some(5), Some("a")));
        assert_eq!(body.was, Some(Value::Null));
        assert_eq!(body.inner.and_then(|inner| inner.on), Some(true));

        let (_, errors) = read(r#"{"count":6,"inner":{"on":1,"of":2},"nmae":"a"}"#);
        assert_eq!(
            errors,
            [
                "at.nmae unknown field `nmae`; did you mean `name`?",
                "at.name is missing: say whose",
                "at.was is missing",
                "at.count must be 1 to 5",
                "at.inner.of unknown field `of`; did you mean `on`?",
                "at.inner.on must be `true` or `false`",
            ]
        );
        let (body, errors) = read("[1]");
        assert!(body.is_none());
        assert_eq!(errors, ["at must be an object"]);

        let given = |name: &str| json!({"required": [name], "properties": {name: {"not": {"type": "null"}}}});
        assert_eq!(
            <Small as Body>::schema(),
            json!({
                "type": "object", "description": "Something small.",
                "properties": {
                    "count": {
                        "type": ["integer", "null"], "minimum": 1, "maximum": 5, "default": 2,
                        "description": "How many.",
                    },
                    "name": {"type": "string", "description": "Whose."},
                    "was": {"description": "The former value."},
                    "inner": {
                        "oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Inner"}],
                        "description": "How.",
                    },
                },
                "required": ["name", "was"],
                "additionalProperties": false,
                "anyOf": [given("count"), given("inner")],
            })
        );
    }
}
