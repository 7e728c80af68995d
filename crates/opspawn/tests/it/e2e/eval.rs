//! `opspawn eval`: a worse version is found on recorded runs, and nothing is done for that.

use ops_testkit::Ledger;
use serde_json::json;

use super::{
    tasks,
    test_dir::{Cli, TestDir, assert_calm},
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
    let test_dir = TestDir::new();
    let ledger = Ledger::start(test_dir.join("ledger.jsonl"), &[])
        .await
        .unwrap();
    let url = ledger.url().trim_end_matches("/effect").to_owned();
    let effects = || ledger.effects().unwrap().len();
    let cli = |args: &[&str]| -> Cli { test_dir.cli(args).env("OPSPAWN_TEST_LEDGER", &url) };
    let server = test_dir
        .dev()
        .env("OPSPAWN_TEST_LEDGER", &url)
        .start()
        .await
        .unwrap();
    std::fs::write(
        test_dir.join("good.toml"),
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
    std::fs::write(test_dir.join("cases.toml"), cases).unwrap();
    let good = cli(&["eval", "cases.toml", "--agent", "good.toml", "--json"]);
    let good = good.run().await.ends(0).json();
    assert_eq!(good["passed"], true, "{good:#}");
    assert_eq!(
        good["cases"][0]["answer"],
        "wrote {\"reported\":\"invoice-7\"}"
    );
    assert_eq!(good["cases"][1]["divergences"], json!([]));

    // It writes down something else, which it must not be let do, and says what is not so.
    std::fs::write(test_dir.join("worse.toml"), clerk("invoice-8", "done")).unwrap();
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
    // cli, missing: the transcript of a case that does not hold.
    let args = [
        "eval",
        "cases.toml",
        "--agent",
        "worse.toml",
        "--transcript",
    ];
    let told = cli(&args).run().await.ends(1);
    for words in [
        "asked for tools",
        "ledger_write({\"key\":\"invoice-8\"}) failed: ",
        "said done",
    ] {
        assert!(told.stdout.contains(words), "{words}: {told:#?}");
    }
    let told = cli(&[&args[..], &["--json"]].concat()).run().await;
    let told = told.ends(1).json();
    let steps = told["cases"][0]["transcript"].as_array().unwrap();
    assert_eq!(steps.len(), 3, "{steps:#?}");
    assert_eq!(
        (&steps[1]["name"], &steps[1]["arguments"]),
        (&json!("ledger_write"), &json!({"key": "invoice-8"}))
    );
    assert!(steps[1]["error"].is_string(), "{steps:#?}");
    assert_eq!(
        steps[2],
        json!({"step": 3, "kind": "model", "text": "done", "refused": null})
    );
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
        test_dir.join("real.toml"),
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
    let test_dir = TestDir::new();
    std::fs::write(
        test_dir.join("a.toml"),
        "name = \"a\"\nmodel = \"scripted\"\n",
    )
    .unwrap();
    let said = async |text: &str, args: &[&str], says: &str| {
        std::fs::write(test_dir.join("cases.toml"), text).unwrap();
        let args = [&["eval", "cases.toml"], args].concat();
        test_dir.cli(&args).run().await.ends(2).says(&[says]);
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
        test_dir.join("a.toml"),
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

/// cli, missing: `equals`, a judge model, repeats.
#[tokio::test]
async fn a_case_runs_several_times_and_a_judge_decides() {
    let test_dir = TestDir::new();
    let write = |name: &str, text: &str| std::fs::write(test_dir.join(name), text).unwrap();
    let scripted = |name: &str, answer: &str| {
        format!(
            "name = \"{name}\"\nmodel = \"scripted\"\ntools = []\nscript = '''\n[[turn]]\nanswer = '{answer}'\n'''\n"
        )
    };
    write("agent.toml", &scripted("agent", "It is 391."));
    // The judge says what it was asked: the statement is in the goal of its run.
    let decision = "{\"reason\": \"found\", \"holds\": {% if \"names 391\" in goal %}true{% else %}false{% endif %}}";
    write("judge.toml", &scripted("judge", decision));
    write(
        "cases.toml",
        "judge = \"judge.toml\"\nrepeat = 3\n\
         [[case]]\nname = \"holds\"\ngoal = \"17 * 23\"\ncheck = { equals = \"It is 391.\", judge = \"names 391\" }\n\
         [[case]]\nname = \"other\"\ngoal = \"17 * 23\"\nrepeat = 1\ncheck = { equals = 391, judge = \"is a number alone\" }\n",
    );
    let args = ["eval", "cases.toml", "--agent", "agent.toml"];
    let report = test_dir.cli(&[&args[..], &["--json"]].concat()).run().await;
    let report = report.ends(1).json();
    let [holds, other] = report["cases"].as_array().unwrap().as_slice() else {
        panic!("{report:#}")
    };
    assert_eq!(
        (&holds["verdict"], &holds["held"], &holds["steps"]),
        (&json!("ok"), &json!(3), &json!(3)),
        "{report:#}"
    );
    assert_eq!(holds["runs"].as_array().unwrap().len(), 3);
    assert_eq!(
        holds["judgements"],
        json!([{"statement": "names 391", "holds": true, "reason": "found"}])
    );
    assert_eq!(
        other["failures"],
        json!([
            "the answer is `It is 391.`, not `391`",
            "judged not to hold: is a number alone (found)",
        ])
    );
    let table = test_dir.cli(&args).run().await.ends(1);
    for words in ["ok (3 of 3)", "FAILED", "judging took"] {
        assert!(table.stdout.contains(words), "{words}: {table:#?}");
    }
    let once = test_dir.cli(&[&args[..], &["--repeat", "1", "--json"]].concat());
    let once = once.run().await.ends(1).json();
    assert_eq!(once["cases"][0]["runs"].as_array().unwrap().len(), 1);
    // A judge that cannot be made is told before a case runs.
    let none = [&args[..], &["--judge", "none.toml"]].concat();
    let none = test_dir.cli(&none).run().await.ends(2);
    none.says(&["the judge `none.toml` is no file"]);
}
