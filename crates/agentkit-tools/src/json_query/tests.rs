//! The examples of RFC 9535, and queries that would take too long.

use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::*;

fn run(document: &Value, query: &str) -> Result<Vec<Value>, Failure> {
    let query = query::read(query)?;
    let abandoned = CancellationToken::new();
    let node = Node::from(document.clone());
    let found = Evaluation::new(&node, &abandoned).query(&query)?;
    Ok(found
        .into_iter()
        .map(|node| node.to_value(&mut 0))
        .collect())
}

/// As `run`, on the text of a document.
fn run_text(document: &str, query: &str) -> Value {
    let query = query::read(query).unwrap();
    let document = document::Text::Bytes(document.as_bytes().to_vec());
    let document = document.parse(None).unwrap();
    let abandoned = CancellationToken::new();
    let found = Evaluation::new(&document.node, &abandoned)
        .query(&query)
        .unwrap();
    picked(&found, 100)
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

/// tools/T3: words of other dialects are refused with the form of RFC 9535.
#[test]
fn what_other_dialects_write_is_refused_with_a_hint() {
    for (query, hint) in [
        (
            "$.items[?(@.id in [\"FRA\"])].id",
            "`@.id == \"a\" || @.id == \"b\"`",
        ),
        ("$.items[?@.id in [\"FRA\"]].id", "there is no `in`"),
        ("$.items[?(@.id is null)]", "`@.a == null`"),
        ("$.items[?(@.id is not null)]", "`@.a != null`"),
        ("$.items[?(@.tags size 2)]", "`length(@.tags) == 2`"),
        ("$.items[?(@.tags empty true)]", "`length(@.a) == 0`"),
        ("$.items[?(@.n mod 2 == 0)]", "no arithmetic"),
        ("$.items[?(@.n % 2 == 0)]", "no arithmetic"),
        ("$.items[?(@.n * 2 > 4)]", "no arithmetic"),
        ("$.items[?(@.n - 2 > 4)]", "no arithmetic"),
        (
            "$.items[?(@.name contains 'a')]",
            "search(@.name, \"text\")",
        ),
        (
            "$.items[?contains(@.name, 'a')]",
            "search(@.name, \"text\")",
        ),
        ("$.items[?(@.name =~ /a.*/i)]", "search(@.name"),
        ("$.items[?(@.name like 'a%')]", "search(@.name"),
        ("$.items[?(@.name startsWith 'a')]", "\"^a\""),
        ("$.items[?@.a == 1 and @.b == 2]", "write `&&`"),
        ("$.items[?@.a == 1 or @.b == 2]", "write `||`"),
        ("$.items[?@.a == 1 & @.b == 2]", "write `&&`"),
        ("$.items[?not @.a]", "`!(...)`"),
        ("$.items[?!@.a == 1]", "not before a comparison"),
        ("$.items[?(@.a) == 1]", "leave them out"),
        ("$.items[?@.a = 1]", "write `==`"),
        ("$.items[?@.a === 1]", "write `==`"),
        ("$.items[?@.a <> 1]", "write `!=`"),
        ("$.items[?@.* == 1]", "several values"),
        ("$.items[?length(@.*) == 1]", "count(...)"),
        ("$.items[?match(@.a, 'b') == true]", "do not compare them"),
        ("$.items[(@.length-1)]", "the last element is [-1]"),
        ("$.items[@.a == 1]", "a filter begins with `?`"),
        ("$.items[name]", "['name']"),
        ("$.items.length()", "`count` of the result"),
        ("$.items.0", "[0]"),
        ("$.items.[0]", "leave out the `.`"),
        ("$.foo bar", "['foo bar']"),
        ("$.foo-bar", "['a-b']"),
        ("$.'foo'", "['a b']"),
        ("$. foo", "no white space"),
        ("$.foo ", "white space may not stand at the end"),
        ("items[0]", "`$.items[0].name`"),
        (" $.a", "`$.items[0].name`"),
    ] {
        let error = run(&json!({"items": []}), query).unwrap_err();
        assert_eq!(error.code, "invalid_query", "{query}");
        assert!(error.message.contains(hint), "{query}: {}", error.message);
        assert!(error.message.contains(" at column "), "{}", error.message);
    }
}

/// tools/T3: white space stands only where RFC 9535 lets it.
#[test]
fn white_space_stands_where_it_may() {
    let document = json!({"a": {"b": [0, 1, 2, 3]}, "c": "x"});
    for (query, expected) in [
        ("$ .a .b [ 1 ]", json!([1])),
        ("$\n['a']\t[\"b\"]\r[0 : 4 : 2]", json!([0, 2])),
        ("$.a.b[ ? @ > 1 && ! ( @ == 3 ) ]", json!([2])),
        ("$[?length( @ ) == 1]", json!([{"b": [0, 1, 2, 3]}, "x"])),
        ("$[?search( @ , 'x' )]", json!(["x"])),
        ("$.a..[ 0 , 1 ]", json!([0, 1])),
    ] {
        assert_eq!(
            Value::from(run(&document, query).unwrap()),
            expected,
            "{query}"
        );
    }
    for query in [
        "$. a",
        "$.. a",
        "$[?length (@.a) == 1]",
        "$[?@ . a]x",
        "$[1 2]",
        "$['a' 'b']",
        "$[-0]",
        "$[- 1]",
        "$[1e2]",
        "$[9007199254740992]",
        "$[?@.a == 01]",
        "$[?@.a == .5]",
        "$[?@.a == 1.]",
        "$[?@.a == True]",
        "$['\\ud800']",
        "$['\\x']",
        "$['a\nb']",
        "$[?'a']",
        "$[?@.a == @.b == 1]",
        "$[?length(@.a)]",
        "$[?count(1) == 1]",
        "$[?count(@.a, 1) == 1]",
        "$[?(@.a]",
        "$[]",
        "$['a',]",
        "$[?]",
        "$..",
        "$.",
        "$[?@.a == 'b\"]",
    ] {
        let error = run(&document, query).map(|_| query).unwrap_err();
        assert_eq!(error.code, "invalid_query", "{query}");
    }
}

/// tools/T2: a pattern that cannot be used is told, and those that people write can be.
#[test]
fn patterns_are_used_or_told() {
    let document = json!([{"n": "Müller"}, {"n": "x"}, {"n": "a\rb"}, {"n": "me@example.org"}]);
    for (query, expected) in [
        ("$[?search(@.n, '^\\\\w{2,10}$')].n", json!(["Müller"])),
        ("$[?match(@.n, '\\\\p{L}{1,50}')].n", json!(["Müller", "x"])),
        (
            "$[?search(@.n, '^[\\\\w.]{1,64}@')].n",
            json!(["me@example.org"]),
        ),
        ("$[?match(@.n, 'a.b')].n", json!([])),
        ("$[?match(@.n, 'x|y')].n", json!(["x"])),
        ("$[?match(@.n, 1)].n", json!([])),
        ("$[?match(1, 'x')].n", json!([])),
    ] {
        assert_eq!(
            Value::from(run(&document, query).unwrap()),
            expected,
            "{query}"
        );
    }
    for (query, why) in [
        ("$[?search(@.n, '(?=M)')]", "look-around"),
        ("$[?search(@.n, '[')]", "unclosed character class"),
        ("$[?match(@.n, 'a)|(b')]", "unopened group"),
        ("$[?search(@.n, '\\\\w{1,1000}{1,1000}')]", "too large"),
    ] {
        let error = run(&document, query).unwrap_err();
        assert_eq!(error.code, "invalid_query", "{query}");
        assert!(error.message.contains(why), "{}", error.message);
    }
}

/// tools/T2: those that a document holds match nothing, as the RFC says, but that is told.
#[test]
fn patterns_of_the_document_are_used_or_told() {
    let document = Node::from(json!([
        {"n": "abc", "p": "b"}, {"n": "abc", "p": "(?=b)"}, {"n": "abc", "p": "\\w{1,900}"},
        {"n": "abc", "p": 7}, {"n": "abc"},
    ]));
    let query = query::read("$[?search(@.n, @.p)].p").unwrap();
    let abandoned = CancellationToken::new();
    let mut evaluation = Evaluation::new(&document, &abandoned);
    let found = evaluation.query(&query).unwrap();
    assert_eq!(found, [&Node::String("b".into())]);
    let unusable = evaluation.into_unusable();
    assert_eq!(unusable.len(), 2, "{unusable:?}");
    assert!(unusable[0].contains("look-around"), "{unusable:?}");
    assert!(unusable[1].contains("too large"), "{unusable:?}");
}

/// tools/T4: a number is the one that is written, however long.
#[test]
fn numbers_keep_their_digits() {
    let document = r#"[
        {"id": 1234567890123456789}, {"id": 9007199254740993}, {"id": 9007199254740992},
        {"id": 12345678901234567890123}, {"id": 0.10000000000000000001}, {"id": 1e400},
        {"id": 0.1}, {"id": 18446744073709551615}
    ]"#;
    for (query, values, as_text) in [
        (
            "$[?@.id == 1234567890123456789].id",
            json!([1_234_567_890_123_456_789_i64]),
            0,
        ),
        (
            "$[?@.id == 9007199254740992].id",
            json!([9_007_199_254_740_992_i64]),
            0,
        ),
        (
            "$[?@.id == 9007199254740993.0].id",
            json!([9_007_199_254_740_993_i64]),
            0,
        ),
        (
            "$[?@.id == 12345678901234567890123].id",
            json!(["12345678901234567890123"]),
            1,
        ),
        ("$[?@.id == 12345678901234567890124].id", json!([]), 0),
        ("$[?@.id == 0.1].id", json!([0.1]), 0),
        (
            "$[?@.id > 0.1 && @.id < 0.2].id",
            json!(["0.10000000000000000001"]),
            1,
        ),
        ("$[?@.id > 1e399].id", json!(["1e400"]), 1),
        ("$[7].id", json!([18_446_744_073_709_551_615_u64]), 0),
    ] {
        let result = run_text(document, query);
        assert_eq!(result["values"], values, "{query}");
        let told = result.get("numbers_as_text").and_then(Value::as_u64);
        assert_eq!(told.unwrap_or(0), as_text, "{query}");
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
    let wide = Node::from(wide);
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
    let query = query::read("$[*]").unwrap();
    let error = Evaluation::new(&Node::from(wide), &abandoned)
        .query(&query)
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
