//! What layers hand on to those behind them, by its type.

use std::any::{Any, TypeId, type_name};
use std::fmt;
use std::sync::Arc;

/// Values that travel with a request within the process, one of each type: who the caller is, a
/// trace.
///
/// A layer in front inserts one, the layers behind it and the handler read it. Nothing of it goes
/// over a wire. No values cost no allocation.
///
/// ```
/// use polywire_core::message::Extensions;
///
/// #[derive(Debug, PartialEq)]
/// struct User(String);
///
/// let mut extensions = Extensions::new();
/// extensions.insert(User("ada".to_owned()));
/// assert_eq!(extensions.get::<User>(), Some(&User("ada".to_owned())));
/// assert_eq!(extensions.get::<u32>(), None);
/// ```
#[derive(Clone, Default)]
pub struct Extensions(Vec<Extension>);

/// A type's number, its name for people, and its one value.
type Extension = (TypeId, &'static str, Arc<dyn Any + Send + Sync>);

impl Extensions {
    /// No values.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Sets the value of this type, in place of what it was.
    pub fn insert<T: Any + Send + Sync>(&mut self, value: T) {
        let id = TypeId::of::<T>();
        self.0.retain(|(known, ..)| *known != id);
        self.0.push((id, type_name::<T>(), Arc::new(value)));
    }

    /// The value of this type.
    #[must_use]
    pub fn get<T: Any + Send + Sync>(&self) -> Option<&T> {
        let id = TypeId::of::<T>();
        self.0.iter().find(|(known, ..)| *known == id).and_then(|(.., value)| value.downcast_ref())
    }
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(_, name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_one_value_and_clones_are_apart() {
        let mut extensions = Extensions::new();
        extensions.insert(1_u32);
        let before = extensions.clone();
        extensions.insert(2_u32);
        extensions.insert("text");
        assert_eq!(extensions.get::<u32>(), Some(&2));
        assert_eq!(before.get::<u32>(), Some(&1));
        assert_eq!(before.get::<&str>(), None);
        assert_eq!(format!("{extensions:?}"), r#"{"u32", "&str"}"#);
    }
}
