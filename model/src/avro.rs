//! Events as Avro: one record schema per event, derived from its declaration.

use crate::value::Object;

/// Encodes and decodes one event type.
#[derive(Debug)]
pub struct EventCodec {
    /// The schema, as registered.
    pub schema: apache_avro::Schema,
    /// Its JSON text, canonical for this declaration.
    pub schema_json: String,
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
    /// The Avro datum, without framing, appended to `out`.
    pub fn encode(&self, fields: &Object, out: &mut Vec<u8>) -> Result<(), Error> {
        let _ = (fields, out);
        todo!()
    }
    /// Decodes a datum written with `writer`, resolved to today's schema.
    pub fn decode(&self, writer: &apache_avro::Schema, datum: &[u8]) -> Result<Object, Error> {
        let _ = (writer, datum);
        todo!()
    }
}
