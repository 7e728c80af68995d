use super::*;

fn load(
    flags: &[(&'static str, String)],
    file: Option<&str>,
    env: &[(&str, &str)],
    dotenv: &str,
) -> Result<Config> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("opspawn.toml");
    if let Some(text) = file {
        std::fs::write(&path, text).unwrap();
    }
    let env: BTreeMap<_, _> = env.iter().copied().collect();
    let lookup = |name: &str| env.get(name).map(|value| (*value).to_owned());
    let dotenv = file::parse_dotenv(dotenv);
    Config::layered(flags, file.map(|_| path.as_path()), &lookup, &dotenv)
}

#[test]
fn the_layers_win_in_their_order() {
    let file = Some("listen = '127.0.0.1:5'\n[model]\nname = 'file'\n");
    let dotenv = "AGENTKIT_LLM_MODEL=dotenv";
    let v1 = ("AGENTKIT_LLM_MODEL", "version-1");
    let own = ("OPSPAWN_MODEL", "own");
    let flag = [("model.name", "flag".to_owned())];
    let name = |config: Config| config.optional("model.name").unwrap().to_owned();
    assert_eq!(name(load(&flag, file, &[v1, own], dotenv).unwrap()), "flag");
    assert_eq!(name(load(&[], file, &[v1, own], dotenv).unwrap()), "own");
    assert_eq!(name(load(&[], file, &[v1], dotenv).unwrap()), "version-1");
    assert_eq!(name(load(&[], file, &[], dotenv).unwrap()), "dotenv");
    assert_eq!(name(load(&[], file, &[], "").unwrap()), "file");
    assert_eq!(
        load(&[], None, &[], "").unwrap().optional("model.name"),
        None
    );
    let config = load(&[], file, &[v1], "").unwrap();
    assert_eq!(config.source("model.name"), Some("AGENTKIT_LLM_MODEL"));
    assert_eq!(config.listen().unwrap().port(), 5);
}

#[test]
fn mistakes_name_the_key_and_the_nearest_name() {
    for (file, expected) in [
        ("lisen = 'x'", "did you mean `listen`?"),
        (
            "[worker]\nconcurency = 3",
            "did you mean `worker.concurrency`?",
        ),
        ("[worker]\nconcurrency = 'many'", "`worker.concurrency`"),
        ("[model]\nprovider = 'opnai'", "did you mean `openai`?"),
        ("[worker]\nlease = '3 fortnights'", "not a duration"),
        ("[worker]\nconcurrency = 0", "from 1 to"),
        ("[memory]\ncompact_at = 101", "from 1 to 100"),
        ("listen = 'here'", "is not an address like 127.0.0.1:8000"),
        ("listen = '0.0.0.0:1'", "use 127.0.0.1:1"),
        (
            "[[schedules]]\nname = 'x'",
            "opspawn schedule apply -f FILE",
        ),
        ("[limits]\nzzz = 1", "known are limits.max_steps"),
        ("zzz = 1", "`opspawn config` lists the settings"),
        ("data = [1]", "must be text"),
        ("data = ", "not valid TOML"),
        ("[limits]\nmax_cost_usd = 'much'", "not an amount of money"),
        ("[model]\nfallback = [1]", "must be a list of texts"),
        ("models = 1", "must hold tables"),
        ("queues = 1", "must hold tables"),
        (
            "[queues.slow]\nrat = '1/s'",
            "there is no key `rat`; did you mean `rate`?",
        ),
        ("[queues.slow]\nrate = '1 each minute'", "not a rate"),
        ("budgets = 1", "must hold tables"),
        ("[budgets.b]\ntokens = 5", "`period` is missing"),
        ("[budgets.b]\nperiod = 'day'", "it limits nothing"),
        (
            "[budgets.b]\nperiod = 'dai'\ntokens = 5",
            "did you mean `day`?",
        ),
        ("[budgets.b]\nperiod = 'day'\ntoken = 5", "token"),
        ("[budgets.b]\nperiod = 'day'\ncost_usd = -1", "cost_usd"),
        ("[queues.slow]\nburst = 3", "give one"),
        ("[queues.slow]\nconcurrency = 0", "1 at least"),
        ("[queues.'a b']", "its name must be"),
        (
            "[models.\"openai/x\"]\ncontext = 1",
            "unknown field `context`",
        ),
        ("[models.x]", "must be `provider/model`"),
    ] {
        let error = format!("{:#}", load(&[], Some(file), &[], "").unwrap_err());
        assert!(error.contains(expected), "{file}: {error}");
    }
}

#[test]
fn places_are_a_list_in_the_file_and_words_in_a_variable() {
    let file = Some("[tools.http]\nallow = ['127.0.0.1:8080', '10.0.0.0/8']\n");
    let places = |config: Config| config.optional("tools.http.allow").map(str::to_owned);
    let expected = Some("127.0.0.1:8080, 10.0.0.0/8".to_owned());
    assert_eq!(places(load(&[], file, &[], "").unwrap()), expected);
    let env = [("OPSPAWN_HTTP_ALLOW", "intranet.example")];
    let expected = Some("intranet.example".to_owned());
    assert_eq!(places(load(&[], file, &env, "").unwrap()), expected);
    for (file, expected) in [
        ("[tools.http]\nallow = ['*']", "`*` is not a host"),
        ("[tools.http]\nallow = [1]", "must be a list of texts"),
        (
            "[tools.http]\nalow = []",
            "did you mean `tools.http.allow`?",
        ),
    ] {
        let error = format!("{:#}", load(&[], Some(file), &[], "").unwrap_err());
        assert!(error.contains(expected), "{file}: {error}");
    }
}

#[test]
fn a_secret_may_come_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, "sk-test\n").unwrap();
    let env = [("OPENAI_API_KEY_FILE", path.to_str().unwrap())];
    let config = load(&[], None, &env, "").unwrap();
    assert_eq!(config.optional("openai.api_key"), Some("sk-test"));
    let missing = load(&[], None, &[("OPENAI_API_KEY_FILE", "/nowhere")], "").unwrap_err();
    assert!(format!("{missing:#}").contains("OPENAI_API_KEY_FILE"));
}

