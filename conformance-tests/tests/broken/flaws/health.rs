//! Flaws of the health that a backend reports.

use crate::flaw::{Flaw, HealthFlaw};

/// A backend whose health has this flaw.
#[derive(Clone)]
pub(crate) struct ReportsWrongly(pub(crate) HealthFlaw);

impl Flaw for ReportsWrongly {
    fn health(&self) -> HealthFlaw {
        self.0
    }
}
