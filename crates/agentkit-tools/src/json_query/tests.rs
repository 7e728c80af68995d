//! The examples of RFC 9535, and what would take too long.

use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::*;

fn run(document: &Value, query: &str) -> Result<Vec<Value>, Failure> {
    let query = query::parse(query)?;
    let abandoned = CancellationToken::new();
    let found = Evaluation::new(document, &abandoned).query(&query.segments)?;
    Ok(found.into_iter().cloned().collect())
}

fn bookstore() -> Value {
    json!({
        "store": {
            "book": [
                {"category": "reference", "author": "Nigel Rees",
                 "title": "Sayings of the Century", "price": 8.95},
                {"category": "fiction", "author": "Evelyn Waugh",
                 "title": "Sword of Honour", "price": 12.99},
                {"category": "fiction", "author": "Herman Melville", "title": "Moby Dick",
                 "isbn": "0-553-21311-3", "price": 8.99},
                {"category": "fiction", "author": "J. R. R. Tolkien",
                 "title": "The Lord of the Rings", "isbn": "0-395-19395-8", "price": 22.99},
            ],
            "bicycle": {"color": "red", "price": 399},
        }
    })
}

#[test]
fn the_bookstore_of_the_rfc() {
    let document = bookstore();
    for (query, expected) in [
        (
            "$.store.book[*].author",
            json!([
                "Nigel Rees",
                "Evelyn Waugh",
                "Herman Melville",
                "J. R. R. Tolkien"
            ]),
        ),
        (
            "$..author",
            json!([
                "Nigel Rees",
                "Evelyn Waugh",
                "Herman Melville",
                "J. R. R. Tolkien"
            ]),
        ),
        ("$.store..price", json!([399, 8.95, 12.99, 8.99, 22.99])),
        ("$..book[2].author", json!(["Herman Melville"])),
        ("$..book[2].publisher", json!([])),
        ("$..book[-1].title", json!(["The Lord of the Rings"])),
        ("$..book[0,1].price", json!([8.95, 12.99])),
        ("$..book[:2].price", json!([8.95, 12.99])),
        ("$..book[?@.isbn].price", json!([8.99, 22.99])),
        ("$..book[?@.price<10].price", json!([8.95, 8.99])),
        ("$['store']['bicycle']['color']", json!(["red"])),
        (
            "$.store.book[?@.category=='fiction' && @.price > 10].price",
            json!([12.99, 22.99]),
        ),
        ("$.store.book[?!(@.isbn)].price", json!([8.95, 12.99])),
        (
            "$.store.book[?match(@.author, '[EH].*')].price",
            json!([12.99, 8.99]),
        ),
        (
            "$.store.book[?search(@.title, 'of')].price",
            json!([8.95, 12.99, 22.99]),
        ),
        ("$.store.book[?length(@.author) < 11].price", json!([8.95])),
        ("$.store.book[?count(@.*) == 5].price", json!([8.99, 22.99])),
        ("$.store.book[?value(@.price) == 8.95].price", json!([8.95])),
    ] {
        assert_eq!(
            Value::from(run(&document, query).unwrap()),
            expected,
            "{query}"
        );
    }
    assert_eq!(run(&document, "$..*").unwrap().len(), 27);
}

/// The tables of sections 2.3.4 and 2.3.5.
#[test]
fn slices_and_comparisons_of_the_rfc() {
    let letters = json!(["a", "b", "c", "d", "e", "f", "g"]);
    for (query, expected) in [
        ("$[1:3]", json!(["b", "c"])),
        ("$[5:]", json!(["f", "g"])),
        ("$[1:5:2]", json!(["b", "d"])),
        ("$[5:1:-2]", json!(["f", "d"])),
        ("$[::-1]", json!(["g", "f", "e", "d", "c", "b", "a"])),
        ("$[0:3:0]", json!([])),
        ("$[-2:]", json!(["f", "g"])),
        ("$[:-5]", json!(["a", "b"])),
        ("$[-1:-3:-1]", json!(["g", "f"])),
        ("$[100:]", json!([])),
        ("$[:100:3]", json!(["a", "d", "g"])),
        ("$[0,0]", json!(["a", "a"])),
        ("$[-7]", json!(["a"])),
        ("$[-8]", json!([])),
    ] {
        assert_eq!(
            Value::from(run(&letters, query).unwrap()),
            expected,
            "{query}"
        );
    }
    let document = json!({"obj": {"x": "y"}, "arr": [2, 3]});
    for (comparison, expected) in [
        ("$.absent1 == $.absent2", true),
        ("$.absent1 <= $.absent2", true),
        ("$.absent == 'g'", false),
        ("$.absent1 != $.absent2", false),
        ("$.absent != 'g'", true),
        ("1 <= 2", true),
        ("1 > 2", false),
        ("13 == '13'", false),
        ("'a' <= 'b'", true),
        ("'a' > 'b'", false),
        ("$.obj == $.arr", false),
        ("$.obj != $.arr", true),
        ("$.obj == $.obj", true),
        ("$.obj != $.obj", false),
        ("$.arr == $.arr", true),
        ("$.obj == 17", false),
        ("$.obj <= $.arr", false),
        ("$.obj < $.arr", false),
        ("$.obj <= $.obj", true),
        ("$.arr <= $.arr", true),
        ("1 <= $.arr", false),
        ("1 >= $.arr", false),
        ("true <= true", true),
        ("true > true", false),
        ("1 == 1.0", true),
        ("1e2 == 100", true),
    ] {
        let query = format!("$[?{comparison}]");
        let found = run(&document, &query).unwrap().len();
        assert_eq!(found, if expected { 2 } else { 0 }, "{comparison}");
    }
}

