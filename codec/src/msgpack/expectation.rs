//! A deserializer that records the type that its visitor expects.
//!
//! `rmp-serde` reports a mismatch by the marker that it found and does not ask the visitor for the
//! type that was expected. [`Recording`] writes down the expectation of one value, so that the
//! error of a mismatch can name both. A first pass counts the values up to the mismatch, and a
//! second one formats the expectation of the last of them: a text for each value would cost many
//! times the decoding. Neither pass costs memory that grows with the body.

use std::cell::{Cell, RefCell};
use std::fmt::{self, Write as _};

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Expected, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};

/// The expectation of one value of a pass, such as `f64` or `struct Item`, and a count of values.
///
/// Decoding ends at the first mismatch, so the last value that was counted is the one that failed.
/// The text is the output of the visitor's `expecting`.
#[derive(Default)]
pub(super) struct Expectation {
    /// The values so far.
    count: Cell<u64>,
    /// The number of the value whose text is written; 0 for none.
    of: u64,
    text: RefCell<String>,
}

impl Expectation {
    /// Creates the expectation of the value with this number, from 1. With 0, nothing is written,
    /// and the values are counted.
    pub(super) fn of(number: u64) -> Self {
        Self { of: number, ..Self::default() }
    }

    /// Returns the number of values so far.
    pub(super) fn count(&self) -> u64 {
        self.count.get()
    }

    /// Returns the text; empty if the pass has not reached the value.
    pub(super) fn into_text(self) -> String {
        self.text.into_inner()
    }

    /// Counts a value, and writes its expectation if it is the one.
    fn note(&self, expected: &dyn Expected) {
        self.count.set(self.count.get() + 1);
        if self.count.get() == self.of {
            // Writing into a string cannot fail.
            let _ = write!(self.text.borrow_mut(), "{expected}");
        }
    }
}

/// A deserializer, visitor, seed or access of values, whose expectations are recorded.
///
/// Each value that is handed down is wrapped again, so that the recording covers all levels.
pub(super) struct Recording<'a, T> {
    inner: T,
    /// Shared by all wrappers of one pass.
    expectation: &'a Expectation,
}

impl<'a, T> Recording<'a, T> {
    /// Wraps `inner`, whose values are noted in `expectation`.
    pub(super) fn new(inner: T, expectation: &'a Expectation) -> Self {
        Self { inner, expectation }
    }

    /// Notes the expectation of `visitor`, and wraps the visitor.
    fn visit<'de, V: Visitor<'de>>(expectation: &'a Expectation, visitor: V) -> Recording<'a, V> {
        expectation.note(&visitor);
        Recording::new(visitor, expectation)
    }
}

/// Methods of a deserializer: each records the expectation of its visitor, and calls the method of
/// the same name on the inner deserializer.
///
/// The arguments before the visitor, such as the names of fields, go on unchanged.
macro_rules! deserialize {
    ($($method:ident($($argument:ident: $type:ty),*);)+) => {
        $(fn $method<V: Visitor<'de>>(
            self,
            $($argument: $type,)*
            visitor: V,
        ) -> Result<V::Value, Self::Error> {
            self.inner.$method($($argument,)* Self::visit(self.expectation, visitor))
        })+
    };
}

/// Every method is forwarded by name. The default methods would lead to `deserialize_any`, and so
/// lose the type that was asked for.
impl<'de, D: Deserializer<'de>> Deserializer<'de> for Recording<'_, D> {
    type Error = D::Error;

    deserialize! {
        deserialize_any();
        deserialize_bool();
        deserialize_i8();
        deserialize_i16();
        deserialize_i32();
        deserialize_i64();
        deserialize_i128();
        deserialize_u8();
        deserialize_u16();
        deserialize_u32();
        deserialize_u64();
        deserialize_u128();
        deserialize_f32();
        deserialize_f64();
        deserialize_char();
        deserialize_str();
        deserialize_string();
        deserialize_bytes();
        deserialize_byte_buf();
        deserialize_option();
        deserialize_unit();
        deserialize_unit_struct(name: &'static str);
        deserialize_newtype_struct(name: &'static str);
        deserialize_seq();
        deserialize_tuple(len: usize);
        deserialize_tuple_struct(name: &'static str, len: usize);
        deserialize_map();
        deserialize_struct(name: &'static str, fields: &'static [&'static str]);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
        deserialize_identifier();
        deserialize_ignored_any();
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// Methods of a visitor for values without inner values, which go on unchanged.
macro_rules! visit {
    ($($method:ident: $type:ty;)+) => {
        $(fn $method<E: serde::de::Error>(self, value: $type) -> Result<V::Value, E> {
            self.inner.$method(value)
        })+
    };
}

/// A value that contains others is wrapped, so that these are recorded as well. Text and bytes that
/// are borrowed from the body stay borrowed.
impl<'de, V: Visitor<'de>> Visitor<'de> for Recording<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    visit! {
        visit_bool: bool;
        visit_i8: i8;
        visit_i16: i16;
        visit_i32: i32;
        visit_i64: i64;
        visit_i128: i128;
        visit_u8: u8;
        visit_u16: u16;
        visit_u32: u32;
        visit_u64: u64;
        visit_u128: u128;
        visit_f32: f32;
        visit_f64: f64;
        visit_char: char;
        visit_str: &str;
        visit_borrowed_str: &'de str;
        visit_string: String;
        visit_bytes: &[u8];
        visit_borrowed_bytes: &'de [u8];
        visit_byte_buf: Vec<u8>;
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        self.inner.visit_some(Recording::new(value, self.expectation))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        self.inner.visit_newtype_struct(Recording::new(value, self.expectation))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, values: A) -> Result<V::Value, A::Error> {
        self.inner.visit_seq(Recording::new(values, self.expectation))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error> {
        self.inner.visit_map(Recording::new(entries, self.expectation))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        self.inner.visit_enum(Recording::new(variant, self.expectation))
    }
}

/// Wraps the deserializer that the inner seed gets.
impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Recording<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(Recording::new(value, self.expectation))
    }
}

/// Wraps the seed of each element. The size hint is that of the inner access.
impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Recording<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.inner.next_element_seed(Recording::new(seed, self.expectation))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

/// Wraps the seeds of keys and of values. The size hint is that of the inner access.
impl<'de, A: MapAccess<'de>> MapAccess<'de> for Recording<'_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.inner.next_key_seed(Recording::new(seed, self.expectation))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.next_value_seed(Recording::new(seed, self.expectation))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

/// Wraps the seed of the variant's name, and the access of its content.
impl<'a, 'de, A: EnumAccess<'de>> EnumAccess<'de> for Recording<'a, A> {
    type Error = A::Error;
    type Variant = Recording<'a, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        let (value, variant) = self.inner.variant_seed(Recording::new(seed, self.expectation))?;
        Ok((value, Recording::new(variant, self.expectation)))
    }
}

/// A variant with fields has a visitor, whose expectation is recorded. A variant without content
/// has none.
impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Recording<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.newtype_variant_seed(Recording::new(seed, self.expectation))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.inner.tuple_variant(len, Self::visit(self.expectation, visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.inner.struct_variant(fields, Self::visit(self.expectation, visitor))
    }
}
