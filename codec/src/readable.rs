//! A serializer that refuses each value that the format could not be decoded from.
//!
//! A format's own serializer writes some values that its deserializer does not read: JSON writes
//! `NaN` as null, and both formats write values that are nested too deep. [`Readable`] wraps the
//! serializer and refuses such values. It is as small as a number, and allocates nothing.

use std::fmt::Display;
use std::marker::PhantomData;

use serde::ser::{
    Error, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// The deepest nesting that both decoders read: arrays, maps and variants with content.
pub(crate) const DEPTH_MAX: u8 = 127;

/// Demands of a format beyond its serializer.
pub(crate) trait Demands {
    /// Set if the format has no `NaN` and no infinite numbers.
    ///
    /// Other formats write such numbers as they are.
    const FINITE: bool;
    /// Set if the format writes the number of elements before the elements.
    ///
    /// A value that announces no number is not checked.
    const COUNTED: bool;
}

/// A serializer, or an access of a serializer, with `left` further levels of nesting.
pub(crate) struct Readable<S, D> {
    inner: S,
    /// Levels that a value inside may still open. A list, a map and a newtype variant take one
    /// each; any other variant with content takes two.
    left: u8,
    /// Number of elements that are announced and not written yet.
    ///
    /// `None` if the format needs no number, or the value announced none.
    missing: Option<usize>,
    demands: PhantomData<D>,
}

/// A value that is serialized through [`Readable`].
struct Value<'a, T: ?Sized, D> {
    value: &'a T,
    left: u8,
    demands: PhantomData<D>,
}

impl<S: Serializer, D: Demands> Readable<S, D> {
    /// Wraps the serializer of a whole value.
    pub(crate) fn new(inner: S) -> Self {
        Self::within(inner, DEPTH_MAX)
    }
}

impl<S, D: Demands> Readable<S, D> {
    /// Wraps a serializer of a part of a value.
    fn within(inner: S, left: u8) -> Self {
        Self { inner, left, missing: None, demands: PhantomData }
    }

    /// Returns the levels that are left inside of `levels` further ones.
    ///
    /// Fails if fewer than `levels` are left.
    fn inside<E: Error>(left: u8, levels: u8) -> Result<u8, E> {
        left.checked_sub(levels).ok_or_else(|| too_deep())
    }

    fn value<'a, T: ?Sized>(&self, value: &'a T) -> Value<'a, T, D> {
        Value { value, left: self.left, demands: PhantomData }
    }

    /// Counts one element.
    ///
    /// Fails before the element is written if all announced elements are there already. An entry of
    /// a map counts once.
    fn count<E: Error>(&mut self) -> Result<(), E> {
        if let Some(missing) = &mut self.missing {
            *missing = missing.checked_sub(1).ok_or_else(|| miscounted())?;
        }
        Ok(())
    }

    /// Checks at the end that as many elements were written as announced.
    fn counted<E: Error>(self) -> Result<S, E> {
        match self.missing {
            None | Some(0) => Ok(self.inner),
            Some(_) => Err(miscounted()),
        }
    }
}

#[cold]
fn too_deep<E: Error>() -> E {
    E::custom(format_args!("the value is nested deeper than {DEPTH_MAX} levels"))
}

#[cold]
fn miscounted<E: Error>() -> E {
    E::custom("a value has another number of elements than it announced")
}

#[cold]
fn not_finite<E: Error>(number: impl Display) -> E {
    E::custom(format_args!("the number {number} is not finite"))
}

impl<T: Serialize + ?Sized, D: Demands> Serialize for Value<'_, T, D> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(Readable::<S, D>::within(serializer, self.left))
    }
}

/// Methods for values without inner values, which are passed on.
macro_rules! plain {
    ($($method:ident: $type:ty;)+) => {
        $(fn $method(self, value: $type) -> Result<S::Ok, S::Error> {
            self.inner.$method(value)
        })+
    };
}

/// A method that begins a compound value: the number of levels, and the arguments, of which the
/// last is the number of elements.
macro_rules! compound {
    ($(
        $method:ident -> $access:ident, $levels:literal, ($($name:ident: $type:ty),*), $len:expr;
    )+) => {
        $(fn $method(self, $($name: $type),*) -> Result<Self::$access, S::Error> {
            let left = Self::inside(self.left, $levels)?;
            let missing = if D::COUNTED { $len } else { None };
            let inner = self.inner.$method($($name),*)?;
            Ok(Readable { inner, left, missing, demands: PhantomData })
        })+
    };
}

