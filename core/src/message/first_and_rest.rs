//! A list whose first element needs no allocation of its own.

use std::iter::{Chain, Once, once};
use std::slice;

/// List of at least one element. Most lists have one.
#[derive(Clone, Debug)]
pub(super) struct FirstAndRest<T> {
    first: T,
    rest: Vec<T>,
}

impl<T> FirstAndRest<T> {
    /// Creates a list of one element.
    pub(super) const fn new(first: T) -> Self {
        Self { first, rest: Vec::new() }
    }

    /// Appends an element.
    pub(super) fn push(&mut self, element: T) {
        self.rest.push(element);
    }

    /// Removes the element at `at`. Returns `None` if there is no such element, or no other one.
    pub(super) fn remove(&mut self, at: usize) -> Option<T> {
        match at.checked_sub(1) {
            Some(at) => (at < self.rest.len()).then(|| self.rest.remove(at)),
            None if self.rest.is_empty() => None,
            None => Some(std::mem::replace(&mut self.first, self.rest.remove(0))),
        }
    }

    /// Returns the first element alone.
    pub(super) fn into_first(self) -> T {
        self.first
    }

    /// Iterates over the elements of a list, if there is one.
    pub(super) fn iter(list: Option<&Self>) -> FirstAndRestIter<'_, T> {
        FirstAndRestIter::new(list.map(|list| &list.first), list.map_or(&[], |list| &list.rest))
    }

    /// Iterates over the elements, to change them.
    pub(super) fn iter_mut(&mut self) -> Chain<Once<&mut T>, slice::IterMut<'_, T>> {
        once(&mut self.first).chain(&mut self.rest)
    }
}

/// Iterator over a first element, if there is one, and a slice of others.
pub(super) struct FirstAndRestIter<'a, T> {
    first: Option<&'a T>,
    rest: slice::Iter<'a, T>,
}

impl<'a, T> FirstAndRestIter<'a, T> {
    pub(super) fn new(first: Option<&'a T>, rest: &'a [T]) -> Self {
        Self { first, rest: rest.iter() }
    }
}

impl<'a, T> Iterator for FirstAndRestIter<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        self.first.take().or_else(|| self.rest.next())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.rest.len() + usize::from(self.first.is_some());
        (left, Some(left))
    }
}

impl<T> ExactSizeIterator for FirstAndRestIter<'_, T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_keep_their_order_and_the_last_one_stays() {
        let mut list = FirstAndRest::new(1);
        list.push(2);
        list.push(3);
        assert_eq!((list.remove(3), list.remove(1)), (None, Some(2)));
        list.iter_mut().for_each(|element| *element *= 10);
        assert!(FirstAndRest::iter(Some(&list)).eq(&[10, 30]));
        assert_eq!(list.remove(0), Some(10));
        assert_eq!((list.remove(0), list.into_first()), (None, 30));
        assert_eq!(FirstAndRest::<u8>::iter(None).len(), 0);
    }
}
