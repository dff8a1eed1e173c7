//! Which statements a projection may have.

use sqlparser::ast::{SetExpr, Statement};

use super::super::report::shown;

/// What would be right.
pub(super) const HINT: &str = "write one INSERT, UPDATE, DELETE or MERGE";

/// What is wrong with the statement as a whole, and what would be right.
pub(super) fn refused(statement: &Statement) -> Option<(String, &'static str)> {
    let Some(outermost) = outermost(statement) else {
        let message = match statement {
            Statement::Query(_) => "a SELECT writes nothing".to_owned(),
            other => {
                let text = other.to_string();
                let word = text.split(' ').next().unwrap_or_default();
                format!("{} can't be the statement of a projection", shown(word))
            }
        };
        return Some((message, HINT));
    };
    let returns = match outermost {
        Statement::Insert(insert) => insert.returning.is_some(),
        Statement::Update(update) => update.returning.is_some(),
        Statement::Delete(delete) => delete.returning.is_some(),
        Statement::Merge(merge) => merge.output.is_some(),
        _ => false,
    };
    let hint = "remove RETURNING, or put the statement into a `WITH` and use what it returns";
    returns.then(|| ("the statement returns rows to nobody".to_owned(), hint))
}

/// The statement that writes, perhaps behind a `WITH`.
fn outermost(statement: &Statement) -> Option<&Statement> {
    match statement {
        Statement::Insert(_) | Statement::Update(_) | Statement::Delete(_) | Statement::Merge(_) => {
            Some(statement)
        }
        Statement::Query(query) => match &*query.body {
            SetExpr::Insert(inner)
            | SetExpr::Update(inner)
            | SetExpr::Delete(inner)
            | SetExpr::Merge(inner) => Some(inner),
            _ => None,
        },
        _ => None,
    }
}
