use super::*;

const OTHERS: [ApiSurface; 3] = [
    ApiSurface::Chat,
    ApiSurface::Responses,
    ApiSurface::Messages,
];

/// A schema with one property.
fn with(property: Value) -> Value {
    json!({"type": "object", "properties": {"p": property}})
}

#[test]
fn a_root_is_always_an_object_with_properties() {
    let empty = json!({"type": "object", "properties": {}});
    for (schema, expected) in [
        (json!({"type": "object"}), empty.clone()),
        (json!({}), empty.clone()),
        (json!(true), empty.clone()),
        (json!(null), empty.clone()),
        (
            json!({"anyOf": [
                {"properties": {"a": {"type": "string"}, "k": {"const": 1}}, "required": ["a", "k"]},
                {"properties": {"b": {"type": "string"}, "k": {"const": 2}}, "required": ["b", "k"]},
            ]}),
            json!({"type": "object", "required": ["k"], "properties": {
                "a": {"type": "string"}, "b": {"type": "string"}, "k": {"anyOf": [{"const": 1}, {"const": 2}]},
            }}),
        ),
        (
            json!({"allOf": [{"$ref": "#/$defs/A"}, {"properties": {"b": {}}, "required": ["b"]}],
                "$defs": {"A": {"type": "object", "properties": {"a": {}}, "required": ["a"]}}}),
            json!({"type": "object", "required": ["a", "b"], "properties": {"a": {}, "b": {}},
                "$defs": {"A": {"type": "object", "properties": {"a": {}}, "required": ["a"]}}}),
        ),
        (
            json!({"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {"a": {}}}}}),
            json!({"type": "object", "properties": {"a": {}},
                "$defs": {"A": {"type": "object", "properties": {"a": {}}}}}),
        ),
    ] {
        for surface in OTHERS {
            assert_eq!(*project(&schema, surface), expected, "{schema}");
        }
        let gemini = project(&schema, ApiSurface::GenerateContent).into_owned();
        assert!(
            gemini.get("$defs").is_none() && gemini["properties"].is_object(),
            "{gemini}"
        );
    }
}

#[test]
fn shapes_that_providers_refuse_are_widened() {
    for (property, others, gemini) in [
        (json!(true), json!({}), json!({})),
        (json!(false), json!({"not": {}}), json!({})),
        (
            json!({"description": "d"}),
            json!({"description": "d"}),
            json!({"description": "d"}),
        ),
        (
            json!({"type": "array"}),
            json!({"type": "array", "items": {}}),
            json!({"type": "array", "items": {}}),
        ),
        (
            json!({"type": "array", "items": [{"type": "string"}, {"type": "integer"}]}),
            json!({"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}}),
            json!({"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}}),
        ),
        (
            json!({"type": "number", "minimum": 0, "exclusiveMinimum": true}),
            json!({"type": "number", "exclusiveMinimum": 0}),
            json!({"type": "number", "exclusiveMinimum": 0}),
        ),
        (
            json!({"maximum": 9, "exclusiveMaximum": false}),
            json!({"maximum": 9}),
            json!({"maximum": 9}),
        ),
        (
            json!({"type": ["string", "null"]}),
            json!({"type": ["string", "null"]}),
            json!({"type": ["string", "null"]}),
        ),
        (
            json!({"type": "null", "enum": ["A"]}),
            json!({"enum": ["A"]}),
            json!({"enum": ["A"]}),
        ),
        (json!({"type": "any"}), json!({}), json!({})),
        (
            json!({"type": "object", "additionalProperties": {}}),
            json!({"type": "object"}),
            json!({"type": "object"}),
        ),
        (
            json!({"anyOf": [{"not": {}}, {"type": "string"}]}),
            json!({"anyOf": [{"type": "string"}]}),
            json!({"anyOf": [{"type": "string"}]}),
        ),
        (
            json!({"type": "string", "format": "uri"}),
            json!({"type": "string", "format": "uri"}),
            json!({"type": "string"}),
        ),
        (
            json!({"type": "array", "items": {}, "uniqueItems": true}),
            json!({"type": "array", "items": {}, "uniqueItems": true}),
            json!({"type": "array", "items": {}}),
        ),
        (
            json!({"const": "x"}),
            json!({"const": "x"}),
            json!({"enum": ["x"]}),
        ),
        (
            json!({"oneOf": [{"type": "string"}, {"type": "integer"}]}),
            json!({"oneOf": [{"type": "string"}, {"type": "integer"}]}),
            json!({"anyOf": [{"type": "string"}, {"type": "integer"}]}),
        ),
        (
            json!({"type": "string", "required": true}),
            json!({"type": "string"}),
            json!({"type": "string"}),
        ),
        (
            json!({"$ref": "https://example.com/s.json", "description": "d"}),
            json!({"description": "d"}),
            json!({"description": "d"}),
        ),
        (json!({"$ref": "#/$defs/absent"}), json!({}), json!({})),
    ] {
        let schema = with(property);
        for surface in OTHERS {
            assert_eq!(*project(&schema, surface), with(others.clone()), "{schema}");
        }
        let made = project(&schema, ApiSurface::GenerateContent);
        assert_eq!(*made, with(gemini), "{schema}");
    }
}

#[test]
fn references_keep_their_definitions_or_are_written_out() {
    let node = json!({"type": "object", "properties": {"next": {"$ref": "#/$defs/node", "description": "d"}, "v": {"type": "string"}}});
    let schema = json!({"type": "object", "properties": {"f": {"$ref": "#/$defs/node"}}, "$defs": {"node": node}});
    for surface in OTHERS {
        assert!(
            matches!(project(&schema, surface), Cow::Borrowed(_)),
            "unchanged"
        );
    }
    let written = json!({"type": "object", "properties": {"f": {
        "type": "object", "properties": {"next": {"description": "d"}, "v": {"type": "string"}},
    }}});
    assert_eq!(*project(&schema, ApiSurface::GenerateContent), written);
    let older = json!({"type": "object", "properties": {"f": {"$ref": "#/definitions/F"}}, "definitions": {"F": {"type": "string"}}});
    assert_eq!(
        *project(&older, ApiSurface::GenerateContent),
        json!({"type": "object", "properties": {"f": {"type": "string"}}})
    );
}

/// Definitions that name one another twice each would be 2^40 schemas, written out.
#[test]
fn what_is_written_out_is_bounded() {
    let mut definitions = Map::new();
    for level in 0..40 {
        let next = format!("#/$defs/d{}", level + 1);
        definitions.insert(
            format!("d{level}"),
            json!({"type": "object", "properties": {"a": {"$ref": next}, "b": {"$ref": next}}}),
        );
    }
    definitions.insert("d40".to_owned(), json!({"type": "string"}));
    let schema = json!({"type": "object", "properties": {"p": {"$ref": "#/$defs/d0"}}, "$defs": definitions});
    let made = project(&schema, ApiSurface::GenerateContent);
    assert!(
        made.to_string().len() < 1_000_000,
        "{}",
        made.to_string().len()
    );
    let mut deep = json!({});
    for _ in 0..100 {
        deep = json!({"type": "array", "items": deep});
    }
    for surface in [ApiSurface::Chat, ApiSurface::GenerateContent] {
        assert!(project(&with(deep.clone()), surface).to_string().len() < 3_000);
    }
}

#[test]
fn a_projection_is_its_own_projection_and_tools_of_ours_are_sent_as_they_are() {
    for surface in [
        ApiSurface::Chat,
        ApiSurface::Messages,
        ApiSurface::GenerateContent,
    ] {
        for schema in [
            json!({"oneOf": [true, {"properties": {"a": {"type": "array", "items": [true, false]}}}], "not": {}}),
            with(
                json!({"allOf": [{"properties": {"x": {}}}, {"required": ["x"]}], "type": "object"}),
            ),
        ] {
            let once = project(&schema, surface).into_owned();
            assert!(
                matches!(project(&once, surface), Cow::Borrowed(_)),
                "{once}"
            );
        }
        for tool in crate::tool::control::all() {
            let schema = &tool.spec().input_schema;
            assert_eq!(*project(schema, surface), *schema, "{}", tool.spec().name);
        }
    }
}
