use super::*;

fn prices(input: u64, output: u64) -> Prices {
    Prices {
        up_to: None,
        input,
        cached_input: None,
        cache_write: None,
        output,
    }
}

#[test]
fn the_built_in_table_is_valid() {
    let catalog = Catalog::built_in();
    assert!(catalog.models.len() > 20);
    for (name, info) in &catalog.models {
        let (provider, _) = name.split_once('/').unwrap();
        assert!(
            ["openai", "anthropic", "google"].contains(&provider),
            "{name}"
        );
        assert!(info.context_tokens > info.max_output_tokens, "{name}");
        for prices in &info.prices {
            assert!(prices.output >= prices.input, "{name}");
            assert!(
                prices
                    .cached_input
                    .is_some_and(|cached| cached < prices.input),
                "{name}"
            );
        }
        let ordered = info
            .prices
            .windows(2)
            .all(|pair| pair[0].input < pair[1].input);
        assert!(ordered && !info.prices.is_empty(), "{name}");
    }
}

#[test]
fn request_fields_are_laid_over_one_by_one_and_the_clients_own_are_refused() {
    let mut catalog = Catalog::default();
    let mut lay = |text: &str| {
        let text = format!("[\"openai/x\"]\nrequest = {text}");
        catalog.lay_over(toml::from_str(&text).unwrap())
    };
    lay("{ top_p = 0.9, seed = 1 }").unwrap();
    lay("{ seed = 2 }").unwrap();
    let refused = lay("{ stream = false }").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the model table's row `openai/x` is not valid: `request.stream` is a field that the client writes itself"
    );
    let request = Value::from(catalog.info("openai/x").request);
    assert_eq!(request, serde_json::json!({"top_p": 0.9, "seed": 2}));
}

#[test]
fn a_dated_name_has_the_row_of_the_plain_one_and_no_other() {
    let catalog = Catalog::built_in();
    let found = |name: &str| catalog.find(name).and_then(|info| info.max_output_tokens);
    assert_eq!(found("openai/gpt-4o-2024-08-06"), Some(16_384));
    assert_eq!(found("openai/gpt-4o-mini-2024-07-18"), Some(16_384));
    assert_eq!(found("anthropic/claude-haiku-4-5-20251001"), Some(64_000));
    assert_eq!(found("google/gemini-2.5-flash-001"), Some(65_536));
    assert_eq!(found("openai/gpt-4o-latest"), Some(16_384));
    for other in [
        "openai/gpt-5-7",
        "openai/gpt-5-codex",
        "gpt-5",
        "x/gpt-5",
        "",
    ] {
        assert_eq!(found(other), None, "{other}");
    }
}

#[test]
fn a_users_row_wins_field_by_field() {
    let mut catalog = Catalog::built_in();
    let row = "[\"openai/gpt-5\"]\nsurface = 'chat'\n[\"openai/mine\"]\ncontext_tokens = 7\n\
        prices = [{ up_to = 5, input = 0, output = 2_000 }, { input = 3_000, output = 4_000 }]";
    catalog.lay_over(toml::from_str(row).unwrap()).unwrap();
    let info = catalog.info("openai/gpt-5");
    assert_eq!(
        (info.surface, info.context_tokens),
        (Some(ApiSurface::Chat), Some(400_000))
    );
    assert_eq!(info.prices[0].input, 1_250_000);
    assert_eq!(catalog.info("openai/mine").prices[1].output, 4_000);
    for (row, says) in [
        (
            "[\"openai/x\"]\ncontext_token = 1",
            "unknown field `context_token`",
        ),
        (
            "[\"openai/x\"]\nsurface = 'smoke'",
            "unknown variant `smoke`",
        ),
        (
            "[\"openai/x\"]\nprices = [{ input = 1.5, output = 2 }]",
            "2.50 USD is 2500000",
        ),
        (
            "[\"openai/x\"]\nprices = [{ input = 3_000_000, output = 15 }]",
            "a price of 15 is less",
        ),
        (
            "[\"openai/x\"]\nprices = [{ input = 0, output = 0 }, { input = 0, output = 0 }]",
            "need `up_to`",
        ),
        ("[gpt]\ntools = false", "must be `provider/model`"),
    ] {
        let error = catalog
            .lay_over(toml::from_str(row).unwrap())
            .unwrap_err()
            .to_string();
        assert!(error.contains(says), "{row}: {error}");
    }
}

#[test]
fn a_call_costs_what_its_tokens_cost_rounded_up_once() {
    let usage = |input, cached, output| Usage {
        input_tokens: input,
        cached_tokens: cached,
        output_tokens: output,
        ..Usage::default()
    };
    let all = [Prices {
        cached_input: Some(300_000),
        cache_write: Some(3_750_000),
        ..prices(3_000_000, 15_000_000)
    }];
    // 100 plain, 200 cached, 50 written, 10 answered.
    assert_eq!(cost_micros(&all, &usage(350, 200, 10), 50), Some(698));
    assert_eq!(cost_micros(&[prices(1, 1)], &usage(1, 0, 1), 0), Some(1));
    assert_eq!(cost_micros(&[prices(0, 0)], &usage(9, 9, 9), 9), Some(0));
    assert_eq!(cost_micros(&[], &usage(1, 0, 1), 0), None);
    // Counts that contradict each other do no harm.
    assert_eq!(
        cost_micros(&[prices(1_000_000, 0)], &usage(5, 9, 0), 9),
        Some(5)
    );
    let huge = usage(u64::MAX, 0, u64::MAX);
    assert_eq!(
        cost_micros(&[prices(u64::MAX, u64::MAX)], &huge, 0),
        Some(u64::MAX)
    );
}

#[test]
fn the_length_of_the_prompt_chooses_the_price() {
    let tiers = [
        Prices {
            up_to: Some(100),
            ..prices(1_000_000, 2_000_000)
        },
        prices(3_000_000, 4_000_000),
    ];
    assert_eq!(worst_cost_micros(&tiers, 100, 10), Some(120));
    assert_eq!(worst_cost_micros(&tiers, 101, 10), Some(343));
    assert_eq!(affordable_answer(&tiers, 100, 21), Some(10));
    assert_eq!(affordable_answer(&tiers, 101, 21), Some(5));
    assert_eq!(affordable_answer(&[], 1, 21), None);
    assert_eq!(affordable_answer(&[prices(1, 0)], 1, 21), None);
    let written = [Prices {
        cache_write: Some(2_000_000),
        ..prices(1_000_000, 0)
    }];
    assert_eq!(worst_cost_micros(&written, 10, 10), Some(20));
}
