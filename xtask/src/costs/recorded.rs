//! The recorded costs, which a change must not exceed without a reason.
//!
//! The file is JSON: the line of the compiler, and an object with three figures for each subject.

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::counted::Cost;

/// The costs of all subjects, and the compiler that built them.
#[derive(Debug)]
pub(super) struct Recorded {
    /// The line of `rustc --version`.
    compiler: String,
    /// Each subject with its costs. A subject occurs once.
    costs: Vec<(String, Cost)>,
}

/// The growth that counts, in thousandths: the counts of two builds differ a little.
///
/// A further allocation exceeds the bound only up to 33 recorded ones.
const GROWTH_MAX: u64 = 30;

impl Recorded {
    /// Creates the record of costs that were just counted.
    pub(super) fn new(compiler: String, costs: Vec<(String, Cost)>) -> Self {
        Self { compiler, costs }
    }

    /// Parses the text of the file.
    ///
    /// Fails for a subject without one of the three figures.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let file: Value = serde_json::from_str(text)?;
        let compiler = file["compiler"].as_str().context("cannot find the compiler")?.to_owned();
        let calls = file["calls"].as_object().context("cannot find the calls")?;
        let cost = |(subject, figures): (&String, &Value)| {
            let figure = |name: &str| {
                let missing = || format!("cannot find the {name} of {subject}");
                figures[name].as_u64().with_context(missing)
            };
            let cost = Cost {
                instructions: figure("instructions")?,
                allocations: figure("allocations")?,
                bytes: figure("bytes")?,
            };
            Ok((subject.clone(), cost))
        };
        Ok(Self { compiler, costs: calls.iter().map(cost).collect::<Result<_>>()? })
    }

    /// Returns the text of the file.
    ///
    /// The text is indented, so that a change of one figure is one line of a diff.
    pub(super) fn to_text(&self) -> Result<String> {
        let calls = self.costs.iter().map(|(subject, cost)| {
            let Cost { instructions, allocations, bytes } = *cost;
            let figures = json!({
                "instructions": instructions, "allocations": allocations, "bytes": bytes,
            });
            (subject.clone(), figures)
        });
        let file = json!({ "compiler": self.compiler, "calls": Map::from_iter(calls) });
        Ok(format!("{}\n", serde_json::to_string_pretty(&file)?))
    }

    /// Returns a line for each figure that has grown, and for each subject without figures.
    /// Another compiler makes other instructions, which are then not compared.
    ///
    /// Figures that have shrunk are no lines, and neither are subjects that were not counted.
    ///
    /// If the compilers differ, a line on standard output says so. Allocations and their bytes are
    /// compared in any case.
    pub(super) fn grown(&self, compiler: &str, counted: &[(String, Cost)]) -> Vec<String> {
        let is_same_compiler = self.compiler == compiler;
        if !is_same_compiler {
            println!(
                "not compared: instructions, recorded with {} and counted with {compiler}",
                self.compiler
            );
        }
        let mut grown = Vec::new();
        for (subject, cost) in counted {
            let Some((_, known)) = self.costs.iter().find(|(name, _)| name == subject) else {
                grown.push(format!("{subject} has no recorded figures"));
                continue;
            };
            let figures = [
                ("instructions", known.instructions, cost.instructions),
                ("allocations", known.allocations, cost.allocations),
                ("bytes allocated", known.bytes, cost.bytes),
            ];
            for (what, known, now) in figures.into_iter().skip(usize::from(!is_same_compiler)) {
                if now * 1_000 > known * (1_000 + GROWTH_MAX) {
                    grown.push(format!("{subject}: {known} {what} before, {now} now"));
                }
            }
        }
        grown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs(instructions: u64, allocations: u64) -> Vec<(String, Cost)> {
        vec![("bare".to_owned(), Cost { instructions, allocations, bytes: 1_000 })]
    }

    fn recorded() -> Recorded {
        let text = Recorded::new("rustc 1".to_owned(), costs(10_000, 8)).to_text().unwrap();
        Recorded::parse(&text).unwrap()
    }

    #[test]
    fn growth_beyond_three_percent_and_any_new_allocation_are_found() {
        let grown = |instructions, allocations| {
            recorded().grown("rustc 1", &costs(instructions, allocations))
        };
        assert!(grown(10_300, 8).is_empty() && grown(5_000, 3).is_empty());
        assert_eq!(grown(10_301, 8), ["bare: 10000 instructions before, 10301 now"]);
        assert_eq!(grown(10_000, 9), ["bare: 8 allocations before, 9 now"]);
    }

    #[test]
    fn instructions_of_another_compiler_are_not_compared() {
        let grown = recorded().grown("rustc 2", &costs(20_000, 9));
        assert_eq!(grown, ["bare: 8 allocations before, 9 now"]);
    }

    #[test]
    fn subject_without_figures_is_named() {
        let new = [("new".to_owned(), Cost { instructions: 1, allocations: 1, bytes: 1 })];
        assert_eq!(recorded().grown("rustc 1", &new), ["new has no recorded figures"]);
    }
}
