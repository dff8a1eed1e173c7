//! Queries that may be answered by the cache: plain rows and plain pages. What [`crate::cache`] has is used before anybody
//! waits for a position; what PostgreSQL answers goes there with the places of its snapshot.

use std::sync::OnceLock;

use serde::de::DeserializeOwned;
use serde_json::value::to_raw_value;
use sqlx::{QueryBuilder, Row as _};
use uuid::Uuid;
use writ_model::{Model, Position};

use super::{Error, ListRequest, Page, Queries, Row, Shown, bounded, read};
use crate::cache::{Cache, Lookup, Places, Ticket, What};
use crate::tables::{OFFSETS, PROJECTIONS, literal};

/// Where the places stand among the columns of a row that is to be kept.
const PLACES: usize = 6;

/// What the cache says.
#[derive(Debug)]
pub enum Cached<T> {
    /// The answer; it has every position that was asked for.
    Found(T),
    /// Wait for the positions, and ask PostgreSQL.
    Absent(Keep),
}

/// Whether the answer of PostgreSQL is wanted in the cache.
#[derive(Debug, Default)]
pub struct Keep(Option<(Cache, Ticket)>);

impl Keep {
    async fn keep(self, places: Option<String>, answer: &impl serde::Serialize) {
        let Some((cache, ticket)) = self.0 else { return };
        let places = places.and_then(|places| serde_json::from_str::<Places>(&places).ok());
        if let (Some(places), Ok(body)) = (places, to_raw_value(answer)) {
            cache.keep(ticket, &places, &body).await;
        }
    }
}

impl Queries {
    /// The row of [`Queries::get`], if the cache has it with all of `positions`.
    pub async fn cached(&self, model: &Model, id: Uuid, positions: &[Position]) -> Cached<Row> {
        self.look(model, What::Row(id), positions).await
    }

    /// The page of [`Queries::list`], if the cache has it with all of `positions`. `asked`: the request as it came, which
    /// stands for the page.
    pub async fn cached_list(
        &self,
        model: &Model,
        request: &ListRequest,
        asked: &str,
        positions: &[Position],
    ) -> Cached<Page> {
        // Other models' rows change without a word in this one's places.
        if !request.shown.expand.is_empty() {
            return Cached::Absent(Keep(None));
        }
        self.look(model, What::List(asked), positions).await
    }

    async fn look<T: DeserializeOwned>(
        &self,
        model: &Model,
        what: What<'_>,
        positions: &[Position],
    ) -> Cached<T> {
        let Some(cache) = &self.cache else { return Cached::Absent(Keep(None)) };
        let layout = self.view_of(model.into()).layout;
        match cache.look(&model.name, what, layout, positions).await {
            Lookup::Hit(body) => match serde_json::from_str(body.get()) {
                Ok(answer) => Cached::Found(answer),
                Err(_) => Cached::Absent(Keep(None)),
            },
            Lookup::Miss(ticket) => Cached::Absent(Keep(Some((cache.clone(), ticket)))),
            Lookup::Off => Cached::Absent(Keep(None)),
        }
    }

    /// The aggregate with this id, unless deleted; goes into the cache if it may be [kept](Keep).
    pub async fn get_keeping(&self, model: &Model, id: Uuid, keep: Keep) -> Result<Option<Row>, Error> {
        if keep.0.is_none() {
            return self.get(model, id).await;
        }
        let view = self.view_of(model.into());
        let columns = self.columns(&view, &Shown::default());
        let mut sql = QueryBuilder::new(format!(
            "SELECT {columns}, {} FROM {} AS t WHERE NOT deleted AND id = ",
            self.places(model),
            view.table.qualified
        ));
        sql.push_bind(id);
        let found = bounded(sql.build().fetch_optional(&self.pool)).await?;
        let Some(found) = found else { return Ok(None) };
        let row = read(&found)?;
        keep.keep(found.try_get(PLACES)?, &row).await;
        Ok(Some(row))
    }

    /// A page of a model's rows; goes into the cache if it may be [kept](Keep).
    pub async fn list_keeping(
        &self,
        model: &Model,
        request: &ListRequest,
        keep: Keep,
    ) -> Result<Page, Error> {
        if keep.0.is_none() {
            return self.list(model, request).await;
        }
        let view = self.view_of(model.into());
        let columns = format!("{}, {}", self.columns(&view, &request.shown), self.places(model));
        let places = OnceLock::new();
        let page = self
            .page(&view, request, &columns, |row| {
                // The same in every row.
                let of_row = row.try_get::<Option<String>, _>(PLACES)?;
                places.get_or_init(|| of_row);
                read(row)
            })
            .await?;
        keep.keep(places.into_inner().flatten(), &page).await;
        Ok(page)
    }

    /// The places of a model's rows in the statement's snapshot, as JSON text.
    fn places(&self, model: &Model) -> String {
        format!(
            "(SELECT json_object_agg(places.partition, places.next)::text FROM {} AS places JOIN {} AS entry \
             ON entry.name = places.projection AND entry.generation = places.generation \
             WHERE entry.name = {} AND entry.state <> 'building')",
            self.schema.table(OFFSETS),
            self.schema.table(PROJECTIONS),
            literal(&model.name)
        )
    }
}
