//! Keywords that look at a value alone.

use serde_json::{Map, Value};

use super::{MANY_OPTIONS, MAX_BYTES, invalid};
use crate::schema::{
    SchemaError,
    document::{Draft, escaped},
    keyword::{Check, Options, Types},
    values::{self, weight},
};

/// Keywords that look at a value alone.
pub(super) fn assertions(
    map: &Map<String, Value>,
    draft: Draft,
    at: &str,
    checks: &mut Vec<Check>,
) -> Result<(), SchemaError> {
    let place = |key: &str| format!("{at}/{key}");
    if let Some(value) = map.get("type") {
        let mut types = Types::default();
        let one = std::slice::from_ref(value);
        for name in value.as_array().map_or(one, Vec::as_slice) {
            let known = name.as_str().is_some_and(|name| types.add(name));
            if !known {
                return Err(invalid(
                    &place("type"),
                    "names a type that JSON does not have",
                ));
            }
        }
        checks.push(Check::Type(match draft {
            Draft::Four => types.strict(),
            _ => types,
        }));
    }
    if draft >= Draft::Six
        && let Some(value) = map.get("const")
    {
        checks.push(Check::Const(value.clone()));
    }
    if let Some(value) = map.get("enum") {
        let values = value
            .as_array()
            .ok_or_else(|| invalid(&place("enum"), "must be a list"))?;
        let texts = || {
            values
                .iter()
                .filter_map(|value| value.as_str().map(str::to_owned))
        };
        checks.push(Check::Enum(Options {
            cost: values.iter().map(|value| weight(value, MAX_BYTES)).sum(),
            texts: (values.len() > MANY_OPTIONS).then(|| texts().collect()),
            values: values.clone(),
        }));
    }
    bounds(map, draft, at, checks)?;
    type Make = fn(u64) -> Check;
    let counts: [(&str, Make); 6] = [
        ("minLength", Check::MinLength),
        ("maxLength", Check::MaxLength),
        ("minItems", Check::MinItems),
        ("maxItems", Check::MaxItems),
        ("minProperties", Check::MinProperties),
        ("maxProperties", Check::MaxProperties),
    ];
    for (key, make) in counts {
        if let Some(value) = map.get(key) {
            checks.push(make(whole(value, &place(key))?));
        }
    }
    // In draft 4 a list of none is not allowed, and a boolean is not either.
    if let Some(value @ Value::Array(_)) = map.get("required") {
        checks.push(Check::Required(texts(value, &place("required"))?));
    }
    if draft >= Draft::Nineteen
        && let Some(Value::Object(members)) = map.get("dependentRequired")
    {
        let at = place("dependentRequired");
        let needs = members.iter().map(|(name, needs)| {
            Ok((
                name.clone(),
                texts(needs, &format!("{at}/{}", escaped(name)))?,
            ))
        });
        checks.push(Check::DependentRequired(needs.collect::<Result<_, _>>()?));
    }
    if map.get("uniqueItems") == Some(&Value::Bool(true)) {
        checks.push(Check::UniqueItems);
    }
    Ok(())
}

/// `minimum`, `maximum`, and the exclusive ones.
pub(super) fn bounds(
    map: &Map<String, Value>,
    draft: Draft,
    at: &str,
    checks: &mut Vec<Check>,
) -> Result<(), SchemaError> {
    for (key, exclusive_key, is_minimum) in [
        ("minimum", "exclusiveMinimum", true),
        ("maximum", "exclusiveMaximum", false),
    ] {
        let mut add = |key: &str, value: &Value, exclusive: bool| {
            let Value::Number(limit) = value else {
                return Err(invalid(&format!("{at}/{key}"), "must be a number"));
            };
            let limit = limit.clone();
            checks.push(match is_minimum {
                true => Check::Minimum { limit, exclusive },
                false => Check::Maximum { limit, exclusive },
            });
            Ok(())
        };
        let exclusive = map.get(exclusive_key);
        if let Some(value) = map.get(key) {
            let excludes = draft == Draft::Four && exclusive == Some(&Value::Bool(true));
            add(key, value, excludes)?;
        }
        if draft >= Draft::Six
            && let Some(value) = exclusive
        {
            add(exclusive_key, value, true)?;
        }
    }
    Ok(())
}

pub(super) fn whole(value: &Value, at: &str) -> Result<u64, SchemaError> {
    let number = match value {
        Value::Number(number) => values::exact(number).and_then(|number| number.try_into().ok()),
        _ => None,
    };
    number.ok_or_else(|| invalid(at, "must be a whole number, 0 or more"))
}

pub(super) fn texts(value: &Value, at: &str) -> Result<Vec<String>, SchemaError> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let texts: Option<Vec<String>> = value
        .as_array()
        .and_then(|list| list.iter().map(text).collect());
    texts.ok_or_else(|| invalid(at, "must be a list of texts"))
}
