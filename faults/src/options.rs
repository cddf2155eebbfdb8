//! What the command line asks for.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use polywire_faults::{Scenario, Size};

pub(crate) struct Options {
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) size: Size,
    pub(crate) seed: u64,
    pub(crate) soak: Duration,
}

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self {
            scenarios: Vec::new(),
            size: Size::Full,
            seed: DEFAULT_SEED,
            soak: DEFAULT_SOAK,
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--full" => options.size = Size::Full,
                "--quick" => options.size = Size::Quick,
                "--seed" => {
                    let seed = arguments.next().context("--seed takes a number")?;
                    options.seed = seed.parse().context("--seed takes a number")?;
                }
                "--minutes" => {
                    let minutes = arguments.next().context("--minutes takes a number")?;
                    options.soak =
                        Duration::from_mins(minutes.parse().context("--minutes takes a number")?);
                }
                "soak" => options.scenarios.push(Scenario::SOAK),
                letter => options.scenarios.push(named(letter)?),
            }
        }
        if options.scenarios.is_empty() {
            options.scenarios = Scenario::ALL.to_vec();
        }
        Ok(options)
    }
}

fn named(letter: &str) -> Result<Scenario> {
    let found = Scenario::ALL
        .iter()
        .find(|scenario| letter.eq_ignore_ascii_case(&scenario.letter.to_string()));
    match found {
        Some(scenario) => Ok(*scenario),
        None => {
            let letters: String = Scenario::ALL.iter().map(|scenario| scenario.letter).collect();
            bail!("no scenario {letter}; there are {letters}")
        }
    }
}

/// As good as any other.
const DEFAULT_SEED: u64 = 20_14;
const DEFAULT_SOAK: Duration = Duration::from_mins(10);
