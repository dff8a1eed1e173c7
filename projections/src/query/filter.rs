//! Filters as SQL conditions. Values are bound as text and cast to the column's type, which the parser has made sure of.

use sqlx::{Postgres, QueryBuilder};

use super::request::{Filter, ListRequest, Operator};

/// Appends `AND …` for every filter.
pub(super) fn push(sql: &mut QueryBuilder<Postgres>, request: &ListRequest) {
    for filter in &request.filters {
        sql.push(" AND ").push(&filter.target.column);
        condition(sql, filter);
    }
}

fn condition(sql: &mut QueryBuilder<Postgres>, filter: &Filter) {
    let cast = filter.target.kind.cast();
    let sign = match filter.operator {
        Operator::In => {
            sql.push(" = ANY(").push_bind(filter.values.clone()).push(format!("::{cast}[])"));
            return;
        }
        Operator::Eq => "=",
        // A row without a value is not equal to any.
        Operator::Ne => "IS DISTINCT FROM",
        Operator::Lt => "<",
        Operator::Lte => "<=",
        Operator::Gt => ">",
        Operator::Gte => ">=",
    };
    let value = filter.values.first().cloned().expect("invariant: a filter has a value");
    sql.push(format!(" {sign} ")).push_bind(value).push(format!("::{cast}"));
}