impl<S: Serializer, D: Demands> Serializer for Readable<S, D> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Readable<S::SerializeSeq, D>;
    type SerializeTuple = Readable<S::SerializeTuple, D>;
    type SerializeTupleStruct = Readable<S::SerializeTupleStruct, D>;
    type SerializeTupleVariant = Readable<S::SerializeTupleVariant, D>;
    type SerializeMap = Readable<S::SerializeMap, D>;
    type SerializeStruct = Readable<S::SerializeStruct, D>;
    type SerializeStructVariant = Readable<S::SerializeStructVariant, D>;

    plain! {
        serialize_bool: bool;
        serialize_i8: i8;
        serialize_i16: i16;
        serialize_i32: i32;
        serialize_i64: i64;
        serialize_i128: i128;
        serialize_u8: u8;
        serialize_u16: u16;
        serialize_u32: u32;
        serialize_u64: u64;
        serialize_u128: u128;
        serialize_char: char;
        serialize_str: &str;
        serialize_bytes: &[u8];
        serialize_unit_struct: &'static str;
    }

    fn serialize_f32(self, number: f32) -> Result<S::Ok, S::Error> {
        if D::FINITE && !number.is_finite() {
            return Err(not_finite(number));
        }
        self.inner.serialize_f32(number)
    }

    fn serialize_f64(self, number: f64) -> Result<S::Ok, S::Error> {
        if D::FINITE && !number.is_finite() {
            return Err(not_finite(number));
        }
        self.inner.serialize_f64(number)
    }

    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.inner.serialize_none()
    }

    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        let value = self.value(value);
        self.inner.serialize_some(&value)
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit_variant(name, index, variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let value = self.value(value);
        self.inner.serialize_newtype_struct(name, &value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let left = Self::inside(self.left, 1)?;
        let value = Value::<_, D> { value, left, demands: PhantomData };
        self.inner.serialize_newtype_variant(name, index, variant, &value)
    }

    compound! {
        serialize_seq -> SerializeSeq, 1, (len: Option<usize>), len;
        serialize_tuple -> SerializeTuple, 1, (len: usize), Some(len);
        serialize_tuple_struct -> SerializeTupleStruct, 1,
            (name: &'static str, len: usize), Some(len);
        serialize_tuple_variant -> SerializeTupleVariant, 2,
            (name: &'static str, index: u32, variant: &'static str, len: usize), Some(len);
        serialize_map -> SerializeMap, 1, (len: Option<usize>), len;
        serialize_struct -> SerializeStruct, 1, (name: &'static str, len: usize), Some(len);
        serialize_struct_variant -> SerializeStructVariant, 2,
            (name: &'static str, index: u32, variant: &'static str, len: usize), Some(len);
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        // The default allocates a string.
        self.inner.collect_str(value)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// Access of a compound value whose elements have no names.
macro_rules! elements {
    ($($access:ident: $method:ident;)+) => {
        $(impl<S: $access, D: Demands> $access for Readable<S, D> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
                self.count()?;
                let value = self.value(value);
                self.inner.$method(&value)
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.counted()?.end()
            }
        })+
    };
}

elements! {
    SerializeSeq: serialize_element;
    SerializeTuple: serialize_element;
    SerializeTupleStruct: serialize_field;
    SerializeTupleVariant: serialize_field;
}

/// Access of a compound value whose fields have names.
macro_rules! fields {
    ($($access:ident)+) => {
        $(impl<S: $access, D: Demands> $access for Readable<S, D> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), S::Error> {
                self.count()?;
                let value = self.value(value);
                self.inner.serialize_field(key, &value)
            }

            fn skip_field(&mut self, key: &'static str) -> Result<(), S::Error> {
                self.inner.skip_field(key)
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.counted()?.end()
            }
        })+
    };
}

fields!(SerializeStruct SerializeStructVariant);

impl<S: SerializeMap, D: Demands> SerializeMap for Readable<S, D> {
    type Ok = S::Ok;
    type Error = S::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), S::Error> {
        self.count()?;
        let key = self.value(key);
        self.inner.serialize_key(&key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        let value = self.value(value);
        self.inner.serialize_value(&value)
    }

    fn serialize_entry<K: Serialize + ?Sized, V: Serialize + ?Sized>(
        &mut self,
        key: &K,
        value: &V,
    ) -> Result<(), S::Error> {
        self.count()?;
        let (key, value) = (self.value(key), self.value(value));
        self.inner.serialize_entry(&key, &value)
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.counted()?.end()
    }
}
