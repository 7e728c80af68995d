use super::*;

fn tool(name: &str, schema: Value) -> Value {
    json!({"name": name, "description": "d", "inputSchema": schema})
}

fn definition(schema: Value) -> Definition {
    Definition::of(&Listed::of(Kind::Tool, "t", &tool("t", schema))).unwrap()
}

/// ahead-tools/16: one odd tool of many costs itself.
#[test]
fn an_odd_tool_costs_itself() {
    let mut tools: Vec<Value> = (0..50)
        .map(|at| tool(&format!("t{at}"), json!({"type": "object"})))
        .collect();
    tools[3] = json!({"name": "t3", "annotations": {"audience": ["system"]}});
    tools[4] = json!({"name": "t4", "inputSchema": null});
    tools[5] = json!({"description": "no name"});
    tools[6] = json!(7);
    tools[7] = tool("t7", json!({"type": "string"}));
    tools[8] = tool(
        "t8",
        json!({"type": "object", "properties": {"a": {"type": 5}}}),
    );
    let judged = judge(&tools, &[json!({"name": "p"})], Some("use me"), false);
    let names: Vec<&str> = judged
        .listed
        .iter()
        .map(|listed| listed.name.as_str())
        .collect();
    assert_eq!(judged.listed.len(), 50 - 4 + 2, "{names:?}");
    assert!(names.contains(&"t3") && names.contains(&"t4") && names.contains(&"p"));
    assert_eq!(judged.refused.len(), 4, "{:?}", judged.refused);
}

/// ahead-tools/7.
#[test]
fn doubles_in_one_server_are_not_used() {
    let tools = [
        tool("a", json!({})),
        tool("a", json!({"x": 1})),
        tool("b", json!({})),
    ];
    let judged = judge(&tools, &[], None, false);
    assert_eq!(judged.listed.len(), 1);
    assert_eq!(judged.listed[0].name, "b");
    assert!(judged.refused[0].1.contains("2 of that name"));
}

/// ahead-tools/4 and 5: every shape is taken, and a check against it does what it says.
#[test]
fn schemas_of_every_shape_are_taken() {
    for schema in [
        json!({"type": "object"}),
        json!({}),
        json!(true),
        Value::Null,
        json!({"anyOf": [{"required": ["a"]}, {"required": ["b"]}], "properties": {"a": {}, "b": {}}}),
        json!({"oneOf": [{"type": "object", "properties": {"a": {"type": "string"}}}]}),
        json!({"allOf": [{"properties": {"a": true}}]}),
        json!({"type": ["object", "null"], "properties": {"a": {"description": "only"}}}),
        json!({"properties": {"a": {"type": "array"}, "b": {"type": "array", "prefixItems": [{"type": "string"}]}}}),
        json!({"properties": {"a": {"type": "number", "minimum": 0, "exclusiveMinimum": true}}}),
        json!({"$schema": "http://json-schema.org/draft-04/schema#", "id": "x",
            "properties": {"a": {"type": "number", "minimum": 0, "exclusiveMinimum": true, "maximum": 9, "exclusiveMaximum": false}}}),
        json!({"properties": {"a": {"type": ["string", "null"]}, "b": {"type": "null", "enum": ["A"]}}}),
        json!({"properties": {}, "additionalProperties": {}}),
        json!({"properties": {"a": {"anyOf": [{"not": {}}, {"type": "string"}]}}}),
        json!({"properties": {"a": {"type": "string", "format": "uri"}, "b": {"type": "array", "uniqueItems": true}}}),
        json!({"properties": {"f": {"$ref": "#/$defs/F"}}, "$defs": {"F": {"type": "string"}}}),
        json!({"properties": {"f": {"$ref": "#/definitions/N"}},
            "definitions": {"N": {"type": "object", "properties": {"next": {"$ref": "#/definitions/N"}}}}}),
        json!({"properties": {"f": {"$ref": "https://elsewhere.example/s.json"}}}),
        json!({"$schema": "https://elsewhere.example/dialect", "$id": "https://x.example/", "properties": {}}),
    ] {
        let listed = Listed::of(Kind::Tool, "t", &tool("t", schema.clone()));
        let made = Definition::of(&listed).unwrap_or_else(|error| panic!("{schema}: {error}"));
        assert_eq!(made.input_schema["type"], "object", "{schema}");
        assert!(
            !made.input_schema.to_string().contains("elsewhere"),
            "{schema}"
        );
    }
    let referring = definition(
        json!({"properties": {"f": {"$ref": "#/$defs/F"}}, "$defs": {"F": {"type": "string"}}}),
    );
    assert_eq!(referring.input_schema["$defs"]["F"]["type"], "string");
    assert!(referring.arguments(json!({"f": 5})).is_err());
}

