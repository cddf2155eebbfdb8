//! Typed values that layers attach to a request.

use std::any::{Any, TypeId, type_name};
use std::fmt;
use std::sync::Arc;

/// Map of values by their type, attached to a request within the process.
///
/// An outer layer inserts a value, such as an identity. The inner layers and the handler read the
/// value. Extensions are never sent. An empty map costs no allocation.
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
#[allow(clippy::box_collection, reason = "a request has room for a pointer alone")]
pub struct Extensions(Option<Box<Vec<Extension>>>);

/// Type id, type name for [`Debug`](fmt::Debug), and value.
type Extension = (TypeId, &'static str, Arc<dyn Any + Send + Sync>);

impl Extensions {
    /// Creates an empty map.
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    /// Returns whether there is no value.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Sets the value of the type `T` and replaces the previous one.
    pub fn insert<T: Any + Send + Sync>(&mut self, value: T) {
        let id = TypeId::of::<T>();
        let values = self.0.get_or_insert_default();
        values.retain(|(known, ..)| *known != id);
        values.push((id, type_name::<T>(), Arc::new(value)));
    }

    /// Returns the value of the type `T`.
    #[must_use]
    pub fn get<T: Any + Send + Sync>(&self) -> Option<&T> {
        let id = TypeId::of::<T>();
        let value = self.0.as_ref()?.iter().find(|(known, ..)| *known == id);
        value.and_then(|(.., value)| value.downcast_ref())
    }
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.0.iter().flat_map(|values| values.iter()).map(|(_, name, _)| name))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_one_value_and_clones_are_independent() {
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
