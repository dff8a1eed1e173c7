//! CEL: parsed by the `cel` crate, typed against the declarations, evaluated exactly.

/// A typed expression, compiled once.
#[derive(Debug)]
pub struct Compiled {
    /// As written.
    pub source: String,
}