#[test]
fn lists_and_rows_of_the_model_table_come_from_the_file() {
    let file = "[model]\nfallback = ['openai/a', 'google/b']\n[openai]\nheaders = ['A: 1', 'B: 2, 3']\n\
        [models.\"openai/gpt-5\"]\nsurface = 'chat'\n";
    let config = load(&[], Some(file), &[], "").unwrap();
    assert_eq!(config.list("model.fallback"), ["openai/a", "google/b"]);
    assert_eq!(config.optional("openai.headers"), Some("A: 1\nB: 2, 3"));
    let info = config.catalog().info("openai/gpt-5");
    assert_eq!(
        info.surface,
        Some(agentkit::model::client::ApiSurface::Chat)
    );
    assert!(info.context_tokens.is_some());
    let env = [("OPSPAWN_MODEL_FALLBACK", "openai/c, openai/d")];
    let config = load(&[], Some(file), &env, "").unwrap();
    assert_eq!(config.list("model.fallback"), ["openai/c", "openai/d"]);
}

/// cli/C10: the same text was taken in one place and refused in another.
#[test]
fn durations_and_money_are_read_as_everywhere() {
    for (text, millis) in [
        ("1h30m", 5_400_000),
        ("500ms", 500),
        ("1.5h", 5_400_000),
        ("1e3", 1_000_000),
        (" 30s", 30_000),
    ] {
        let file = format!("[limits]\ntimeout = \"{text}\"");
        for config in [
            load(&[], Some(&file), &[], ""),
            load(&[], None, &[("OPSPAWN_TIMEOUT", text)], ""),
            load(&[("limits.timeout", text.to_owned())], None, &[], ""),
        ] {
            let timeout = config.unwrap().duration("limits.timeout");
            assert_eq!(timeout.map(|time| time.as_millis()), Some(millis), "{text}");
        }
    }
    for (file, micros) in [
        ("max_cost_usd = 0.1234567", Some(123_457)),
        ("max_cost_usd = \"0.1234567\"", Some(123_457)),
        ("max_cost_usd = 1e3", Some(1_000_000_000)),
        ("max_cost_usd = \"1e3\"", Some(1_000_000_000)),
        ("max_cost_usd = 0.0000001", None),
    ] {
        let config = load(&[], Some(&format!("[limits]\n{file}")), &[], "");
        let read = config
            .ok()
            .and_then(|config| config.usd("limits.max_cost_usd"));
        assert_eq!(read, micros, "{file}");
    }
}

