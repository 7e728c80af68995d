//! Answers, declared once: `view!` makes of one declaration the type that a handler fills, its JSON text,
//! and its schema in `/openapi.json`. So a field that is answered is documented, and a documented field is
//! answered.

use serde_json::{Map, Value, json};
use utoipa::openapi::{
    Object, RefOr,
    extensions::ExtensionsBuilder,
    schema::{ObjectBuilder, Schema},
};

/// Schemas with their names.
pub(crate) type Schemas = Vec<(String, RefOr<Schema>)>;

/// A field of a schema.
pub(crate) struct Member {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) schema: Value,
    /// Keywords beside those of the type.
    pub(crate) more: Value,
    pub(crate) required: bool,
}

/// The schema of an object that may gain fields.
pub(crate) fn declared(about: &str, members: Vec<Member>) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for member in members {
        let mut schema = member.schema;
        extend(&mut schema, member.more);
        if !member.about.is_empty() {
            schema["description"] = member.about.trim().into();
        }
        if member.required {
            required.push(member.name);
        }
        properties.insert(member.name.to_owned(), schema);
    }
    let mut schema =
        json!({"type": "object", "description": about.trim(), "properties": properties});
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    schema
}

/// Adds keywords to a schema.
pub(crate) fn extend(schema: &mut Value, more: Value) {
    if let (Value::Object(schema), Value::Object(more)) = (schema, more) {
        schema.extend(more);
    }
}

/// A schema that takes `null` as well.
pub(crate) fn nullable(mut schema: Value) -> Value {
    if schema["$ref"].is_string() {
        return json!({"oneOf": [{"type": "null"}, schema]});
    }
    if let Some(kinds) = schema.get_mut("type") {
        let mut all = match kinds.take() {
            Value::Array(all) => all,
            one => vec![one],
        };
        all.push("null".into());
        *kinds = all.into();
    }
    if let Some(Value::Array(values)) = schema.get_mut("enum") {
        values.push(Value::Null);
    }
    schema
}

/// A reference to a named schema.
pub(crate) fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// The key under which a schema of ours travels through the types of utoipa, which do not know every
/// keyword.
const OURS: &str = "x-schema";

/// A schema of ours as a schema of utoipa.
pub(crate) fn in_document(schema: Value) -> RefOr<Schema> {
    let ours = ExtensionsBuilder::new().add(OURS, schema).build();
    let object: Object = ObjectBuilder::new().extensions(Some(ours)).build();
    object.into()
}

