//! `current_time`: the time at which the call was made.

use agentkit::{
    BoxFuture, Tool, ToolSpec,
    event::Failure,
    tool::{Effect, Resources, ToolContext, ToolOutput},
};
use jiff::{Timestamp, tz::TimeZone};
use serde::Deserialize;
use serde_json::{Value, json};

pub(crate) struct CurrentTime(ToolSpec);

#[derive(Deserialize)]
struct Arguments {
    timezone: Option<String>,
}

impl CurrentTime {
    pub(crate) fn new() -> Self {
        let description = "Tells the current date, time and weekday, in UTC and in a time zone.";
        let schema = json!({
            "type": "object",
            "properties": {
                "timezone": {
                    "type": "string",
                    "description": "IANA name, for instance Europe/Berlin; UTC",
                },
            },
            "additionalProperties": false,
        });
        Self(ToolSpec::new("current_time", description, schema).effect(Effect::Idempotent))
    }
}

impl Tool for CurrentTime {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn resources(&self, _: &Value) -> Resources {
        Resources::none()
    }

    fn call<'a>(
        &'a self,
        context: &'a ToolContext,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        Box::pin(async move {
            let Arguments { timezone } = crate::arguments(arguments)?;
            tell(context.now_micros, timezone.as_deref().unwrap_or("UTC")).map(ToolOutput::from)
        })
    }
}

fn tell(now_micros: i64, timezone: &str) -> Result<Value, Failure> {
    let now = Timestamp::from_microsecond(now_micros).map_err(|_| {
        Failure::last(
            "invalid_time",
            format!("{now_micros} microseconds is not a point in time"),
        )
    })?;
    let zone = TimeZone::get(timezone).map_err(|_| unknown(timezone))?;
    let local = now.to_zoned(zone);
    Ok(json!({
        "utc": now.to_string(),
        "local": local.strftime("%Y-%m-%dT%H:%M:%S%.f%:z").to_string(),
        "timezone": local.time_zone().iana_name().unwrap_or(timezone),
        "weekday": local.strftime("%A").to_string(),
    }))
}

fn unknown(timezone: &str) -> Failure {
    let timezone: String = timezone.chars().take(64).collect();
    let known: Vec<String> = jiff::tz::db()
        .available()
        .map(|name| name.to_string())
        .collect();
    if known.is_empty() {
        let message =
            "this machine has no time zone database, so only UTC is known; install tzdata";
        return Failure::last("unknown_timezone", message);
    }
    let hint = match units::nearest(&timezone, known.iter().map(String::as_str)) {
        Some(name) => format!("did you mean `{name}`?"),
        None => "use an IANA name like `Europe/Berlin`".to_owned(),
    };
    Failure::last(
        "unknown_timezone",
        format!("there is no time zone `{timezone}`; {hint}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_time_of_the_call() {
        // 2025-04-12 10:00:00.25 UTC.
        let now = 1_744_452_000_250_000;
        assert_eq!(
            tell(now, "Europe/Berlin").unwrap(),
            json!({
                "utc": "2025-04-12T10:00:00.25Z",
                "local": "2025-04-12T12:00:00.25+02:00",
                "timezone": "Europe/Berlin",
                "weekday": "Saturday",
            })
        );
        let utc = tell(0, "UTC").unwrap();
        assert_eq!(utc["local"], "1970-01-01T00:00:00+00:00");
        assert_eq!(utc["weekday"], "Thursday");
        assert_eq!(utc["timezone"], "UTC");
        assert_eq!(
            tell(now, "pacific/auckland").unwrap()["timezone"],
            "Pacific/Auckland"
        );
        assert_eq!(
            tell(now, "Pacific/Auckland").unwrap()["local"],
            "2025-04-12T22:00:00.25+12:00"
        );
    }

    #[test]
    fn names_the_nearest_zone() {
        for (asked, hint) in [
            ("Europe/Berln", "did you mean `Europe/Berlin`?"),
            ("Tokyo", "did you mean `Asia/Tokyo`?"),
            ("New York", "did you mean `America/New_York`?"),
            (
                "somewhere over the rainbow",
                "use an IANA name like `Europe/Berlin`",
            ),
        ] {
            let error = tell(0, asked).unwrap_err();
            assert_eq!(error.code, "unknown_timezone");
            assert_eq!(
                error.message,
                format!("there is no time zone `{asked}`; {hint}")
            );
        }
        for odd in [
            "",
            "../../etc/passwd",
            "/etc/localtime",
            &"x".repeat(100_000),
        ] {
            assert_eq!(tell(0, odd).unwrap_err().code, "unknown_timezone");
        }
        assert_eq!(tell(i64::MAX, "UTC").unwrap_err().code, "invalid_time");
    }
}