#[test]
fn dotenv_lines_are_read_as_people_write_them() {
    let parsed = file::parse_dotenv(
        "# comment\nexport A=1\nB = \"two words\" # why\nC='x#y'\nD=plain # why\nnonsense\n",
    );
    let pairs: Vec<_> = parsed
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    assert_eq!(
        pairs,
        [("A", "1"), ("B", "two words"), ("C", "x#y"), ("D", "plain")]
    );
}

#[test]
fn a_misspelt_variable_is_named() {
    let names = [
        "OPSPAWN_LISTN",
        "OPSPAWN_LISTEN",
        "OPSPAWN_OPENAI_API_KEY_FILE",
        "PATH",
    ];
    let said = unknown_variables(names.into_iter().map(str::to_owned));
    assert_eq!(
        said,
        ["the variable OPSPAWN_LISTN means nothing; did you mean OPSPAWN_LISTEN?"]
    );
}

#[test]
fn queues_have_limits_of_their_own_beside_the_default_one() {
    let file = "[queues.reports]\nrate = '100/h'\nburst = 5\nconcurrency = 2\n[queues.mail]\n";
    let config = load(&[], Some(file), &[], "").unwrap();
    let names: Vec<_> = config.queues().keys().map(String::as_str).collect();
    assert_eq!(names, ["default", "mail", "reports"]);
    let reports = &config.queues()["reports"];
    assert_eq!(reports.concurrency, Some(2));
    assert_eq!(
        reports.rate,
        ops_core::rate::Rate::new(100, 3_600_000_000, 5)
    );
    assert_eq!(config.queues()["mail"], QueueSettings::new("mail"));
}

#[test]
fn places_that_are_written_to_are_read_in_their_order_and_their_mistakes_told_at_once() {
    let file = "[tools.http]\nmax_bytes = 100\n[[tools.http.writes]]\nurl = 'https://a.example/x'\n\
                keyed = true\n[[tools.http.writes]]\nurl = 'https://b.example/orders'\n\
                methods = ['POST']\n[tools.http.writes.probe]\nurl = '/orders/{key}'\n\
                settle = '10s'\ndone = { status = 200 }\nnot_done = { status = 404 }\n";
    let config = load(&[], Some(file), &[], "").unwrap();
    let [keyed, probed] = config.writes() else {
        panic!("{:?}", config.writes())
    };
    assert!(keyed.keyed && keyed.probe.is_none());
    assert_eq!(keyed.summary(), "any method https://a.example/x, keyed");
    let probe = probed.probe.as_ref().unwrap();
    assert_eq!(probe.settle, Some(Duration::from_secs(10)));
    let told = "POST https://b.example/orders, probe /orders/{key} (not done: parks)";
    assert_eq!(probed.summary(), told);
    assert_eq!(config.number("tools.http.max_bytes"), Some(100));

    let file = "[[tools.http.writes]]\nurl = 'https://a.example/x'\n[[tools.http.writes]]\n\
                url = 'https://a.example/x'\nkeyed = true\n[[tools.http.writes]]\nurl = 'x'\n\
                keyd = true\n";
    let error = format!("{:#}", load(&[], Some(file), &[], "").unwrap_err());
    assert!(error.contains("`tools.http.writes`"), "{error}");
    assert!(error.contains("entry 1: it says nothing"), "{error}");
    assert!(
        error.contains("entry 3: there is no key `keyd`; did you mean `keyed`?"),
        "{error}"
    );
    assert!(!error.contains("entry 2"), "{error}");
    let error = load(&[], Some("[tools.http]\nwrites = 1"), &[], "").unwrap_err();
    assert!(format!("{error:#}").contains("must be a list"), "{error:#}");
}
