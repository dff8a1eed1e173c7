//! What `writ check` says of a model file: where, what is wrong, and what would be right.

use std::ops::Range;

/// The text of one model file. `name` is what messages call it (a path relative to the models folder).
#[derive(Debug, Clone)]
pub struct Source {
    /// How messages name the file.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// One finding of the check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The [`Source::name`] of the file.
    pub file: String,
    /// Byte range in the file's text.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
}