/// Puts our schemas in their places, wherever they are in a document.
pub(crate) fn settle(document: &mut Value) {
    if let Some(ours) = document.get_mut(OURS) {
        *document = ours.take();
        return;
    }
    match document {
        Value::Object(fields) => fields.values_mut().for_each(settle),
        Value::Array(items) => items.iter_mut().for_each(settle),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Declares a view: its fields with their types, and further keywords of their schemas after `=`. `as`
/// gives the schema, or a field, another name.
macro_rules! view {
    (
        $(#[doc = $about:literal])+
        $(#[derive($($derived:ident),+)])?
        $vis:vis struct $name:ident $(<$life:lifetime>)? $(as $schema:ident)? {
            $(
                $(#[doc = $text:literal])*
                $field:ident $(as $key:literal)?: $kind:ty $(= $more:tt)?,
            )+
        }
    ) => {
        $(#[doc = $about])+
        $(#[derive($($derived),+)])?
        $vis struct $name $(<$life>)? {
            $($(#[doc = $text])* $vis $field: $kind,)+
        }

        impl $(<$life>)? $crate::json::Shown for $name $(<$life>)? {
            fn write(&self, out: &mut Vec<u8>) {
                let mut object = $crate::json::ObjectWriter::begin(out);
                $(object.shown($crate::json::view!(@key $field $($key)?), &self.$field);)+
                object.end();
            }

            fn schema() -> serde_json::Value {
                $crate::json::reference(<Self as $crate::json::View>::NAME)
            }

            fn schemas(found: &mut $crate::json::Schemas) {
                use $crate::json::View as _;
                found.push((Self::NAME.to_owned(), $crate::json::in_document(Self::declared())));
                Self::parts(found);
            }
        }

        impl $(<$life>)? $crate::json::View for $name $(<$life>)? {
            const NAME: &'static str = $crate::json::view!(@name $name $($schema)?);

            fn declared() -> serde_json::Value {
                use $crate::json::Shown;
                $crate::json::declared(
                    concat!($($about),+),
                    vec![$($crate::json::Member {
                        name: $crate::json::view!(@key $field $($key)?),
                        about: concat!($($text),*),
                        schema: <$kind as Shown>::schema(),
                        more: $crate::json::view!(@more $($more)?),
                        required: <$kind as Shown>::ALWAYS,
                    }),+],
                )
            }

            fn parts(found: &mut $crate::json::Schemas) {
                $(<$kind as $crate::json::Shown>::schemas(found);)+
            }
        }

        impl $(<$life>)? utoipa::PartialSchema for $name $(<$life>)? {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                $crate::json::in_document(<Self as $crate::json::View>::declared())
            }
        }

        impl $(<$life>)? utoipa::ToSchema for $name $(<$life>)? {
            fn name() -> std::borrow::Cow<'static, str> {
                <Self as $crate::json::View>::NAME.into()
            }

            fn schemas(found: &mut $crate::json::Schemas) {
                <Self as $crate::json::View>::parts(found);
            }
        }
    };
    (@name $name:ident) => { stringify!($name) };
    (@name $name:ident $schema:ident) => { stringify!($schema) };
    (@key $field:ident) => { $crate::json::key(stringify!($field)) };
    (@key $field:ident $key:literal) => { $key };
    (@more) => { serde_json::Value::Null };
    (@more $more:tt) => { serde_json::json!($more) };
}

/// The key of a field whose name may be a keyword of Rust.
pub(crate) fn key(field: &'static str) -> &'static str {
    field.strip_prefix("r#").unwrap_or(field)
}

/// Shows types whose values have names. With `as`, their schema has a name of its own; with the names in
/// braces, those are what is shown.
macro_rules! words {
    ($(
        $(#[doc = $about:literal])+
        $kind:ident as $name:ident { $($variant:ident = $text:literal,)+ }
    )+) => { $(
        impl $crate::json::Shown for $kind {
            fn write(&self, out: &mut Vec<u8>) {
                $crate::json::plain(out, match self { $(Self::$variant => $text,)+ });
            }

            fn schema() -> serde_json::Value {
                $crate::json::reference(stringify!($name))
            }

            fn schemas(found: &mut $crate::json::Schemas) {
                let about = concat!($($about),+);
                found.push($crate::json::words_of(stringify!($name), about, [$($text),+]));
            }
        }
    )+ };
    ($(
        $(#[doc = $about:literal])+
        $kind:ty as $name:ident: $names:expr;
    )+) => { $(
        impl $crate::json::Shown for $kind {
            fn write(&self, out: &mut Vec<u8>) {
                $crate::json::plain(out, self.as_str());
            }

            fn schema() -> serde_json::Value {
                $crate::json::reference(stringify!($name))
            }

            fn schemas(found: &mut $crate::json::Schemas) {
                let about = concat!($($about),+);
                found.push($crate::json::words_of(stringify!($name), about, $names));
            }
        }
    )+ };
    ($($kind:ty: $names:expr;)+) => { $(
        impl $crate::json::Shown for $kind {
            fn write(&self, out: &mut Vec<u8>) {
                $crate::json::plain(out, self.as_str());
            }

            fn schema() -> serde_json::Value {
                $crate::json::named($names)
            }
        }
    )+ };
}

pub(crate) use {view, words};

/// The schema of a text that is one of a few names.
pub(crate) fn named(names: impl IntoIterator<Item = &'static str>) -> Value {
    let names: Vec<_> = names.into_iter().collect();
    json!({"type": "string", "enum": names})
}

/// The same with a name.
pub(crate) fn words_of(
    name: &str,
    about: &str,
    names: impl IntoIterator<Item = &'static str>,
) -> (String, RefOr<Schema>) {
    let mut schema = named(names);
    schema["description"] = about.trim().into();
    (name.to_owned(), in_document(schema))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ops_core::{Json, Micros};

    use super::*;
    use crate::json::{Optional, Shown as _, View as _, Written, text};

    view! {
        /// Something
        /// small.
        struct Small<'a> as Tiny {
            /// Its kind.
            r#type: &'a str,
            at: Option<Micros>,
            inner: Optional<Vec<Inner>>,
            data as "value": Json = {"type": "object"},
        }
    }

    view! {
        /// More.
        struct Inner {
            count: u32,
        }
    }

    #[test]
    fn one_declaration_writes_and_describes() {
        let small = |inner| Small {
            r#type: "a\"b",
            at: Some(Micros(0)),
            inner: Optional::list(inner),
            data: Json::parse("{\"n\": 1.0}").unwrap(),
        };
        let shown = |small: &Small<'_>| String::from_utf8(text(0, small)).unwrap();
        assert_eq!(
            shown(&small(vec![Inner { count: 1 }, Inner { count: 2 }])),
            r#"{"type":"a\"b","at":"1970-01-01T00:00:00.000Z","inner":[{"count":1},{"count":2}],"value":{"n": 1.0}}"#
        );
        let without = Small {
            at: None,
            ..small(vec![])
        };
        assert_eq!(
            shown(&without),
            r#"{"type":"a\"b","at":null,"value":{"n": 1.0}}"#
        );
        assert_eq!(
            Small::declared(),
            json!({
                "type": "object", "description": "Something small.",
                "properties": {
                    "type": {"type": "string", "description": "Its kind."},
                    "at": {"type": ["string", "null"], "format": "date-time"},
                    "inner": {"type": "array", "items": {"$ref": "#/components/schemas/Inner"}},
                    "value": {"type": "object"},
                },
                "required": ["type", "at", "value"],
            })
        );
        let mut found = Schemas::new();
        Small::schemas(&mut found);
        let found: BTreeMap<_, _> = found.into_iter().collect();
        let mut document = json!({"components": {"schemas": found}});
        settle(&mut document);
        assert_eq!(
            document["components"]["schemas"],
            json!({"Tiny": Small::declared(), "Inner": Inner::declared()})
        );
    }

    #[test]
    fn an_array_that_was_written_first_stands_in_its_object() {
        view! {
            /// A list.
            struct List {
                items: Written<Inner>,
                next: Option<String>,
            }
        }
        let list = List {
            items: Written::new(text(0, &vec![Inner { count: 1 }])),
            next: None,
        };
        assert_eq!(text(0, &list), br#"{"items":[{"count":1}],"next":null}"#);
    }
}
