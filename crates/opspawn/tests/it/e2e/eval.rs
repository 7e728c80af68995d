//! `opspawn eval`: a worse version is found on recorded runs, and nothing is done for that.

use ops_testkit::Ledger;
use serde_json::json;

use super::{
    place::{Cli, Place, assert_calm},
    tasks,
};

/// An agent that writes something down, and then says so.
fn clerk(key: &str, answer: &str) -> String {
    format!(
        "name = \"clerk\"\nmodel = \"scripted\"\ntools = [\"ledger_write\"]\nscript = \"\"\"\n[[turn]]\n\
         calls = [ {{ tool = \"ledger_write\", arguments = {{ key = \"{key}\" }} }} ]\n\
         [[turn]]\nanswer = \"{answer}\"\n\"\"\"\n"
    )
}

#[tokio::test]
async fn a_worse_version_is_found_on_a_recorded_run_without_an_effect() {
    let place = Place::new();
    let ledger = Ledger::start(place.join("ledger.jsonl"), &[])
        .await
        .unwrap();
    let url = ledger.url().trim_end_matches("/effect").to_owned();
    let effects = || ledger.effects().unwrap().len();
    let cli = |args: &[&str]| -> Cli { place.cli(args).env("OPSPAWN_TEST_LEDGER", &url) };
    let server = place
        .dev()
        .env("OPSPAWN_TEST_LEDGER", &url)
        .start()
        .await
        .unwrap();
    std::fs::write(
        place.join("good.toml"),
        clerk("invoice-7", "wrote {{ last }}"),
    )
    .unwrap();
    cli(&["agent", "apply", "-f", "good.toml"])
        .run()
        .await
        .ends(0);
    let body =
        json!({"task_type": "agent_run", "agent_id": "clerk", "input_data": {"prompt": "note it"}});
    let id = tasks::submit(server.http(), &body).await;
    assert_eq!(
        tasks::answer(server.http(), &id).await,
        "wrote {\"reported\":\"invoice-7\"}"
    );
    assert_eq!(effects(), 1);
    cli(&["task", "export", &id, "-o", "old.jsonl"])
        .run()
        .await
        .ends(0);

    // The same case by the file of the run, and by the task that the server still has.
    let check = "check = { contains = \"invoice-7\", calls = \"ledger_write\", max_steps = 3 }";
    let cases = format!(
        "[[case]]\nname = \"file\"\nrecording = \"old.jsonl\"\n{check}\n\
         [[case]]\nname = \"task\"\ntask = \"{id}\"\n{check}\n"
    );
    std::fs::write(place.join("cases.toml"), cases).unwrap();
    let good = cli(&["eval", "cases.toml", "--agent", "good.toml", "--json"]);
    let good = good.run().await.ends(0).json();
    assert_eq!(good["passed"], true, "{good:#}");
    assert_eq!(
        good["cases"][0]["answer"],
        "wrote {\"reported\":\"invoice-7\"}"
    );
    assert_eq!(good["cases"][1]["divergences"], json!([]));

    // It writes down something else, which it must not be let do, and says what is not so.
    std::fs::write(place.join("worse.toml"), clerk("invoice-8", "done")).unwrap();
    let digest = good["agent"]["digest"].as_str().unwrap();
    for baseline in ["good.toml", "clerk", &digest[..8]] {
        let args = [
            "eval",
            "cases.toml",
            "--agent",
            "worse.toml",
            "--baseline",
            baseline,
        ];
        let worse = cli(&[&args[..], &["--json"]].concat())
            .run()
            .await
            .ends(1)
            .json();
        assert_eq!(
            (&worse["regressions"], &worse["passed"]),
            (&json!(2), &json!(false))
        );
        assert_eq!(worse["baseline"]["digest"], digest);
        let case = &worse["cases"][0];
        assert_eq!(case["verdict"], "regression");
        assert_eq!(case["baseline"]["passed"], true);
        assert_eq!(
            case["divergences"],
            json!([{"tool": "ledger_write", "arguments": {"key": "invoice-8"}}])
        );
        let table = cli(&args).run().await.ends(1);
        for words in [
            "REGRESSION",
            "the answer has no `invoice-7`",
            "not made: ledger_write",
        ] {
            assert!(table.stdout.contains(words), "{words}: {table:#?}");
        }
    }
    // The other way round it is better, which is no regression.
    let args = [
        "eval",
        "cases.toml",
        "--agent",
        "good.toml",
        "--baseline",
        "worse.toml",
    ];
    let better = cli(&args).run().await.ends(0);
    assert!(better.stdout.contains("better"), "{better:#?}");
    assert_eq!(effects(), 1, "an evaluation of recorded runs had an effect");

    // Without a recording the tools do work: this is what the ledger would have seen.
    std::fs::write(
        place.join("real.toml"),
        "[[case]]\ngoal = \"note it\"\ncheck = { contains = \"reported\" }\n",
    )
    .unwrap();
    cli(&["eval", "real.toml", "--agent", "good.toml"])
        .run()
        .await
        .ends(0);
    assert_eq!(effects(), 2);
    assert_calm(&server);
}

#[tokio::test]
async fn mistakes_are_told_before_anything_runs() {
    let place = Place::new();
    std::fs::write(place.join("a.toml"), "name = \"a\"\nmodel = \"scripted\"\n").unwrap();
    let said = async |text: &str, args: &[&str], says: &str| {
        std::fs::write(place.join("cases.toml"), text).unwrap();
        let args = [&["eval", "cases.toml"], args].concat();
        place.cli(&args).run().await.ends(2).says(&[says]);
    };
    let agent = ["--agent", "a.toml"];
    said("[[case]]\ngaol = \"x\"", &agent, "did you mean `goal`?").await;
    said("[[case]]\ngoal = \"x\"", &[], "no agent is named").await;
    said(
        "[[case]]\nrecording = \"none.jsonl\"",
        &agent,
        "cannot read the recording",
    )
    .await;
    std::fs::write(
        place.join("a.toml"),
        "name = \"a\"\ntools = [\"calculater\"]\n",
    )
    .unwrap();
    said(
        "[[case]]\ngoal = \"x\"",
        &agent,
        "did you mean `calculator`?",
    )
    .await;
}
