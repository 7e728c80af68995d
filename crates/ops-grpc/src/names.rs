//! Names on both sides.

use prost_reflect::{EnumDescriptor, EnumValueDescriptor, FieldDescriptor};

/// The name that a field has in REST: its own, or the one that `json_name` gives.
#[must_use]
pub fn rest_name(field: &FieldDescriptor) -> &str {
    match field.json_name() == camel(field.name()) {
        true => field.name(),
        false => field.json_name(),
    }
}

/// The JSON name that a compiler derives.
fn camel(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut upper = false;
    for c in name.chars() {
        match (c, upper) {
            ('_', _) => upper = true,
            (c, true) => {
                out.push(c.to_ascii_uppercase());
                upper = false;
            }
            (c, false) => out.push(c),
        }
    }
    out
}

/// A name in capitals as a name in small letters: `GetTask` is `get_task`.
#[must_use]
pub fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for (at, c) in name.char_indices() {
        if c.is_ascii_uppercase() && at > 0 {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// The word of REST for a value of an enum: its name in small letters, without the name of the enum in front.
#[must_use]
pub fn word(value: &EnumValueDescriptor) -> String {
    let name = value.name().to_ascii_lowercase();
    let prefix = snake(value.parent_enum().name()) + "_";
    name.strip_prefix(&prefix).unwrap_or(&name).to_owned()
}

/// The value of an enum for a word of REST; 0 for a word that the enum does not have.
pub(crate) fn number(kind: &EnumDescriptor, wanted: &str) -> i32 {
    let mut values = kind.values();
    let found = values.find(|value| value.number() != 0 && word(value) == wanted);
    found.map_or(0, |value| value.number())
}
