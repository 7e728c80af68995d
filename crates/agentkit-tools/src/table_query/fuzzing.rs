//! Fuzz target: the arguments of a call and the table that it is about.

use tokio_util::sync::CancellationToken;
use units::fuzzing::two_texts;

use super::{Arguments, answer};

/// The first line is the arguments, the rest a table.
pub(crate) fn query(data: &[u8]) {
    let (arguments, table) = two_texts(data);
    let Ok(arguments) = serde_json::from_str::<Arguments>(&arguments) else {
        return;
    };
    let Ok(result) = answer(&table, &arguments, &CancellationToken::new()) else {
        return;
    };
    let columns = result["columns"].as_array().map_or(0, Vec::len);
    for row in result["rows"].as_array().into_iter().flatten() {
        assert_eq!(row.as_array().map(Vec::len), Some(columns), "{result}");
    }
    assert!(result["rows_matched"].as_u64() <= result["rows_read"].as_u64());
}
