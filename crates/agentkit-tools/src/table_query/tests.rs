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

/// tools/T13: with a comma for decimals, a point that does not separate thousands makes no number.
#[test]
fn a_point_separates_thousands_or_nothing() {
    for (cell, sum) in [
        ("1,5", Some("1.5")),
        ("1.234", Some("1234")),
        ("-12.345.678,90", Some("-12345678.9")),
        ("+1.000", Some("1000")),
        ("1e3", Some("1000")),
        ("1234,5", Some("1234.5")),
        ("1.5", None),
        ("12.34", None),
        ("1.2.3", None),
        ("1.2345", None),
        ("1234.567", None),
        ("0.123", None),
        (".123", None),
        ("1,234.5", None),
        ("1,2,3", None),
        ("1.234e3", None),
    ] {
        let text = format!("n\tm\n{cell}\t1\n");
        let arguments = json!({
            "decimal": ",", "aggregate": [{"fn": "sum", "column": "n", "as": "s"}],
        });
        let result = ask(&text, arguments).unwrap();
        assert_eq!(result["rows"], json!([[sum.unwrap_or("0")]]), "{cell}");
        let expected = sum.is_none().then(|| json!({"s": 1}));
        assert_eq!(result.get("not_numbers"), expected.as_ref(), "{cell}");
    }
}

#[test]
fn a_quote_that_does_not_end_is_told_and_swallows_no_rows() {
    for (text, line) in [
        ("a,b\n1,\"x\n2,3\n4,5\n", 2),
        ("a,\"b\n1,2\n", 1),
        ("a,b\r\n1,2\r\n\"x,3\r\n", 3),
        // The next quote is no end of the first one.
        ("a,b\n1,\"x\n2,\"y\n4,5\n", 2),
        ("sep=,\na,b\n1,\"x\n", 3),
    ] {
        let error = ask(text, json!({})).unwrap_err();
        assert_eq!(error.code, "invalid_table", "{text:?}");
        let place = format!("line {line}: ");
        assert!(error.message.contains(&place), "{text:?}: {error}");
    }
    for (text, expected) in [
        ("a,b\n1,\"x\ny\"\n2,3\n", json!([["1", "x\ny"], ["2", "3"]])),
        ("a,b\n1,\"x \"\"y\"\"\"\n", json!([["1", "x \"y\""]])),
        (
            "a,b\n1,5\" disk\n2,3\n",
            json!([["1", "5\" disk"], ["2", "3"]]),
        ),
        ("a,b\n1,\"x\" y\n2,3\n", json!([["1", "x y"], ["2", "3"]])),
        ("a,b\n1,\"x\"", json!([["1", "x"]])),
    ] {
        assert_eq!(rows(text, json!({})), expected, "{text:?}");
    }
}

#[test]
fn the_least_and_the_most_are_numbers_where_there_are_numbers() {
    let aggregate = json!([
        {"fn": "min", "column": "n", "as": "least"}, {"fn": "max", "column": "n", "as": "most"},
    ]);
    let result = ask("n\n5\n100\nn/a\n7\n", json!({"aggregate": aggregate})).unwrap();
    assert_eq!(result["rows"], json!([["5", "100"]]));
    assert_eq!(result["not_numbers"], json!({"least": 1, "most": 1}));
    let dates = "n\n2026-01-02\n2025-12-31\n\n";
    let result = ask(dates, json!({"aggregate": aggregate})).unwrap();
    assert_eq!(result["rows"], json!([["2025-12-31", "2026-01-02"]]));
    assert_eq!(result.get("not_numbers"), None);
    // By group: one has numbers, and one has none.
    let text = "g,n\na,5\na,x\nb,y\n";
    let result = ask(text, json!({"group_by": ["g"], "aggregate": aggregate})).unwrap();
    assert_eq!(result["rows"], json!([["a", "5", "5"], ["b", "y", "y"]]));
    assert_eq!(result["not_numbers"], json!({"least": 1, "most": 1}));
}

#[test]
fn columns_of_one_name_are_told_apart() {
    let text = "a,b,a,a_2,a,,\n1,2,3,4,5,6,7\n";
    let result = ask(text, json!({"select": ["a", "a_3", "a_4"]})).unwrap();
    assert_eq!(result["renamed_columns"], json!(["a_3", "a_4"]));
    assert_eq!(result["rows"], json!([["1", "3", "5"]]));
    assert_eq!(
        ask("a,b\n1,2\n", json!({})).unwrap().get("renamed_columns"),
        None
    );
}

#[test]
fn a_line_that_names_the_delimiter_is_no_header() {
    for text in ["sep=;\na;b\n1,5;2\n", "\"SEP=;\"\r\na;b\r\n1,5;2\r\n"] {
        let result = ask(text, json!({})).unwrap();
        assert_eq!(
            (&result["columns"], &result["rows"], &result["delimiter"]),
            (&json!(["a", "b"]), &json!([["1,5", "2"]]), &json!(";"))
        );
    }
    // Who gives one knows better.
    let result = ask("sep=;\na,b\n1,2\n", json!({"delimiter": ","})).unwrap();
    assert_eq!(result["columns"], json!(["a", "b"]));
    assert_eq!(
        ask("sep=;", json!({})).unwrap()["columns"],
        json!(["sep=", ""])
    );
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
        ("[{\"a\": 1}, {\"a\": 2}]", json!({}), "invalid_table"),
        (" [\n  {\"a\": 1}\n]\n", json!({}), "invalid_table"),
        ("[]\n", json!({}), "invalid_table"),
        (
            "a\n1\n",
            json!({"where": [{"column": "a", "op": "=", "value": [1, 2]}]}),
            "invalid_arguments",
        ),
        (
            "a\n1\n",
            json!({"where": [{"column": "a", "op": "<", "value": [1]}]}),
            "invalid_arguments",
        ),
        (
            "a\n1\n",
            json!({"where": [{"column": "a", "op": "in", "value": [[1]]}]}),
            "invalid_arguments",
        ),
        (
            "a\n1\n",
            json!({"aggregate": [
                {"fn": "sum", "column": "a", "as": "x"}, {"fn": "max", "column": "a", "as": "x"},
            ]}),
            "invalid_arguments",
        ),
        (
            "count\n1\n",
            json!({"group_by": ["count"], "aggregate": [{"fn": "count"}]}),
            "invalid_arguments",
        ),
    ] {
        let error = ask(text, arguments.clone()).unwrap_err();
        assert_eq!(error.code, code, "{arguments}: {}", error.message);
    }
    // Names of columns may look like the beginning of a list.
    assert_eq!(rows("[id],[a]\n1,2\n", json!({})), json!([["1", "2"]]));
    let wide = vec!["a"; 1001].join(",");
    assert_eq!(ask(&wide, json!({})).unwrap_err().code, "table_too_large");
    let many: String = (0..100_001).map(|n| format!("{n}\n")).collect();
    let error = ask(&format!("n\n{many}"), json!({"group_by": ["n"]})).unwrap_err();
    assert_eq!(error.code, "table_too_large");
    assert_eq!(ask("", json!({})).unwrap()["rows"], json!([]));
}
