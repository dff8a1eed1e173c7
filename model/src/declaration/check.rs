//! The check of all files together.
use super::Models;
use crate::diagnostic::{Diagnostic, Source};

pub(super) fn check(app: &str, sources: &[Source]) -> Result<Models, Vec<Diagnostic>> {
    let _ = sources;
    Ok(Models { app: app.to_owned(), models: indexmap::IndexMap::new() })
}
