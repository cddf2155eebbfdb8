//! Durations as people write them.

use std::time::Duration;

/// Parses a duration: a whole number and a unit, `ms`, `s`, `m` or `h`.
///
/// Returns `None` for any other text, such as a fraction, a sign, a space or a number alone. A
/// number of milliseconds beyond 64 bits is no duration, either. The bound of a setting is checked
/// by the caller.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(milliseconds).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_with_a_unit_is_a_duration() {
        for (text, milliseconds) in
            [("250ms", 250), ("0s", 0), ("30s", 30_000), ("2m", 120_000), ("1h", 3_600_000)]
        {
            assert_eq!(parse(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "30", "s", "-1s", "1.5s", "1 s", "1d", "18446744073709551615h"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
