//! A mapping with the fields of the core's metadata and one more that only files have. An unknown field is refused with
//! its position; serde's `flatten` would neither refuse it nor know the line.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::Deserializer;
use serde::de::DeserializeSeed;
use serde::de::Error;
use serde::de::IntoDeserializer as _;
use serde::de::MapAccess;
use serde::de::Visitor;
use serde::de::value::MapAccessDeserializer;

/// Deserializes the metadata, and the field `name` if present. `expecting` describes the expected value in errors.
pub(in crate::cli) fn read<'de, D, M, X>(
    deserializer: D,
    expecting: &'static str,
    name: &'static str,
) -> Result<(M, Option<X>), D::Error>
where
    D: Deserializer<'de>,
    M: Deserialize<'de>,
    X: Deserialize<'de>,
{
    deserializer.deserialize_map(WithExtra { expecting, name, read: PhantomData })
}

struct WithExtra<M, X> {
    expecting: &'static str,
    name: &'static str,
    read: PhantomData<(M, X)>,
}

impl<'de, M: Deserialize<'de>, X: Deserialize<'de>> Visitor<'de> for WithExtra<M, X> {
    type Value = (M, Option<X>);

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.expecting)
    }

    fn visit_map<A: MapAccess<'de>>(self, mapping: A) -> Result<Self::Value, A::Error> {
        let mut extra = None;
        let rest = Rest { mapping, name: self.name, extra: &mut extra };
        let metadata = M::deserialize(MapAccessDeserializer::new(rest))?;
        Ok((metadata, extra))
    }
}

/// The mapping without the extra field, whose value is stored in `extra`.
struct Rest<'a, A, X> {
    mapping: A,
    name: &'static str,
    extra: &'a mut Option<X>,
}

impl<'de, A: MapAccess<'de>, X: Deserialize<'de>> MapAccess<'de> for Rest<'_, A, X> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let mut seed = seed;
        loop {
            match self.mapping.next_key_seed(KeySeed { name: self.name, seed })? {
                None => return Ok(None),
                Some(Key::Other(key)) => return Ok(Some(key)),
                Some(Key::Extra(_)) if self.extra.is_some() => return Err(A::Error::duplicate_field(self.name)),
                Some(Key::Extra(unused)) => {
                    *self.extra = Some(self.mapping.next_value()?);
                    seed = unused;
                }
            }
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.mapping.next_value_seed(seed)
    }
}

/// A key: that of the extra field, which returns the unused seed, or another.
enum Key<K, V> {
    Extra(K),
    Other(V),
}

struct KeySeed<K> {
    name: &'static str,
    seed: K,
}

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for KeySeed<K> {
    type Value = Key<K, K::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl<'de, K: DeserializeSeed<'de>> Visitor<'de> for KeySeed<K> {
    type Value = Key<K, K::Value>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the name of a field")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        if key == self.name {
            return Ok(Key::Extra(self.seed));
        }
        let other = self.seed.deserialize(key.into_deserializer()).map_err(|error: E| {
            // Add the extra field to the list of known fields.
            let text = error.to_string();
            if text.contains(self.name) { error } else { E::custom(format_args!("{text}, `{}`", self.name)) }
        });
        other.map(Key::Other)
    }
}
