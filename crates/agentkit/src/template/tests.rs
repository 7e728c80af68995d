use std::time::{Duration, Instant};

use minijinja::Value;
use serde_json::json;

use super::*;

/// Writes a template with all that it may take.
fn written(source: &str) -> Result<String, Error> {
    let mut environment = environment();
    add(&mut environment, "t", source)?;
    let context = json!({
        "list": [1, 2, 3],
        "text": "abc",
        "rows": (0..50).map(|n| json!({"n": n, "name": format!("row {n}")})).collect::<Vec<_>>(),
        "deep": {"a": {"b": [{"c": 1}]}},
        "large": "x".repeat(100_000),
    });
    render(&environment, "t", from_json(&context))
}

#[test]
fn ordinary_templates_write_what_they_wrote() {
    let mut wrong = Vec::new();
    for (source, wanted) in [
        (
            "{{ list }} {{ list|length }} {{ list[1] }} {{ list[-1] }} {{ list[1:] }}",
            "[1, 2, 3] 3 2 3 [2, 3]",
        ),
        (
            "{{ list + [4] }} {{ [1, 2] == list[:2] }} {{ 2 in list }}",
            "[1, 2, 3, 4] True True",
        ),
        (
            "{{ 2 * 3 }} {{ '-' * 3 }} {{ 2 ** 3 * 2 }} {{ 7 // 2 * -1 }}",
            "6 --- 16 -3",
        ),
        (
            "{% for row in rows if row.n < 2 %}{{ loop.index }}:{{ row.name }};{% endfor %}",
            "1:row 0;2:row 1;",
        ),
        (
            "{% for k, v in {'a': 1, 'b': [2]}|items %}{{ k }}={{ v }};{% endfor %}",
            "a=1;b=[2];",
        ),
        (
            "{% for a, b in [(1, 2), [3, 4]] %}{{ a + b }};{% endfor %}",
            "3;7;",
        ),
        (
            "{{ deep.a.b[0].c }} {{ deep['a'].b|first }} {{ deep is mapping }}",
            "1 {'c': 1} True",
        ),
        (
            "{% set ns = namespace(sum=0) %}{% for r in rows %}{% set ns.sum = ns.sum + r.n %}{% endfor %}{{ ns.sum }}",
            "1225",
        ),
        (
            "{% set ns = namespace(l=[]) %}{% for r in rows[:3] %}{% set ns.l = ns.l + [r.n] %}{% endfor %}{{ ns.l|join('-') }}",
            "0-1-2",
        ),
        (
            "{% set a, b = 1, 2 %}{{ a }}{{ b }}{% with c = a * b %}{{ c }}{% endwith %}",
            "122",
        ),
        (
            "{{ rows|map(attribute='n')|sum }} {{ rows|sort(attribute='n', reverse=true)|map(attribute='name')|first }}",
            "1225 row 49",
        ),
        (
            "{{ range(3)|list }} {{ range(2, 8, 3)|join(',') }} {{ dict(a=1).a }} {{ list|tojson }}",
            "[0, 1, 2] 2,5 1 [1, 2, 3]",
        ),
        (
            "{{ text ~ list }} {{ text|upper if text is defined else 'no' }} {{ missing is defined }}",
            "abc[1, 2, 3] ABC False",
        ),
        ("{% set x %}a{{ text }}{% endset %}{{ x|length }}", "4"),
        (
            "{{ rows|batch(20)|map('length')|join(' ') }} {{ list|reverse|list }}",
            "20 20 10 [3, 2, 1]",
        ),
        (
            "{{ rows|groupby('n')|length }} {{ [3, 1, 2]|sort }} {{ [1, 1, 2]|unique|list }}",
            "50 [1, 2, 3] [1, 2]",
        ),
    ] {
        let written = written(source).unwrap_or_else(|error| format!("{error:?}"));
        if written != wanted {
            wrong.push(format!("{source}: {written}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let error = written("a\n{% set x = [1 %}").unwrap_err();
    assert_eq!(error.line(), Some(2));
    let error = written("a\n\n{{ [list * 2] }}").unwrap_err();
    assert_eq!(error.line(), Some(3), "{error:?}");
    assert!(error.to_string().contains("repeats no list"), "{error}");
}

/// security/S3: what took the stack, the memory or the time without using up fuel.
#[test]
fn bombs_end_within_the_bounds() {
    let sets = |count: usize, set: &str| {
        (0..count)
            .map(|n| {
                set.replace('@', &n.to_string())
                    .replace('#', &(n + 1).to_string())
            })
            .collect::<String>()
    };
    let bombs = [
        format!("{{{{ 1{} }}}}", "+1".repeat(7_500)),
        "{% set n = namespace(x=1) %}{% set n.x = n %}{{ n }}".to_owned(),
        "{% set n = namespace() %}{% set m = n %}{% set n.x = m %}{{ n.x }}".to_owned(),
        format!("{{% set l0 = list %}}{}{{{{ l60|length }}}}", sets(60, "{% set l# = l@ + l@ %}")),
        format!("{{% set l0 = list %}}{}{{{{ l60 == list }}}}", sets(60, "{% set l# = [l@, l@] %}")),
        format!("{{% set l0 = list %}}{}{{{{ l60|string|length }}}}", sets(60, "{% set l# = {'a': l@, 'b': l@} %}")),
        format!("{{% set s0 = text %}}{}{{{{ s60|length }}}}", sets(60, "{% set s# = s@ ~ s@ %}")),
        format!("{{% set s0 = text %}}{}{{{{ s60|length }}}}", sets(60, "{% set s# = s@ * 1000 %}")),
        format!("{{% set l0 = [1] %}}{}", sets(300, "{% set l# = [l@] %}")),
        "{% set n = namespace(l=[1]) %}{% for i in range(60) %}{% set n.l = n.l + n.l %}{% endfor %}{{ n.l|length }}".to_owned(),
        "{% set n = namespace(l=[1]) %}{% for i in range(90000) %}{% set n.l = [n.l] %}{% endfor %}{{ n.l }}".to_owned(),
        "{% set a = [range(90000)|list] %}{% set b = [range(90000)|list] %}{% for i in range(90000) %}{% if a == b %}x{% endif %}{% endfor %}".to_owned(),
        "{% set a = [range(90000)|list] %}{% for i in range(90000) %}{% if a in [a] %}x{% endif %}{% endfor %}".to_owned(),
        "{{ [list * 90000000] == [list * 90000000] }}".to_owned(),
        "{{ list * 90000000 ~ 'x' }}".to_owned(),
        format!("{{{{ [{}] ~ 'x' }}}}", "large,".repeat(900)),
        format!("{{{{ [{}]|string in 'x' }}}}", "large,".repeat(900)),
        format!("{{{{ ({})|string|length }}}}", vec!["range(90000)"; 300].join("+")),
        format!("{{{{ dict({})|string|length }}}}", (0..300).map(|n| format!("a{n}=large,")).collect::<String>()),
        "{% for a in range(3000) %}{% for b in range(3000) %}{% set x = a * b %}{% endfor %}{% endfor %}".to_owned(),
        "{% for a in range(90000) %}{{ large }}{% endfor %}".to_owned(),
        "{{ large|replace('x', large) }}".to_owned(),
        "{{ large|list|sort|map('upper')|join(large) }}".to_owned(),
        "{{ 'x'|indent(900000000) }}{{ '%900000000d'|format(1) }}".to_owned(),
    ];
    for bomb in bombs {
        let begun = Instant::now();
        let shown: String = bomb.chars().take(100).collect();
        let error = std::thread::Builder::new()
            .stack_size(2 << 20)
            .spawn(move || written(&bomb).err())
            .unwrap()
            .join()
            .unwrap();
        assert!(error.is_some(), "{shown}");
        // It would be for ever.
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{shown}: {error:?}"
        );
    }
}

/// A generator of numbers that is the same each time.
struct Luck(u64);

impl Luck {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    fn expression(&mut self, depth: usize) -> String {
        const LEAVES: [&str; 12] = [
            "list",
            "text",
            "rows",
            "deep",
            "large",
            "1",
            "'x'",
            "[]",
            "n.x",
            "a",
            "range(9000)",
            "true",
        ];
        const FILTERS: [&str; 16] = [
            "list",
            "length",
            "string",
            "join(',')",
            "sort",
            "upper",
            "batch(3)",
            "first",
            "reverse",
            "unique",
            "tojson",
            "items",
            "map('string')",
            "sum",
            "replace('x', text)",
            "default(list)",
        ];
        if depth == 0 {
            return self.one(&LEAVES).to_owned();
        }
        let mut inner = || self.expression(depth - 1);
        let (one, two) = (inner(), inner());
        match self.below(9) {
            0 => format!(
                "{one} {} {two}",
                self.one(&["+", "*", "~", "==", "<", "in", "and", "-", "**", "//"])
            ),
            1 => format!("({one})|{}", self.one(&FILTERS)),
            2 => format!("[{one}, {two}]"),
            3 => format!("{{'a': {one}, 'b': {two}}}"),
            4 => format!("({one})[{}]", self.one(&["0", "-1", "1:", "::2", "'a'"])),
            5 => format!("({one} if {two} else {one})"),
            6 => format!("({one}, {two})"),
            // Flat chains.
            7 => {
                vec![one; 1 + self.below(40)].join(self.one(&[" + ", " ~ ", " * ", " == ", " or "]))
            }
            _ => format!(
                "({one}){}",
                format!("|{}", self.one(&FILTERS)).repeat(1 + self.below(40))
            ),
        }
    }

    fn template(&mut self) -> String {
        let mut text = "{% set n = namespace(x=[1]) %}{% set a = 1 %}".to_owned();
        for _ in 0..1 + self.below(6) {
            let depth = self.below(4);
            let value = self.expression(depth);
            text.push_str(&match self.below(5) {
                0 => format!("{{% set a = {value} %}}"),
                1 => format!("{{% set n.x = {value} %}}"),
                2 => format!("{{% for a in range(5000) %}}{{% set n.x = {value} %}}{{% endfor %}}"),
                3 => format!("{{% if {value} %}}x{{% endif %}}"),
                _ => format!("{{{{ {value} }}}}"),
            });
        }
        text
    }
}

/// security/S3: random templates, flat and deep.
#[test]
fn random_templates_end_within_the_bounds() {
    let mut luck = Luck(0x9e37_79b9_7f4a_7c15);
    let (mut written_ones, mut spent) = (0, 0);
    for _ in 0..400 {
        let template = luck.template();
        let begun = Instant::now();
        match written(&template) {
            Ok(_) => written_ones += 1,
            Err(error) if error.kind() == ErrorKind::OutOfFuel => spent += 1,
            Err(_) => {}
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{template}");
    }
    assert!(written_ones > 40 && spent > 4, "{written_ones} {spent}");
}

#[test]
fn a_small_budget_ends_early() {
    let mut full = environment();
    add(
        &mut full,
        "t",
        "{% for a in range(5000) %}{{ a }}{% endfor %}",
    )
    .unwrap();
    let small = with_budget(&full, INLINE_BUDGET);
    let error = render(&small, "t", Value::UNDEFINED).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfFuel);
    assert!(render(&full, "t", Value::UNDEFINED).is_ok());
}
