//! Values that cross the wire in both directions.

use serde_json::{Value, json};

/// Values of each kind.
pub(crate) fn values() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(-7),
        json!(1.5),
        json!("grüße, 世界 \u{1F600} \"quoted\"\n"),
        json!([1, [2, []], {}]),
        json!({ "nested": { "list": [null, "é"] }, "": 0 }),
        json!("x".repeat(200_000)),
    ]
}
