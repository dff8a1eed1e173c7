//! What the fuzz targets check, as plain functions that panic when it doesn't hold.
//!
//! The targets themselves (`fuzz/fuzz_targets/`) need libFuzzer and a nightly compiler, and are a workspace of their own.
//! Here is all the rest, so that the tests replay every seed (`fuzz/seeds/`) on the stable toolchain: an input that once
//! broke something stays a test for ever.

mod avro_decode;
mod command_body;
#[cfg(feature = "server")]
mod headers;
mod model_file;
mod models;

pub use avro_decode::avro_decode;
pub use command_body::command_body;
#[cfg(feature = "server")]
pub use headers::headers;
pub use model_file::model_file;
