//! Which events a reader may see, as a condition on `log`: those of aggregates whose rows are readable.

use sqlx::{Postgres, QueryBuilder};
use writ_model::Model;
use writ_model::access::Readable;

use crate::query::{Subject, permitted};
use crate::tables::{Schema, Table};

/// Appends the condition that the aggregate of an event of `model` is readable. A deleted one's row is still there.
pub(super) fn push(sql: &mut QueryBuilder<Postgres>, schema: &Schema, model: &Model, rows: &Readable) {
    let table = Table::derive(schema, model);
    match rows {
        Readable::Where(_) => {
            sql.push(format!(
                "EXISTS (SELECT 1 FROM {} AS r WHERE r.id = log.aggregate_id AND ",
                table.qualified
            ));
            permitted::push(sql, rows, &table, "r");
            sql.push(")");
        }
        Readable::All | Readable::Nothing => permitted::push(sql, rows, &table, "r"),
    }
}

/// Appends the same for events of several models. Those of others, also of models that are no longer declared, aren't
/// readable.
pub(super) fn push_any<'s, 'a: 's>(
    sql: &mut QueryBuilder<Postgres>,
    schema: &Schema,
    subjects: impl Iterator<Item = &'s Subject<'a>>,
) {
    let subjects: Vec<&Subject<'_>> = subjects.collect();
    let whole = subjects.iter().filter(|subject| subject.visible().rows == Readable::All);
    let whole: Vec<String> = whole.map(|subject| subject.name().to_owned()).collect();
    sql.push("(log.model = ANY(").push_bind(whole).push(")");
    for subject in subjects {
        if let (Some(model), rows @ Readable::Where(_)) = (subject.model(), &subject.visible().rows) {
            sql.push(" OR (log.model = ").push_bind(model.name.clone()).push(" AND ");
            push(sql, schema, model, rows);
            sql.push(")");
        }
    }
    sql.push(")");
}