#[test]
fn what_is_no_query_is_told() {
    for query in [
        "",
        "store",
        "$.",
        "$[",
        "$[?@.a",
        "$[01]",
        "$[?length(@.a)]",
        "$[?in(@.a, $.b)]",
        "$[?nosuch(@.a)]",
        "$[?@.a ~= 1]",
        &"$.a".repeat(1000),
        &format!("$[?{}@.a{}]", "(".repeat(500), ")".repeat(500)),
        &format!("$[?{}@.a{} == 1]", "length(".repeat(100), ")".repeat(100)),
    ] {
        let error = run(&bookstore(), query).unwrap_err();
        assert_eq!(error.code, "invalid_query", "{query}");
    }
}

#[test]
fn queries_that_multiply_are_stopped() {
    let mut deep = json!([0, 0]);
    for _ in 0..100 {
        deep = json!([deep, 0]);
    }
    let wide = Value::from(vec![1; 100_000]);
    for (document, query) in [
        (&deep, "$..*".repeat(20).replace("*$", "*")),
        (&deep, format!("${}", "[0,0]".repeat(60))),
        (&deep, format!("${}", "[0,0,0,0,0,0,0,0]".repeat(20))),
        (&wide, "$[?count($[*]) > 0]".to_owned()),
        (&wide, "$[?$[?$[?@ == 2]]]".to_owned()),
        (&wide, format!("$[{}*]", "*,".repeat(300))),
        (&wide, "$[?$ == $]".to_owned()),
    ] {
        let error = run(document, &query).unwrap_err();
        assert_eq!(error.code, "query_too_expensive", "{query}");
    }
    // And what is picked has a bound of its own.
    let found = vec![&wide; 10_000];
    let result = picked(&found, 10_000);
    assert_eq!(result["count"], 10_000);
    let kept = result["values"].as_array().unwrap().len();
    assert!((1..100).contains(&kept), "{kept}");
    assert_eq!(result["cut"], format!("these are the first {kept}"));
}

#[test]
fn an_abandoned_query_stops() {
    let wide = Value::from(vec![1; 100_000]);
    let abandoned = CancellationToken::new();
    abandoned.cancel();
    let query = query::parse("$[*]").unwrap();
    let error = Evaluation::new(&wide, &abandoned)
        .query(&query.segments)
        .unwrap_err();
    assert_eq!(error.code, "cancelled");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3_i64..4).prop_map(Value::from),
        "[ab]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[ab]", inner, 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_text_is_answered(text in "\\PC{0,40}", tail in "[$@.*?()\\[\\]a0,:'<=!&|-]{0,24}") {
        let _ = run(&bookstore(), &text);
        let _ = run(&bookstore(), &format!("${tail}"));
    }

    /// The library that reads the queries evaluates them as well, without bounds.
    #[test]
    fn the_library_agrees(
        document in any_json(),
        segments in proptest::collection::vec(
            prop_oneof![
                Just(".a"), Just("[0]"), Just("[-1]"), Just(".*"), Just("..a"), Just("..*"),
                Just("[1:]"), Just("[::-1]"), Just("['a','b']"), Just("[?@.a]"), Just("[?@ == 1]"),
                Just("[?@.a < 2]"), Just("[?length(@) == 1]"), Just("[?count(@.*) > 1]"),
                Just("[?@.a == $.a]"), Just("[?!@.b && @.a != 'a']"),
            ],
            0..4,
        ),
    ) {
        use jsonpath_rust::JsonPath as _;
        let query = format!("${}", segments.concat());
        let ours = run(&document, &query).unwrap();
        let theirs: Vec<Value> = document.query(&query).unwrap().into_iter().cloned().collect();
        prop_assert_eq!(ours, theirs, "{}", query);
    }
}
