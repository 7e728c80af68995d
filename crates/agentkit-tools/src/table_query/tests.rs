use super::*;

const SALES: &str = "region;product;amount;price\nnorth;pear;3;0,10\nsouth;pear;1;0,20\n\
    north;plum;;1.234,50\nnorth;\"pear;big\";2;0,30\n";

fn ask(text: &str, arguments: Value) -> Result<Value, Failure> {
    let arguments: Arguments = serde_json::from_value(arguments).unwrap();
    answer(text, &arguments, &CancellationToken::new())
}

fn rows(text: &str, arguments: Value) -> Value {
    ask(text, arguments).unwrap()["rows"].clone()
}

#[test]
fn rows_are_filtered_selected_and_sorted() {
    for (arguments, expected) in [
        (
            json!({"where": [{"column": "region", "op": "=", "value": "south"}]}),
            json!([["south", "pear", "1", "0,20"]]),
        ),
        (
            json!({"select": ["product"], "where": [{"column": "amount", "op": ">=", "value": 2}]}),
            json!([["pear"], ["pear;big"]]),
        ),
        (
            json!({
                "decimal": ",", "select": ["price"],
                "sort": [{"column": "price", "descending": true}], "limit": 2,
            }),
            json!([["1.234,50"], ["0,30"]]),
        ),
        (
            json!({"select": ["amount"], "sort": [{"column": "amount"}]}),
            json!([["1"], ["2"], ["3"], [null]]),
        ),
        (
            json!({"select": ["product"], "where": [{"column": "amount", "op": "empty"}]}),
            json!([["plum"]]),
        ),
        (
            json!({"select": ["product"], "where": [
                {"column": "product", "op": "matches", "value": "^p.a"},
                {"column": "amount", "op": "in", "value": [1, "2"]},
            ]}),
            json!([["pear"], ["pear;big"]]),
        ),
        (
            json!({"select": ["product"], "where": [
                {"column": "product", "op": "contains", "value": "big"},
            ]}),
            json!([["pear;big"]]),
        ),
        (
            json!({"select": ["product"], "after": 2, "limit": 1}),
            json!([["plum"]]),
        ),
    ] {
        assert_eq!(rows(SALES, arguments.clone()), expected, "{arguments}");
    }
    let result = ask(SALES, json!({"limit": 1})).unwrap();
    assert_eq!(
        (&result["count"], &result["next"], &result["delimiter"]),
        (&json!(4), &json!(1), &json!(";"))
    );
}

#[test]
fn a_text_is_not_the_number_that_it_looks_like() {
    let text = "zip\n0123\n123\n";
    for (value, expected) in [(json!("0123"), 1), (json!(123), 2), (json!("1"), 0)] {
        let arguments = json!({"where": [{"column": "zip", "op": "=", "value": value}]});
        assert_eq!(ask(text, arguments).unwrap()["count"], expected, "{value}");
        let arguments = json!({"where": [{"column": "zip", "op": "!=", "value": value}]});
        assert_eq!(
            ask(text, arguments).unwrap()["count"],
            2 - expected,
            "{value}"
        );
    }
}

/// tools/T13: sums are exact.
#[test]
fn groups_are_added_up_exactly() {
    let arguments = json!({
        "group_by": ["region"], "decimal": ",",
        "aggregate": [
            {"fn": "count"}, {"fn": "sum", "column": "price"}, {"fn": "avg", "column": "amount"},
            {"fn": "min", "column": "amount", "as": "least"},
            {"fn": "max", "column": "amount"}, {"fn": "count_distinct", "column": "product"},
        ],
        "sort": [{"column": "count", "descending": true}],
    });
    let result = ask(SALES, arguments).unwrap();
    assert_eq!(
        result["columns"],
        json!([
            "region",
            "count",
            "sum_price",
            "avg_amount",
            "least",
            "max_amount",
            "count_distinct_product",
        ])
    );
    assert_eq!(
        result["rows"],
        json!([
            ["north", "3", "1234.9", "2.5", "2", "3", "3"],
            ["south", "1", "0.2", "1", "1", "1", "1"],
        ])
    );
    let cents: String = "n\n".to_owned() + &"0.1\n".repeat(1000) + "12345678901234567890.05\nx\n";
    let arguments = json!({"aggregate": [{"fn": "sum", "column": "n", "as": "s"}]});
    let result = ask(&cents, arguments).unwrap();
    assert_eq!(result["rows"], json!([["12345678901234567990.05"]]));
    assert_eq!(result["not_numbers"], json!({"s": 1}));
}

#[test]
fn objects_on_lines_are_a_table() {
    let text = "{\"id\": 12345678901234567890123, \"a\": {\"b\": 1}}\n\n{\"id\": 2, \"c\": null}\n";
    let result = ask(text, json!({"sort": [{"column": "id"}]})).unwrap();
    assert_eq!(result["columns"], json!(["a", "c", "id"]));
    assert_eq!(
        result["rows"],
        json!([[null, null, 2], [{"b": 1}, null, "12345678901234567890123"]])
    );
}

#[test]
fn mistakes_are_told() {
    for (text, arguments, code) in [
        ("a\n1\n", json!({"select": ["b"]}), "unknown_column"),
        (
            "a\n1\n",
            json!({"sort": [{"column": "b"}]}),
            "unknown_column",
        ),
        (
            "a\n1\n",
            json!({"where": [{"column": "a", "op": "="}]}),
            "invalid_arguments",
        ),
        (
            "a\n1\n",
            json!({"where": [{"column": "a", "op": "matches", "value": "("}]}),
            "invalid_pattern",
        ),
        (
            "a\n1\n",
            json!({"aggregate": [{"fn": "sum"}]}),
            "invalid_arguments",
        ),
        (
            "a\n1\n",
            json!({"select": ["a"], "group_by": ["a"]}),
            "invalid_arguments",
        ),
        ("{\"a\": 1}\n[1]\n", json!({}), "invalid_table"),
        ("{\"a\": 1}\n{\"a\"\n", json!({}), "invalid_table"),
        ("a\n1\n", json!({"delimiter": "ä"}), "invalid_arguments"),
    ] {
        let error = ask(text, arguments.clone()).unwrap_err();
        assert_eq!(error.code, code, "{arguments}: {}", error.message);
    }
    let wide = vec!["a"; 1001].join(",");
    assert_eq!(ask(&wide, json!({})).unwrap_err().code, "table_too_large");
    let many: String = (0..100_001).map(|n| format!("{n}\n")).collect();
    let error = ask(&format!("n\n{many}"), json!({"group_by": ["n"]})).unwrap_err();
    assert_eq!(error.code, "table_too_large");
    assert_eq!(ask("", json!({})).unwrap()["rows"], json!([]));
}