/// ahead-tools/32.
#[test]
fn arguments_are_what_models_meant() {
    let made = definition(json!({
        "properties": {
            "a": {"type": "integer"},
            "o": {"type": "object"},
            "l": {"type": "array"},
            "s": {"type": "string"},
        },
    }));
    for (written, sent) in [
        (Value::Null, json!({})),
        (json!(""), json!({})),
        (json!("null"), json!({})),
        (json!([]), json!({})),
        (json!("{\"a\":1}"), json!({"a": 1})),
        (json!({"a": 3.0}), json!({"a": 3})),
        (
            json!({"o": "{\"x\":1}", "l": "[1]", "s": "{\"x\":1}"}),
            json!({"o": {"x": 1}, "l": [1], "s": "{\"x\":1}"}),
        ),
        (json!({"a": null, "s": "x"}), json!({"s": "x"})),
    ] {
        assert_eq!(made.arguments(written.clone()), Ok(sent), "{written}");
    }
    for written in [
        json!(5),
        json!([1]),
        json!("words"),
        json!({"a": "x"}),
        json!({"a": 3.5}),
    ] {
        assert!(made.arguments(written.clone()).is_err(), "{written}");
    }
}

#[test]
fn what_is_seen_is_pinned_and_order_is_not() {
    let digest = |raw: Value| Listed::of(Kind::Tool, "t", &raw).digest;
    let one =
        digest(json!({"name": "t", "description": "d", "inputSchema": {"required": ["a", "b"]}}));
    for same in [
        json!({"inputSchema": {"required": ["b", "a"]}, "name": "t", "description": "d"}),
        json!({"inputSchema": {"required": ["b", "a"]}, "name": "t", "description": "d", "_meta": {"x": 1}, "icons": []}),
    ] {
        assert_eq!(digest(same), one);
    }
    for other in [
        json!({"name": "t", "description": "D", "inputSchema": {"required": ["a", "b"]}}),
        json!({"name": "t", "description": "d", "inputSchema": {"required": ["a"]}}),
        json!({"name": "t", "description": "d", "inputSchema": {"required": ["a", "b"]}, "annotations": {"readOnlyHint": true}}),
        json!({"name": "t", "description": "d\u{200b}", "inputSchema": {"required": ["a", "b"]}}),
        json!({"name": "t", "description": "d", "inputSchema": {"required": ["a", "b"]}, "outputSchema": {}}),
    ] {
        assert_ne!(digest(other.clone()), one, "{other}");
    }
}

#[test]
fn hidden_characters_reach_no_model() {
    let raw = json!({"name": "t", "description": "Adds.\u{e0049}\u{e0067}\u{200b} Fine.", "inputSchema": {}});
    let made = Definition::of(&Listed::of(Kind::Tool, "t", &raw)).unwrap();
    assert_eq!(made.description, "Adds.\\u{e0049}\\u{e0067}\\u{200b} Fine.");
}

#[test]
fn differences_are_named_by_place() {
    let found = schema::differences(
        &json!({"a": 1, "b": {"c": [1], "d": 1}, "same": true}),
        &json!({"a": 2, "b": {"c": [1], "e/f": 1}, "same": true}),
    );
    let places: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(places, ["/a", "/b/d", "/b/e~1f"]);
}
