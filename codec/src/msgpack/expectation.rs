//! A deserializer that records the type that its visitor expects.
//!
//! `rmp-serde` reports a mismatch by the marker that it found and does not ask the visitor for the
//! type that was expected. [`Recording`] writes down the expectation before each value, so that the
//! error of a mismatch can name both. Decoding through it costs one formatted name a value, and no
//! memory that grows with the body.

use std::cell::RefCell;
use std::fmt::{self, Write as _};

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Expected, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};

/// The text of the latest expectation, such as `f64` or `struct Item`.
///
/// One string serves a whole pass, and is overwritten by each value. Decoding ends at the first
/// mismatch, so the text that stays is the expectation of the value that failed. The text is the
/// output of the visitor's `expecting`.
pub(super) type Expectation = RefCell<String>;

/// A deserializer, visitor, seed or access of values, whose expectations are recorded.
///
/// Each value that is handed down is wrapped again, so that the recording covers all levels.
/// Borrows of the text end before an inner visitor runs, so nested values never borrow the text
/// twice.
pub(super) struct Recording<'a, T> {
    inner: T,
    /// Shared by all wrappers of one pass.
    latest: &'a Expectation,
}

impl<'a, T> Recording<'a, T> {
    /// Wraps `inner`; expectations are written into `latest`.
    pub(super) fn new(inner: T, latest: &'a Expectation) -> Self {
        Self { inner, latest }
    }

    /// Records the expectation of `visitor`, and wraps the visitor.
    ///
    /// Replaces the expectation of the value before. The capacity of the string is kept, so most
    /// values cost no allocation.
    fn visit<'de, V: Visitor<'de>>(latest: &'a Expectation, visitor: V) -> Recording<'a, V> {
        let mut text = latest.borrow_mut();
        text.clear();
        // Writing into a string cannot fail.
        let _ = write!(text, "{}", &visitor as &dyn Expected);
        drop(text);
        Recording::new(visitor, latest)
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
            self.inner.$method($($argument,)* Self::visit(self.latest, visitor))
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
        self.inner.visit_some(Recording::new(value, self.latest))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        self.inner.visit_newtype_struct(Recording::new(value, self.latest))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, values: A) -> Result<V::Value, A::Error> {
        self.inner.visit_seq(Recording::new(values, self.latest))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error> {
        self.inner.visit_map(Recording::new(entries, self.latest))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        self.inner.visit_enum(Recording::new(variant, self.latest))
    }
}

/// Wraps the deserializer that the inner seed gets.
impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Recording<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(Recording::new(value, self.latest))
    }
}

/// Wraps the seed of each element. The size hint is that of the inner access.
impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Recording<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.inner.next_element_seed(Recording::new(seed, self.latest))
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
        self.inner.next_key_seed(Recording::new(seed, self.latest))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.next_value_seed(Recording::new(seed, self.latest))
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
        let (value, variant) = self.inner.variant_seed(Recording::new(seed, self.latest))?;
        Ok((value, Recording::new(variant, self.latest)))
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
        self.inner.newtype_variant_seed(Recording::new(seed, self.latest))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.inner.tuple_variant(len, Self::visit(self.latest, visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.inner.struct_variant(fields, Self::visit(self.latest, visitor))
    }
}
