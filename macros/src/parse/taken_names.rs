//! Names that the members of an item have taken.

use std::collections::HashMap;

/// The names of the members so far. Two members may share a name only if both are under `cfg`:
/// then one of them may exist where the other does not.
///
/// The conditions themselves are not compared. The value of a name is `true` while all members of
/// the name are under `cfg`.
#[derive(Default)]
pub(super) struct TakenNames(HashMap<String, bool>);

impl TakenNames {
    /// Takes a name for a member. Returns false if another member has taken the name, unless all
    /// members of the name are under `cfg`.
    pub(super) fn take(&mut self, name: String, is_conditional: bool) -> bool {
        let Some(all_conditional) = self.0.get_mut(&name) else {
            self.0.insert(name, is_conditional);
            return true;
        };
        *all_conditional &= is_conditional;
        *all_conditional
    }
}
