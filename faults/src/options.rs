//! Options of the command line.

use std::time::Duration;

use clap::Parser;
use polywire_faults::{Scenario, Size};

/// Runs fault scenarios over private RabbitMQ nodes, and prints the counts side by side.
#[derive(Debug, Parser)]
#[command(name = "polywire-faults")]
pub(crate) struct Options {
    /// Ids of scenarios, or `soak`; all but the soak if there are none.
    #[arg(value_name = "SCENARIO", value_parser = scenario)]
    scenarios: Vec<Scenario>,
    /// Run the scenarios in the size of the tests.
    #[arg(long, overrides_with = "full")]
    quick: bool,
    /// Run the whole scenarios; the default.
    #[arg(long, overrides_with = "quick")]
    full: bool,
    /// Seed of the random times: the same seed brings the same times.
    #[arg(long, default_value_t = 2014)]
    pub(crate) seed: u64,
    /// Duration of the soak.
    #[arg(long, default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=MINUTES_MAX))]
    minutes: u64,
}

/// The longest soak: a week.
const MINUTES_MAX: u64 = 7 * 24 * 60;

impl Options {
    /// Returns the scenarios in the order of the command line.
    ///
    /// Without an id, these are all but the soak.
    pub(crate) fn scenarios(&self) -> &[Scenario] {
        if self.scenarios.is_empty() { Scenario::ALL } else { &self.scenarios }
    }

    /// Returns the size of the run.
    pub(crate) fn size(&self) -> Size {
        if self.quick { Size::Quick } else { Size::Full }
    }

    /// Returns the duration of the soak.
    pub(crate) fn soak(&self) -> Duration {
        Duration::from_mins(self.minutes)
    }
}

/// Parses an id in upper or lower case, or `soak`. The error lists the ids.
fn scenario(id: &str) -> Result<Scenario, String> {
    if id == "soak" {
        return Ok(Scenario::SOAK);
    }
    let is_it = |scenario: &&Scenario| id.eq_ignore_ascii_case(&scenario.id.to_string());
    Scenario::ALL.iter().find(is_it).copied().ok_or_else(|| {
        let ids: Vec<_> = Scenario::ALL.iter().map(|scenario| scenario.id.to_string()).collect();
        format!("there are {} and soak", ids.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Options {
        Options::parse_from([&["polywire-faults"], arguments].concat())
    }

    #[test]
    fn all_scenarios_run_in_full_by_default() {
        let options = parse(&[]);
        assert_eq!(options.scenarios().len(), Scenario::ALL.len());
        assert_eq!((options.size(), options.seed), (Size::Full, 2014));
        assert_eq!(options.soak(), Duration::from_mins(10));
    }

    #[test]
    fn ids_are_found_in_either_case_and_the_last_size_counts() {
        let options = parse(&["a", "D", "soak", "--full", "--quick", "--minutes", "3"]);
        let ids: Vec<_> = options.scenarios().iter().map(|scenario| scenario.id).collect();
        assert_eq!((ids.as_slice(), options.size()), (['A', 'D', 'J'].as_slice(), Size::Quick));
        assert_eq!(options.soak(), Duration::from_mins(3));
    }

    #[test]
    fn soak_without_a_minute_is_refused() {
        let parse = |minutes| {
            Options::try_parse_from(["polywire-faults", "soak", "--minutes", minutes]).map(drop)
        };
        assert!(parse("0").is_err() && parse("10081").is_err() && parse("10080").is_ok());
    }

    #[test]
    fn unknown_id_is_refused_with_the_known_ones() {
        let error = Options::try_parse_from(["polywire-faults", "Z"]).unwrap_err().to_string();
        assert!(error.contains("there are A, B,"), "{error}");
    }
}
