//! What a query may be about, before it is known who asks.

use std::sync::Arc;

use indexmap::IndexMap;
use writ_model::access::{Readable, Visible};
use writ_model::declaration::Projection;
use writ_model::{Field, Model, Models};

use crate::tables::{Schema, Table};

/// What a query may be about.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub(super) name: &'a str,
    pub(super) fields: &'a IndexMap<String, Field>,
    pub(super) kind: Kinds<'a>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Kinds<'a> {
    /// With the models that its references lead to, if they may be followed.
    Model(&'a Model, Option<&'a Models>),
    Projection(&'a Projection),
}

impl<'a> From<&'a Model> for Asked<'a> {
    fn from(model: &'a Model) -> Self {
        Asked { name: &model.name, fields: &model.fields, kind: Kinds::Model(model, None) }
    }
}

impl<'a> From<&'a Arc<Model>> for Asked<'a> {
    fn from(model: &'a Arc<Model>) -> Self {
        (&**model).into()
    }
}

/// Its references may be expanded.
impl<'a> From<(&'a Models, &'a Model)> for Asked<'a> {
    fn from((models, model): (&'a Models, &'a Model)) -> Self {
        Asked { kind: Kinds::Model(model, Some(models)), ..model.into() }
    }
}

impl<'a> From<&'a Arc<Projection>> for Asked<'a> {
    fn from(projection: &'a Arc<Projection>) -> Self {
        (&**projection).into()
    }
}

impl<'a> From<&'a Projection> for Asked<'a> {
    fn from(projection: &'a Projection) -> Self {
        Asked { name: &projection.name, fields: &projection.fields, kind: Kinds::Projection(projection) }
    }
}

impl Asked<'_> {
    /// What a reader sees of it from whom nothing is kept but secrets.
    pub(super) fn seen_whole(&self) -> Visible {
        let secret = self.fields.values().filter(|field| field.secret);
        let hidden = secret.map(|field| field.name.clone()).collect();
        Visible { rows: Readable::All, hidden, every_field: true }
    }

    pub(super) fn table(&self, schema: &Schema) -> Table {
        match self.kind {
            Kinds::Model(model, _) => Table::derive(schema, model),
            Kinds::Projection(projection) => Table::of_projection(schema, projection),
        }
    }
}
