//! The medians, as a table.

use std::collections::BTreeMap;
use std::fmt;

use crate::load::Figures;
use crate::subject::Subject;

/// Measurements by load and subject.
#[derive(Default)]
pub(crate) struct Table(BTreeMap<(usize, Subject), Vec<Figures>>);

impl Table {
    /// Adds the measurement of a round.
    pub(crate) fn add(&mut self, subject: Subject, in_flight: usize, figures: Figures) {
        self.0.entry((in_flight, subject)).or_default().push(figures);
    }

    fn median(
        &self,
        in_flight: usize,
        subject: Subject,
        of: impl Fn(&Figures) -> f64,
    ) -> Option<f64> {
        let mut values: Vec<_> = self.0.get(&(in_flight, subject))?.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| in flight | subject | calls/s | of the bare engine | us of CPU a call |")?;
        writeln!(f, "|---|---|---|---|---|")?;
        for &(in_flight, subject) in self.0.keys() {
            let speed =
                self.median(in_flight, subject, Figures::calls_per_second).unwrap_or_default();
            let cpu = self.median(in_flight, subject, Figures::cpu_us_per_call).unwrap_or_default();
            let bare = self.median(in_flight, subject.baseline(), Figures::calls_per_second);
            let ratio = bare.map_or("-".to_owned(), |bare| format!("{:.2}", speed / bare));
            writeln!(f, "| {in_flight} | {} | {speed:.0} | {ratio} | {cpu:.1} |", subject.name())?;
        }
        Ok(())
    }
}
