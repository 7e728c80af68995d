//! `opspawn run --example report`: with nothing set up, and with an endpoint.

use std::{fs, path::PathBuf};

use ops_testkit::ModelStub;

use super::test_dir::TestDir;

/// The sums that the report has to have, worked out here from the files themselves.
struct Totals {
    orders: [usize; 2],
    cents: [i64; 2],
}

impl Totals {
    fn recompute() -> Self {
        let quarter = |name: &str| {
            let folder = PathBuf::from(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../examples/report/data"
            ));
            amounts(&fs::read_to_string(folder.join(name)).unwrap())
        };
        let quarters = [quarter("sales-q1.csv"), quarter("sales-q2.csv")];
        Self {
            orders: quarters.each_ref().map(Vec::len),
            cents: quarters.each_ref().map(|amounts| amounts.iter().sum()),
        }
    }
}

/// The column `amount` in cents.
fn amounts(csv: &str) -> Vec<i64> {
    let mut rows = csv.lines().filter(|line| !line.is_empty()).map(fields);
    let head = rows.next().unwrap();
    let column = head.iter().position(|name| name == "amount").unwrap();
    rows.map(|row| cents(&row[column])).collect()
}

/// The fields of a CSV line; quotes may hold commas.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for character in line.chars() {
        match character {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => fields.last_mut().unwrap().push(other),
        }
    }
    fields
}

/// An amount of money in cents, exactly.
fn cents(text: &str) -> i64 {
    let (whole, part) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    assert!(part.len() <= 2, "{text}");
    let part: i64 = format!("{part:0<2}").parse().unwrap();
    whole.parse::<i64>().unwrap() * 100 + part
}

/// The cells of the report's table, a row a line.
fn table(report: &str) -> Vec<Vec<String>> {
    let rows = report.lines().filter(|line| line.starts_with('|'));
    let cells = |line: &str| {
        let cells = line.trim_matches('|').split('|');
        cells
            .map(|cell| cell.trim().trim_matches('*').to_owned())
            .collect()
    };
    rows.map(cells).collect()
}

#[track_caller]
fn assert_right(report: &str) {
    let Totals { orders, cents: of } = Totals::recompute();
    let rows = table(report);
    let row = |name: &str| rows.iter().find(|row| row[0] == name).unwrap();
    for (name, orders, sum) in [
        ("Q1", orders[0], of[0]),
        ("Q2", orders[1], of[1]),
        ("Year to date", orders[0] + orders[1], of[0] + of[1]),
    ] {
        let row = row(name);
        assert_eq!(row[1], orders.to_string(), "{report}");
        assert_eq!(cents(&row[2]), sum, "{name}: {report}");
    }
}

#[tokio::test]
async fn with_nothing_set_up_the_report_is_right_and_says_that_no_llm_wrote_it() {
    let test_dir = TestDir::new();
    let ran = test_dir
        .cli_without_a_script(&["run", "--example", "report"])
        .run()
        .await
        .ends(0);
    assert!(ran.stderr.contains("not an LLM"), "{ran:#?}");
    assert!(ran.stderr.contains("no LLM is in use"), "{ran:#?}");
    let Totals { cents: of, .. } = Totals::recompute();
    let answer = ran.stdout.lines().next().unwrap();
    let sum = answer
        .split("EUR ")
        .nth(1)
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    assert_eq!(cents(sum), of[0] + of[1], "{answer}");
    let file = ran
        .stderr
        .lines()
        .find_map(|line| line.strip_prefix("file: "));
    let report = fs::read_to_string(file.unwrap()).unwrap();
    assert_right(&report);
    assert!(
        report.contains("Two orders of June are not invoiced yet"),
        "{report}"
    );
    assert_eq!(
        fs::read_dir(test_dir.join("home")).unwrap().count(),
        0,
        "home stays empty"
    );
}

#[tokio::test]
async fn its_json_is_the_task() {
    let test_dir = TestDir::new();
    let ran = test_dir
        .cli(&["run", "--example", "report", "--json"])
        .run()
        .await
        .ends(0);
    let task = ran.json();
    assert_eq!(task["status"], "completed");
    assert_eq!(task["result"]["files"][0], "report.md");
    let notice = task["result"]["notice"].as_str().unwrap();
    assert!(notice.contains("not an LLM"), "{notice}");
    let workspace = test_dir
        .data()
        .join("workspaces")
        .join(task["task_id"].as_str().unwrap());
    assert_right(&fs::read_to_string(workspace.join("report.md")).unwrap());
}

#[tokio::test]
async fn with_an_endpoint_the_endpoint_is_asked_and_nothing_is_said_of_a_script() {
    let test_dir = TestDir::new();
    let stub = ModelStub::start(test_dir.join("stub.jsonl"), &[])
        .await
        .unwrap();
    let ran = test_dir
        .cli(&["run", "--example", "report"])
        .env("OPENAI_BASE_URL", stub.base_url())
        .run()
        .await
        .ends(0);
    assert_eq!(ran.stdout, "done\n");
    for word in ["scripted", "LLM"] {
        assert!(!format!("{ran:?}").contains(word), "{ran:#?}");
    }
    let requests = stub.requests().unwrap();
    assert_eq!(requests.len(), 1);
    let request = &requests[0].request;
    let goal = request["messages"][1]["content"].as_str().unwrap();
    assert!(goal.contains("report.md"), "{request:#}");
    assert!(!request.to_string().contains("repeat_from") && !goal.contains("[[turn]]"));
    let tools = request["tools"].as_array().unwrap();
    assert!(
        tools
            .iter()
            .any(|tool| tool["function"]["name"] == "read_file"),
        "{tools:#?}"
    );
}

#[test]
fn money_is_read_exactly() {
    assert_eq!(
        ["0.1", "12", "2103.33", "31819.2"].map(cents),
        [10, 1_200, 210_333, 3_181_920]
    );
    assert_eq!(fields("a,\"b, c\",1.5"), ["a", "b, c", "1.5"]);
}
