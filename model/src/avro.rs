//! Events as Avro: one record schema per event, derived from its declaration (`docs/decisions/003`).
//!
//! The schemas are the `apache_avro` crate's. The datum is read and written here, straight between bytes and
//! [`crate::Value`]: a reader of Kafka must not take a truncated datum for nulls, nor allocate what a length field says.

mod datum;
mod schema;

use indexmap::IndexMap;

use crate::declaration::Field;
use crate::value::Object;

/// Encodes and decodes one event type.
#[derive(Debug)]
pub struct EventCodec {
    /// The schema, as registered.
    pub schema: apache_avro::Schema,
    /// Its JSON text, canonical for this declaration.
    pub schema_json: String,
    type_name: String,
    fields: IndexMap<String, Field>,
}

/// A value that the schema can't hold, or bytes that are none of its.
#[derive(Debug, thiserror::Error)]
#[error("{type_name}: {detail}")]
pub struct Error {
    /// The event type.
    pub type_name: String,
    /// What is wrong.
    pub detail: String,
}

impl EventCodec {
    /// Derives the schema of the event type `<app>.<model>.<Event>` from its recorded fields.
    /// Errors: names that Avro can't tell apart or can't take.
    pub fn new(type_name: &str, fields: &IndexMap<String, Field>) -> Result<EventCodec, Error> {
        let error = |detail: String| Error { type_name: type_name.to_owned(), detail };
        let schema_json = schema::derive(type_name, fields).map_err(error)?.to_string();
        let schema =
            apache_avro::Schema::parse_str(&schema_json).map_err(|source| error(source.to_string()))?;
        Ok(EventCodec { schema, schema_json, type_name: type_name.to_owned(), fields: fields.clone() })
    }

    /// The Avro datum, without framing, appended to `out`. After an error `out` is as it was.
    pub fn encode(&self, fields: &Object, out: &mut Vec<u8>) -> Result<(), Error> {
        let start = out.len();
        datum::write_record(&self.fields, fields, out).map_err(|detail| {
            out.truncate(start);
            self.error(detail)
        })
    }

    /// Decodes a datum written with `writer`, resolved to today's declaration: fields by the name they have in Avro, new
    /// ones null or their default, removed ones skipped. Errors: bytes that are no datum of `writer`, or a field without a value.
    pub fn decode(&self, writer: &apache_avro::Schema, datum: &[u8]) -> Result<Object, Error> {
        datum::read_event(writer, &self.fields, datum).map_err(|detail| self.error(detail))
    }

    fn error(&self, detail: String) -> Error {
        Error { type_name: self.type_name.clone(), detail }
    }
}

#[cfg(test)]
mod tests;
