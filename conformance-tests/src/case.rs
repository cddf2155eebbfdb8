//! A case of the suite: its name, its sentence and its function.

use std::fmt;

use futures_util::future::BoxFuture;

use crate::context::TestContext;
use crate::verdict::Verdict;

/// One case: a name that stays, a sentence, and the function.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Case {
    /// The name: a group, a dot, and the expected outcome. A name never changes its meaning.
    pub id: &'static str,
    /// The requirement, in a sentence.
    pub about: &'static str,
    /// Membership in the minimum set, without which no backend is conformant. Such a case asks
    /// for no capability and no hook.
    pub minimum: bool,
    /// The public function of the case, with its context moved into the future.
    pub(crate) run: fn(TestContext) -> BoxFuture<'static, Verdict>,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id)
    }
}
