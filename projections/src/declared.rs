//! The projections as the models declare them: what there should be. What there is stands in the [`crate::catalog`].

use std::sync::Arc;

use writ_model::declaration::Projection;
use writ_model::{Model, Models};
use writ_producers::topics::Topics;

use crate::catalog::Kind;
use crate::tables::{EVENT_LOG, Schema, Table, fnv1a};

/// One thing with a name that follows event topics.
#[derive(Debug, Clone)]
pub(crate) enum Declaration {
    /// The rows of a model.
    Model(Arc<Model>),
    /// Every event of these models.
    EventLog(Vec<Arc<Model>>),
    /// A table of the product's own.
    Sql(Arc<Projection>),
}

impl Declaration {
    /// All of them, in the order in which an event is applied to them.
    pub(crate) fn all(models: &Models) -> Vec<Declaration> {
        let rows = models.models.values().map(|model| Declaration::Model(model.clone()));
        let log = Declaration::EventLog(models.models.values().cloned().collect());
        let sql = models.projections.values().map(|projection| Declaration::Sql(projection.clone()));
        rows.chain([log]).chain(sql).collect()
    }

    /// Its name. No two share one.
    pub(crate) fn name(&self) -> &str {
        match self {
            Declaration::Model(model) => &model.name,
            Declaration::EventLog(_) => EVENT_LOG,
            Declaration::Sql(projection) => &projection.name,
        }
    }

    /// What it is.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Declaration::Model(_) => Kind::Model,
            Declaration::EventLog(_) => Kind::EventLog,
            Declaration::Sql(_) => Kind::Sql,
        }
    }

    /// The topics whose events it is given.
    pub(crate) fn topics(&self, topics: &Topics) -> Vec<Arc<str>> {
        let mut names: Vec<Arc<str>> = match self {
            Declaration::Model(model) => vec![topics.events(&model.name).into()],
            Declaration::EventLog(models) => {
                models.iter().map(|model| topics.events(&model.name).into()).collect()
            }
            Declaration::Sql(projection) => {
                projection.statements.iter().map(|statement| topics.events(&statement.model).into()).collect()
            }
        };
        names.sort();
        names.dedup();
        names
    }

    /// Its table in `schema`; `None`: the event log, which isn't derived from anything.
    pub(crate) fn table(&self, schema: &Schema) -> Option<Table> {
        match self {
            Declaration::Model(model) => Some(Table::derive(schema, model)),
            Declaration::EventLog(_) => None,
            Declaration::Sql(projection) => Some(Table::of_projection(schema, projection)),
        }
    }

    /// Schema and name of its table, as an identifier.
    pub(crate) fn qualified(&self, schema: &Schema) -> String {
        self.table(schema).map_or_else(|| schema.table(EVENT_LOG), |table| table.qualified)
    }

    /// The name of its table, in whatever schema.
    pub(crate) fn table_name(&self) -> String {
        self.table(&Schema::new("")).map_or_else(|| EVENT_LOG.to_owned(), |table| table.name)
    }

    /// Changes with what its table looks like and what its statements do; not with its indexes.
    pub(crate) fn fingerprint(&self) -> String {
        // In a schema without a name: the same for a live table and for one that is being built.
        let mut text = self.table(&Schema::new("")).map_or_else(|| "1".to_owned(), |table| table.create());
        if let Declaration::Sql(projection) = self {
            let mut statements: Vec<String> = projection
                .statements
                .iter()
                .map(|one| format!("{}.{} {:?} {:?}", one.model, one.event, one.pieces, one.parameters))
                .collect();
            statements.sort();
            text.push_str(&statements.join("\n"));
        }
        format!("{:016x}", fnv1a(text.as_bytes()))
    }
}
