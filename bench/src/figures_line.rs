//! The line with the figures of a measuring process.
//!
//! The line is all that a client returns. Its exit code does not count.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::figures::{Figures, Metric};

/// Reads the JSON object that a measuring process prints.
///
/// A process of another program may leave any quantity out, and may have further ones.
///
/// A quantity that is no number is left out, and so is a point that is no pair of numbers.
///
/// # Errors
///
/// If the line is no JSON, or has no `values`.
pub(crate) fn read_figures(line: &str) -> Result<Figures> {
    let line: Value = serde_json::from_str(line).context("cannot read the figures")?;
    let values = line["values"].as_object().context("the figures have no values")?;
    let mut figures = Figures::default();
    for metric in Metric::ALL {
        if let Some(value) = values.get(metric.name()).and_then(Value::as_f64) {
            figures.set(metric, value);
        }
    }
    let points = line["latency_us"].as_array().map(Vec::as_slice).unwrap_or_default();
    let point = |point: &Value| Some((point[0].as_f64()?, point[1].as_f64()?));
    figures.latency = points.iter().filter_map(point).collect();
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_as_they_were_written() -> Result<()> {
        let mut figures = Figures::default();
        for (metric, value) in Metric::ALL.into_iter().zip([1.5, 2.0, 3.0]) {
            figures.set(metric, value);
        }
        figures.set(Metric::Missed, f64::NAN);
        figures.latency = vec![(0.5, 100.0), (1.0, 250.5)];
        let read = read_figures(&figures.to_json().to_string())?;
        assert_eq!(format!("{read:?}"), format!("{figures:?}"));
        assert_eq!(read.get(Metric::Missed), None);
        read_figures("[]").unwrap_err();
        Ok(())
    }
}
