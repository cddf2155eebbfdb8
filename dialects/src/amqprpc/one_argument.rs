//! Reading of one argument into the type that a handler takes.

use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, SeqAccess, Visitor,
};

/// Value that is read from the only argument of a call. `IS_MAP` is set if the argument is a map.
///
/// A tuple of one element, and a struct if the argument is no map, are read as from a list with the
/// argument alone. `()` is read from any argument. Every other type is read from the argument.
pub(super) struct OneArgument<T, const IS_MAP: bool>(pub(super) T);

impl<'de, T: Deserialize<'de>, const IS_MAP: bool> Deserialize<'de> for OneArgument<T, IS_MAP> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(ArgumentDeserializer::<D, IS_MAP>(deserializer)).map(Self)
    }
}

/// Deserializer of the argument, around that of its format.
struct ArgumentDeserializer<D, const IS_MAP: bool>(D);

/// Forwards functions that take a visitor alone.
macro_rules! forward {
    ($($function:ident)*) => {
        $(fn $function<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.0.$function(visitor)
        })*
    };
}

impl<'de, D: Deserializer<'de>, const IS_MAP: bool> Deserializer<'de>
    for ArgumentDeserializer<D, IS_MAP>
{
    type Error = D::Error;

    forward! {
        deserialize_any deserialize_bool
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64 deserialize_char deserialize_str deserialize_string
        deserialize_bytes deserialize_byte_buf deserialize_seq deserialize_map
        deserialize_identifier deserialize_ignored_any
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_option(OptionalArgument::<V, IS_MAP>(visitor))
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        IgnoredAny::deserialize(self.0)?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_newtype_struct(name, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        match len {
            1 => visit_in_list(self.0, visitor),
            _ => self.0.deserialize_tuple(len, visitor),
        }
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_tuple_struct(name, len, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        match IS_MAP {
            true => self.0.deserialize_struct(name, fields, visitor),
            false => visit_in_list(self.0, visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

/// Visits a list with the argument alone. An argument that the visitor does not read is skipped.
fn visit_in_list<'de, D: Deserializer<'de>, V: Visitor<'de>>(
    argument: D,
    visitor: V,
) -> Result<V::Value, D::Error> {
    let mut unread = Some(argument);
    let value = visitor.visit_seq(ArgumentList(&mut unread))?;
    if let Some(argument) = unread {
        IgnoredAny::deserialize(argument)?;
    }
    Ok(value)
}

/// The list with the argument alone.
struct ArgumentList<'a, D>(&'a mut Option<D>);

impl<'de, D: Deserializer<'de>> SeqAccess<'de> for ArgumentList<'_, D> {
    type Error = D::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, D::Error> {
        self.0.take().map(|argument| seed.deserialize(argument)).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(usize::from(self.0.is_some()))
    }
}

/// Visitor of an argument that may be null.
struct OptionalArgument<V, const IS_MAP: bool>(V);

impl<'de, V: Visitor<'de>, const IS_MAP: bool> Visitor<'de> for OptionalArgument<V, IS_MAP> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, argument: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(ArgumentDeserializer::<D, IS_MAP>(argument))
    }
}
