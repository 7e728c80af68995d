use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn compiled(schema: &Value) -> Schema {
    Schema::compile(schema).unwrap_or_else(|error| panic!("{schema}: {error}"))
}

fn wrong(schema: &Value, value: &Value) -> String {
    match compiled(schema).check_blocking(value) {
        Ok(()) => String::new(),
        Err(error) => error.to_string(),
    }
}

/// Checks within some milliseconds.
fn at_once(schema: &Value, value: &Value) -> Result<(), CheckError> {
    let steps = 5 * INLINE_BUDGET.steps;
    let checked = compiled(schema).attempt(
        value,
        Budget {
            steps,
            ..INLINE_BUDGET
        },
        None,
    );
    checked.unwrap_or_else(|spent| panic!("{spent:?}"))
}

/// An expression: a number, or one of three operations on two expressions.
fn expressions() -> Value {
    let operation = |name: &str| {
        json!({
            "type": "object",
            "properties": {
                "op": {"const": name},
                "left": {"$ref": "#/$defs/expression"},
                "right": {"$ref": "#/$defs/expression"},
            },
            "required": ["op", "left", "right"],
            "additionalProperties": false,
        })
    };
    json!({
        "$ref": "#/$defs/expression",
        "$defs": {"expression": {"anyOf": [
            operation("add"), operation("sub"), operation("mul"), {"type": "number"},
        ]}},
    })
}

/// The operation of no kind, so deep on the left, on top of a leaf.
fn expression(depth: usize, op: &str, leaf: Value) -> Value {
    (0..depth).fold(leaf, |left, _| json!({"op": op, "left": left, "right": 1}))
}

