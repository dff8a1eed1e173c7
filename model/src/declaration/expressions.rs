//! Expressions in a model file: compiled, with their faults put in their place in the file.

use std::collections::HashSet;

use super::Type;
use super::report::{Report, shown};
use super::yaml::Node;
use crate::expression::{Compiled, Env, Expected, Fault, Given};

const LONGEST: usize = 4000;

/// Compiles the expression at `node`. `None`: it can't be, and that is reported; or it uses one of the `broken` fields,
/// whose types are unknown for a reason that is reported.
pub(super) fn compile(
    report: &mut Report<'_>,
    node: &Node,
    env: Env<'_>,
    expected: Expected<'_>,
    broken: &HashSet<String>,
) -> Option<Compiled> {
    let source = source(report, node, expected)?;
    if mentions(source, broken) {
        return None;
    }
    self::report(report, node, Compiled::compile(source, env, expected))
}

/// The same with other names than a command's, none of which is broken.
pub(super) fn compile_given(
    report: &mut Report<'_>,
    node: &Node,
    env: Env<'_>,
    given: Given<'_>,
    expected: Expected<'_>,
) -> Option<Compiled> {
    let source = source(report, node, expected)?;
    self::report(report, node, Compiled::compile_given(source, env, given, expected))
}

/// The text of the expression at `node`. `None`: there can be none in it, and that is reported.
fn source<'n>(report: &mut Report<'_>, node: &'n Node, expected: Expected<'_>) -> Option<&'n str> {
    let Some(scalar) = node.scalar() else {
        let message = format!("expected an expression, found {}", node.what());
        report.error(&node.span, message, "put an expression that starts with `{` or `[` in quotes");
        return None;
    };
    // `set: { note: null }` and `set: { count: 0 }` are expressions as well.
    let source = if scalar.is_null() && !scalar.text.is_empty() { "null" } else { scalar.text.as_str() };
    if source.trim().is_empty() {
        report.error(&node.span, "an expression is missing here", "write one, such as `now` or `input.note`");
        return None;
    }
    if source.len() > LONGEST {
        let message = format!("an expression has at most {LONGEST} bytes, this one has {}", source.len());
        report.error(&node.span, message, "split it into several fields or conditions");
        return None;
    }
    if let Expected::Field(field) = expected
        && let Type::Enum(values) = &field.ty
        && values.iter().any(|value| value == source)
    {
        let message = format!("{} is a name in an expression, not a text", shown(source));
        report.error(&node.span, message, format!("quote it twice: \"'{source}'\""));
        return None;
    }
    Some(source)
}

/// Puts the faults of the expression at `node` in their place. `None`: there are some.
pub(super) fn report<T>(report: &mut Report<'_>, node: &Node, result: Result<T, Vec<Fault>>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(faults) => {
            for fault in faults {
                let span = node.span_of_part(report.text(), &fault.span);
                report.error(&span, fault.message, fault.hint);
            }
            None
        }
    }
}

fn mentions(source: &str, names: &HashSet<String>) -> bool {
    let words = source.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    !names.is_empty() && words.into_iter().any(|word| names.contains(word))
}
