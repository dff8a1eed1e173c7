//! `writ version`.

use std::process::ExitCode;

use crate::Failure;

/// Prints name and version.
pub(crate) fn run() -> Result<ExitCode, Failure> {
    println!("writ {}", env!("CARGO_PKG_VERSION"));
    Ok(ExitCode::SUCCESS)
}