/// security/S1: all errors of all alternatives took 2.9 GiB and more.
#[test]
fn one_wrong_leaf_of_a_recursive_schema_is_named_at_little_cost() {
    for depth in [12, 60] {
        let value = expression(depth, "mul", json!("x"));
        let error = at_once(&expressions(), &value).unwrap_err().to_string();
        let pointer = "/left".repeat(depth);
        let shown = &pointer[..pointer.len().min(200)];
        assert!(error.starts_with(&format!("at `{shown}`: ")), "{error}");
        assert!(
            error.ends_with(r#""x" is not of types "number", "object""#),
            "{error}"
        );
        assert!(at_once(&expressions(), &expression(depth, "mul", json!(2))).is_ok());
    }
    // Nothing says which alternative is meant, and each is as wrong as the others.
    let alternative =
        json!({"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}, "type": "object"});
    let blind = json!({"anyOf": [alternative, alternative, alternative, {"type": "number"}]});
    let error = at_once(&blind, &expression(60, "add", json!("x"))).unwrap_err();
    assert!(
        error.to_string().contains("any of the schemas listed"),
        "{error}"
    );
}

fn doubling(levels: usize, next: impl Fn(&Value) -> Value) -> Value {
    let mut defs = serde_json::Map::new();
    for level in 0..levels {
        let reference = json!({"$ref": format!("#/$defs/d{}", level + 1)});
        defs.insert(format!("d{level}"), next(&reference));
    }
    defs.insert(format!("d{levels}"), json!({}));
    json!({"$ref": "#/$defs/d0", "$defs": defs})
}

/// security/S2: these were asked 2^36 times.
#[test]
fn definitions_that_double_are_asked_once() {
    let all = doubling(36, |next| json!({"allOf": [next, next]}));
    assert!(at_once(&all, &json!(1)).is_ok());
    let any = doubling(
        36,
        |next| json!({"anyOf": [{"allOf": [next, {"type": "string"}]}, next]}),
    );
    assert!(at_once(&any, &json!(1)).is_ok());
    let not = doubling(
        36,
        |next| json!({"oneOf": [next, {"not": next}], "if": next, "then": next}),
    );
    assert!(at_once(&not, &json!({"a": 1})).is_ok());
    let below = doubling(
        36,
        |next| json!({"anyOf": [{"properties": {"a": next}, "required": ["b"]}, {"properties": {"a": next}}]}),
    );
    let deep = (0..36).fold(json!(1), |inner, _| json!({"a": inner}));
    assert!(at_once(&below, &deep).is_ok());
    let unevaluated = doubling(
        36,
        |next| json!({"allOf": [next, next], "anyOf": [next, next], "unevaluatedProperties": true}),
    );
    assert!(at_once(&unevaluated, &json!({"a": 1, "b": 2})).is_ok());
    // Without references: each level asks the next one twice, for what it has looked at.
    let nested = (0..40).fold(
        json!({"properties": {"a": {}}}),
        |inner, _| json!({"allOf": [inner], "unevaluatedProperties": false}),
    );
    assert!(at_once(&nested, &json!({"a": 1})).is_ok());
    assert!(at_once(&nested, &json!({"b": 1})).is_err());
    let names = doubling(
        30,
        |next| json!({"propertyNames": {"allOf": [next, next]}, "allOf": [next, next]}),
    );
    assert!(at_once(&names, &json!({"a": 1})).is_ok());
}

/// security/S2: 200 patterns of some bytes each took 9 s and 2 GB.
#[test]
fn patterns_are_weighed_together() {
    let of = |pattern: &dyn Fn(usize) -> String| {
        let each = (0..200).map(|n| (format!("p{n}"), json!({"pattern": pattern(n)})));
        let properties: serde_json::Map<_, _> = each.collect();
        Schema::compile(&json!({"type": "object", "properties": properties}))
    };
    let error = of(&|n| format!(r"\pL{{100}}{n}")).unwrap_err();
    assert_eq!(error.code(), "schema_too_large");
    assert!(error.to_string().contains("use smaller counts"), "{error}");
    assert!(of(&|n| format!(r"^[a-z]{{1,{}}}-{n}$", n + 1)).is_ok());
}

#[test]
fn a_schema_is_measured_before_anything_is_built() {
    let code = |schema: &Value| {
        Schema::compile(schema)
            .map(drop)
            .map_err(|error| error.code())
    };
    let too_large = Err("schema_too_large");
    let deep = (0..200).fold(json!({}), |inner, _| json!({"items": inner}));
    assert_eq!(code(&deep), too_large);
    assert_eq!(
        code(&json!({"description": "x".repeat(300_000)})),
        too_large
    );
    let many: Vec<Value> = (0..11_000).map(|_| json!({})).collect();
    assert_eq!(code(&json!({"anyOf": many})), too_large);
    let leaves: Vec<Value> = (0..600).map(|n| json!({"multipleOf": n + 1})).collect();
    assert_eq!(code(&json!({"anyOf": leaves})), too_large);
    for circle in [
        json!({"$ref": "#"}),
        json!({"type": "object", "allOf": [{"anyOf": [{"$ref": "#"}]}]}),
        json!({"properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
    ] {
        assert_eq!(
            Schema::compile(&circle).unwrap_err(),
            SchemaError::Circle,
            "{circle}"
        );
    }
}

/// A list whose items match the last one of many alternatives.
fn alternatives(count: usize) -> Value {
    let others = (1..count).map(|n| json!({"required": [format!("a{n}")]}));
    json!({"items": {"anyOf": others.chain([json!({})]).collect::<Vec<_>>()}})
}

#[test]
fn what_takes_too_many_steps_is_refused() {
    // 1,000 alternatives on each of 100,000 items.
    let items = Value::Array(vec![json!({}); 100_000]);
    assert_eq!(
        compiled(&alternatives(1_000)).check_blocking(&items),
        Err(CheckError::TooCostly)
    );
    // A pattern that keeps a thousand states busy, on a megabyte.
    let schema = json!({"pattern": "(a|b)*a(a|b){1000}c"});
    let text = Value::String("ab".repeat(500_000));
    assert_eq!(
        compiled(&schema).check_blocking(&text),
        Err(CheckError::TooCostly)
    );
    let schema = json!({"pattern": "^(a|aa)+(?=b)\\1c$"});
    let text = Value::String(format!("{}b", "a".repeat(60)));
    let error = compiled(&schema).check_blocking(&text).unwrap_err();
    assert_eq!(error.code(), "schema_too_costly");
    assert!(
        error.to_string().contains("send a smaller value"),
        "{error}"
    );
}

#[test]
fn a_long_chain_of_references_needs_no_stack_of_the_caller() {
    let mut defs: serde_json::Map<_, _> = (0..4_000)
        .map(|n| {
            (
                format!("d{n}"),
                json!({"$ref": format!("#/$defs/d{}", n + 1)}),
            )
        })
        .collect();
    defs.insert("d4000".to_owned(), json!({"type": "integer"}));
    let schema = json!({"$ref": "#/$defs/d0", "$defs": defs});
    let small = std::thread::Builder::new().stack_size(2 << 20);
    let checked = small.spawn(move || {
        let schema = compiled(&schema);
        (
            schema.check_blocking(&json!(1)).is_ok(),
            schema.check_blocking(&json!("x")).is_ok(),
        )
    });
    assert_eq!(checked.unwrap().join().unwrap(), (true, false));
}

/// security/S2: fifty at once held up all other work.
#[tokio::test(flavor = "current_thread")]
async fn costly_checks_hold_up_neither_the_runtime_nor_honest_ones() {
    let bomb = compiled(&alternatives(1_000));
    let items = Arc::new(Value::Array(vec![json!({}); 60_000]));
    let bombs: Vec<_> = (0..50)
        .map(|_| {
            let (bomb, items) = (bomb.clone(), Arc::clone(&items));
            tokio::spawn(async move { bomb.check(&items).await })
        })
        .collect();
    tokio::task::yield_now().await;
    // The bombs wait for the pool while this thread does what is small.
    let honest = compiled(&expressions());
    for _ in 0..1_000 {
        honest
            .check(&expression(12, "add", json!(2)))
            .await
            .unwrap();
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(bombs.iter().any(|bomb| !bomb.is_finished()));
    // What nobody waits for ends: the rest would take minutes.
    for (number, bomb) in bombs.into_iter().enumerate() {
        if number > 1 {
            bomb.abort();
            assert!(bomb.await.is_ok_and(|checked| checked.is_err()) || number > 1);
        } else {
            assert_eq!(bomb.await.unwrap(), Err(CheckError::TooCostly));
        }
    }
    let late = honest.check(&expression(60, "add", json!("x"))).await;
    assert!(late.is_err());
}

#[test]
fn messages_say_where_and_what() {
    let schema = json!({
        "type": "object",
        "properties": {
            "path": {"type": "string", "maxLength": 5},
            "offset": {"type": "integer", "minimum": 0},
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}},
            "mode": {"const": "fast"},
            "date": {"type": "string", "format": "date"},
            "a/b": {"type": ["integer", "null"]},
        },
        "required": ["path"],
        "additionalProperties": false,
    });
    for (value, says) in [
        (json!({}), r#""path" is a required property"#),
        (json!([]), r#"[] is not of type "object""#),
        (
            json!({"path": "a", "offset": -1}),
            "at `/offset`: -1 is less than the minimum of 0",
        ),
        (
            json!({"path": "a", "tags": ["a", "c"]}),
            r#"at `/tags/1`: "c" is not one of "a" or "b""#,
        ),
        (
            json!({"path": 5}),
            r#"at `/path`: 5 is not of type "string""#,
        ),
        (
            json!({"path": "abcdef"}),
            r#"at `/path`: "abcdef" is longer than 5 characters"#,
        ),
        (
            json!({"path": "a", "mode": 1}),
            r#"at `/mode`: 1 is not "fast", which is all that is allowed"#,
        ),
        (
            json!({"path": "a", "date": "2026-02-30"}),
            r#"at `/date`: "2026-02-30" is not a "date""#,
        ),
        (
            json!({"path": "a", "a/b": "x"}),
            r#"at `/a~1b`: "x" is not of types "null", "integer""#,
        ),
        (
            json!({"path": "a", "ofset": 1}),
            r#""ofset" is not a property that is allowed; did you mean "offset"?"#,
        ),
        (
            json!({"path": "a", "zzz": 1}),
            r#""zzz" is not a property that is allowed; there are "a/b", "date", "mode", "offset", "path", "tags""#,
        ),
        (
            json!({"pth": 1}),
            r#""path" is a required property; "pth" is not a property that is allowed; did you mean "path"?"#,
        ),
    ] {
        assert_eq!(wrong(&schema, &value), says, "{value}");
    }
    let many: Vec<Value> = (0..10).map(|_| json!(0)).collect();
    let error = wrong(&json!({"items": {"type": "string"}}), &json!(many));
    assert_eq!(error.matches("is not of type").count(), 5, "{error}");
    assert!(error.ends_with("; and more"), "{error}");
    let large = wrong(
        &json!({"type": "string"}),
        &json!([Value::String("x".repeat(1 << 20)), 1]),
    );
    assert!(
        large.len() < 300 && large.ends_with(r#"... is not of type "string""#),
        "{large}"
    );
    for (schema, value, says) in [
        (
            json!({"not": {"type": "integer"}}),
            json!(1),
            "1 is what the `not` keyword excludes",
        ),
        (
            json!({"oneOf": [{"type": "integer"}, {"minimum": 2}]}),
            json!(3),
            "more than one of the schemas",
        ),
        (
            json!({"anyOf": [{"type": "string"}, {"type": "null"}]}),
            json!(3),
            r#"3 is not of types "null", "string""#,
        ),
        (
            json!({"contains": {"const": 1}}),
            json!([2]),
            "0 items match the `contains` keyword, which wants at least 1",
        ),
        (
            json!({"propertyNames": {"maxLength": 1}}),
            json!({"ab": 1}),
            r#""ab" is not allowed as a name"#,
        ),
        (
            json!({"dependentRequired": {"a": ["b"]}}),
            json!({"a": 1}),
            r#""b" is a required property beside "a""#,
        ),
        (
            json!({"properties": {"a": {}}, "unevaluatedProperties": false}),
            json!({"b": 1}),
            r#""b" is not a property that is allowed"#,
        ),
        (
            json!({"multipleOf": 0.1}),
            json!(0.25),
            "0.25 is not a multiple of 0.1",
        ),
        (
            json!({"uniqueItems": true}),
            json!([1, 1.0]),
            "[1,1.0] has the same item twice",
        ),
        (
            json!({"pattern": "^a$"}),
            json!("b"),
            r#""b" does not match "^a$""#,
        ),
        (
            json!({"minItems": 1}),
            json!([]),
            "[] has fewer than 1 item",
        ),
        (
            json!({"if": {"type": "string"}, "then": {"minLength": 2}}),
            json!("x"),
            r#""x" is shorter than 2 characters"#,
        ),
        (
            json!({"properties": {"a": false}}),
            json!({"a": 1}),
            "at `/a`: nothing is allowed here",
        ),
        (
            json!({"enum": (0..20).collect::<Vec<_>>()}),
            json!(20),
            "20 is not one of 0, 1, 2, 3, 4, 5, 6, 7 or 12 others",
        ),
    ] {
        let said = wrong(&schema, &value);
        assert!(said.contains(says), "{schema} {value}: {said}");
    }
}

#[test]
fn what_is_wrong_with_a_schema_is_said() {
    for (schema, says) in [
        (
            json!({"required": "path"}),
            r#"at `/required`: "path" is not of type "array""#,
        ),
        (json!({"type": "nonsense"}), "at `/type`: "),
        (
            json!({"$schema": "https://example.com/own"}),
            "names no draft of JSON Schema",
        ),
        (json!({"pattern": "["}), "at `/pattern`: "),
        (
            json!({"properties": {"a": {"$ref": "https://example.com/s.json"}}}),
            "`https://example.com/s.json` is not part of the schema, and nothing is fetched",
        ),
        (json!({"$ref": "file:///etc/passwd"}), "nothing is fetched"),
        (json!({"$ref": "other.json"}), "nothing is fetched"),
        (
            json!({"$ref": "#/$defs/a"}),
            "points to nothing in the schema",
        ),
        (json!({"$ref": "#a"}), "names no anchor"),
        (
            json!({"$ref": "#/title", "title": "x"}),
            "points to something that is no schema",
        ),
        (json!(5), "is not of types"),
    ] {
        let error = Schema::compile(&schema).unwrap_err();
        assert!(error.to_string().contains(says), "{schema}: {error}");
        assert_eq!(error.code(), "invalid_schema");
    }
}

#[test]
fn references_lead_where_they_say() {
    let holds = |schema: &Value, value: Value| wrong(schema, &value).is_empty();
    let ids = json!({
        "$id": "https://example.com/root.json",
        "$ref": "item.json#/properties/a",
        "$defs": {
            "item": {"$id": "item.json", "properties": {"a": {"$ref": "#/$defs/text"}}, "$defs": {"text": {"type": "string"}}},
            "named": {"$anchor": "here", "type": "integer"},
        },
        "properties": {},
    });
    assert!(holds(&ids, json!("x")) && !holds(&ids, json!(1)));
    let anchor = json!({"$ref": "#here", "$defs": {"a": {"$anchor": "here", "type": "integer"}}});
    assert!(holds(&anchor, json!(1)) && !holds(&anchor, json!("x")));
    let odd =
        json!({"$ref": "#/components/a~1b/0%25", "components": {"a/b": {"0%": {"const": 1}}}});
    assert!(holds(&odd, json!(1)) && !holds(&odd, json!(2)));
    let draft = json!({"$ref": "http://json-schema.org/draft-07/schema#"});
    assert!(holds(&draft, json!({"type": "object"})) && !holds(&draft, json!({"type": 5})));
    // A tree that can be extended: its own items are of the extension.
    let tree = json!({
        "$id": "https://example.com/strict",
        "$dynamicAnchor": "node",
        "$ref": "tree",
        "unevaluatedProperties": false,
        "$defs": {"tree": {
            "$id": "tree",
            "$dynamicAnchor": "node",
            "type": "object",
            "properties": {"data": true, "children": {"type": "array", "items": {"$dynamicRef": "#node"}}},
        }},
    });
    assert!(holds(&tree, json!({"children": [{"data": 1}]})));
    assert!(!holds(&tree, json!({"children": [{"daat": 1}]})));
    let old = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$ref": "#/definitions/a", "type": "string",
        "definitions": {"a": {"type": "integer"}},
    });
    assert!(holds(&old, json!(1)));
    let four = json!({"$schema": "http://json-schema.org/draft-04/schema#", "type": "integer", "minimum": 1, "exclusiveMinimum": true});
    assert!(holds(&four, json!(2)) && !holds(&four, json!(1)) && !holds(&four, json!(2.0)));
}

/// tools/T10
#[tokio::test(flavor = "current_thread")]
async fn values_are_made_into_those_that_are_meant() {
    let schema = json!({
        "type": "object",
        "properties": {
            "offset": {"type": "integer"},
            "share": {"type": "number"},
            "limit": {"type": ["integer", "null"]},
            "zone": {"type": "string"},
            "path": {"type": "string"},
            "list": {"type": "array", "items": {"type": "integer"}},
            "either": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "inner": {"allOf": [{"$ref": "#/$defs/inner"}]},
        },
        "required": ["path"],
        "$defs": {"inner": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "required": ["b"]}},
    });
    let schema = compiled(&schema);
    let given = json!({
        "offset": 3.0, "share": 2.0, "limit": null, "zone": null, "path": "a", "list": [1.0, 2],
        "either": 4.0, "inner": {"a": null, "b": "x"}, "other": null, "more": 5.0,
    });
    let (value, checked) = schema.accept(given).await;
    assert_eq!(checked, Ok(()));
    let wanted = json!({
        "offset": 3, "share": 2.0, "limit": null, "path": "a", "list": [1, 2],
        "either": 4, "inner": {"b": "x"}, "other": null, "more": 5.0,
    });
    assert_eq!(value, wanted);
    assert!(value["offset"].is_i64() && value["share"].is_f64() && value["list"][0].is_i64());
    let (value, checked) = schema.accept(json!({"path": null, "offset": 3.5})).await;
    assert_eq!(value, json!({"path": null, "offset": 3.5}));
    let error = checked.unwrap_err().to_string();
    assert!(
        error.contains("at `/path`: null is not of type \"string\""),
        "{error}"
    );
    assert!(
        error.contains("at `/offset`: 3.5 is not of type \"integer\""),
        "{error}"
    );
    // A reference twice as often on each level.
    let doubling = compiled(&doubling(
        36,
        |next| json!({"allOf": [next, next], "properties": {"a": {"type": "integer"}}}),
    ));
    let (value, checked) = doubling.accept(json!({"a": 1.0})).await;
    assert_eq!((value, checked), (json!({"a": 1}), Ok(())));
}

#[test]
fn compiled_schemas_are_kept_up_to_a_bound() {
    let schema = |n: usize| json!({"const": format!("compiled_schemas_are_kept {n}")});
    let first = compiled(&schema(0));
    assert!(Arc::ptr_eq(&first.compiled, &compiled(&schema(0)).compiled));
    for n in 1..1_200 {
        compiled(&schema(n));
    }
    assert!(!Arc::ptr_eq(
        &first.compiled,
        &compiled(&schema(0)).compiled
    ));
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3_i64..6).prop_map(Value::from),
        (-4_i64..8).prop_map(|n| json!(n as f64 / 2.0)),
        "[abx]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[abc]", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Schemas with every keyword; references lead to one of three definitions, in place only to later ones.
fn schemas(level: u32) -> BoxedStrategy<Value> {
    let types = prop::sample::select(vec![
        "null", "boolean", "object", "array", "number", "string", "integer",
    ]);
    let assertion = prop_oneof![
        Just(json!({})),
        any::<bool>().prop_map(Value::from),
        types.clone().prop_map(|name| json!({"type": name})),
        prop::collection::btree_set(types, 1..4).prop_map(|names| json!({"type": names})),
        values().prop_map(|value| json!({"const": value})),
        prop::collection::vec(values(), 1..4).prop_map(|values| json!({"enum": values})),
        (-2_i64..4).prop_map(|n| json!({"minimum": n})),
        (-2_i64..4).prop_map(|n| json!({"exclusiveMaximum": n as f64 / 2.0})),
        prop::sample::select(vec![0.5, 1.0, 1.5, 2.0]).prop_map(|n| json!({"multipleOf": n})),
        (0_u64..3).prop_map(|n| json!({"minLength": n, "maxItems": n + 1})),
        (0_u64..3).prop_map(|n| json!({"maxLength": n, "minItems": n, "minProperties": n})),
        Just(json!({"uniqueItems": true, "maxProperties": 2})),
        "[abc]".prop_map(|name| json!({"required": [name]})),
        ("[abc]", "[abc]").prop_map(|(a, b)| json!({"dependentRequired": {a: [b]}})),
        prop::sample::select(vec!["^a", "b$", "^[ab]{1,2}$", "x|a", "^(?!a)"])
            .prop_map(|p| json!({"pattern": p})),
    ];
    if level == 0 {
        return assertion.boxed();
    }
    let inner = schemas(level - 1);
    let list = prop::collection::vec(inner.clone(), 1..3);
    let applicator = prop_oneof![
        list.clone().prop_map(|list| json!({"allOf": list})),
        list.clone().prop_map(|list| json!({"anyOf": list})),
        list.clone().prop_map(|list| json!({"oneOf": list})),
        inner.clone().prop_map(|inner| json!({"not": inner})),
        (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| json!({"if": a, "then": b, "else": c})),
        ("[abc]", inner.clone()).prop_map(|(name, inner)| json!({"dependentSchemas": {name: inner}})),
        ("[abc]", inner.clone(), inner.clone()).prop_map(|(name, a, b)| json!({"properties": {name: a}, "additionalProperties": b})),
        ("[abc]", inner.clone()).prop_map(|(name, a)| json!({"patternProperties": {name: a}})),
        inner.clone().prop_map(|inner| json!({"propertyNames": inner})),
        (list, inner.clone()).prop_map(|(list, inner)| json!({"prefixItems": list, "items": inner})),
        inner.clone().prop_map(|inner| json!({"prefixItems": [inner]})),
        (inner.clone(), 0_u64..2, 0_u64..3).prop_map(|(inner, least, most)| json!({"contains": inner, "minContains": least, "maxContains": most})),
        inner.clone().prop_map(|inner| json!({"contains": inner})),
        inner.clone().prop_map(|inner| json!({"unevaluatedProperties": inner})),
        inner.prop_map(|inner| json!({"unevaluatedItems": inner})),
        (0..3).prop_map(|n| json!({"properties": {"a": {"$ref": format!("#/$defs/d{n}")}}})),
        (0..3).prop_map(|n| json!({"items": {"$ref": format!("#/$defs/d{n}")}})),
    ];
    // Keywords side by side.
    prop::collection::vec(prop_oneof![assertion, applicator], 1..4)
        .prop_map(|parts| {
            let objects = parts.iter().filter_map(Value::as_object);
            let merged: serde_json::Map<_, _> = objects
                .flatten()
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            Value::Object(merged)
        })
        .boxed()
}

fn with_definitions() -> impl Strategy<Value = Value> {
    (
        schemas(3),
        prop::collection::vec(schemas(2), 3),
        any::<bool>(),
    )
        .prop_map(|(root, defs, later)| {
            let mut root = root;
            let mut all = serde_json::Map::new();
            for (n, mut def) in defs.into_iter().enumerate() {
                if let (Value::Object(map), true) = (&mut def, later && n < 2) {
                    map.insert("$ref".to_owned(), json!(format!("#/$defs/d{}", n + 1)));
                }
                all.insert(format!("d{n}"), def);
            }
            if let Value::Object(map) = &mut root {
                map.insert("$defs".to_owned(), Value::Object(all));
            }
            root
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Another implementation comes to the same verdicts.
    #[test]
    fn verdicts_are_those_of_another_implementation(schema in with_definitions(), values in prop::collection::vec(values(), 8)) {
        let ours = compiled(&schema);
        let theirs = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
        for value in values {
            let checked = ours.check_blocking(&value);
            prop_assert_eq!(checked.is_ok(), theirs.is_valid(&value), "{} {}", schema, value);
            if let Err(CheckError::Violations(violations)) = checked {
                prop_assert!(!violations.list.is_empty());
                for violation in &violations.list {
                    prop_assert!(value.pointer(&violation.at).is_some(), "{} {} {}", schema, value, violation);
                }
            }
        }
    }

    #[test]
    fn any_json_is_a_schema_or_is_not_one(value in values(), schema in with_definitions()) {
        let _ = Schema::compile(&value);
        let _ = Schema::compile(&json!({"$ref": "#/x", "x": value}));
        let _ = meaningless(&schema);
        let _ = unwrapped(&value);
    }
}
