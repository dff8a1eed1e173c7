//! Queries that may be answered by the cache: plain rows and plain pages. What [`crate::cache`] has is used before anybody
//! waits for a position; what PostgreSQL answers goes there with the places of its snapshot.

use std::sync::OnceLock;

use serde::de::DeserializeOwned;
use serde_json::value::to_raw_value;
use sqlx::{Postgres, QueryBuilder, Row as _};
use uuid::Uuid;
use writ_model::Position;

use super::{Error, ListRequest, Page, Queries, Row, Shown, Subject, View, bounded, read};
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
pub struct Keep(Option<Wanted>);

#[derive(Debug)]
struct Wanted {
    cache: Cache,
    ticket: Ticket,
    /// What its reader sees: the answer to somebody else isn't it.
    of: Uuid,
}

impl Keep {
    fn of(self, subject: &Subject<'_>) -> Option<Wanted> {
        self.0.filter(|wanted| wanted.of == fingerprint(subject))
    }
}

impl Wanted {
    async fn keep(self, places: Option<String>, answer: &impl serde::Serialize) {
        let places = places.and_then(|places| serde_json::from_str::<Places>(&places).ok());
        if let (Some(places), Ok(body)) = (places, to_raw_value(answer)) {
            self.cache.keep(self.ticket, &places, &body).await;
        }
    }
}

/// Stands for what the reader sees: equal for two who see the same. A name-based UUID, so that nobody can make up an actor
/// who gets the answers of another one.
fn fingerprint(subject: &Subject<'_>) -> Uuid {
    let visible = subject.visible();
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{:?} {:?}", visible.rows, visible.hidden).as_bytes())
}

impl Queries {
    /// The row of [`Queries::get`], if the cache has it with all of `positions`. It keeps whole rows, for those who may read
    /// every row and all of it: a change is announced under the row's own key, so there is one entry for each row.
    pub async fn cached(&self, subject: &Subject<'_>, id: Uuid, positions: &[Position]) -> Cached<Row> {
        if !subject.is_whole() {
            return Cached::Absent(Keep(None));
        }
        self.look(subject, What::Row(id), positions).await
    }

    /// The page of [`Queries::list`], if the cache has it with all of `positions`. `asked`: the parameters as they came. Together
    /// with what the reader sees they stand for the page: readers who see the same share it.
    pub async fn cached_list(
        &self,
        request: &ListRequest<'_>,
        asked: &str,
        positions: &[Position],
    ) -> Cached<Page> {
        // Other models' rows change without a word in this one's places.
        if !request.shown.expand.is_empty() {
            return Cached::Absent(Keep(None));
        }
        let asked = format!("{}{asked}", fingerprint(&request.subject));
        self.look(&request.subject, What::List(&asked), positions).await
    }

    async fn look<T: DeserializeOwned>(
        &self,
        subject: &Subject<'_>,
        what: What<'_>,
        positions: &[Position],
    ) -> Cached<T> {
        let Some(cache) = &self.cache else { return Cached::Absent(Keep(None)) };
        let layout = self.view_of(subject.asked).layout;
        match cache.look(subject.name, what, layout, positions).await {
            Lookup::Hit(body) => match serde_json::from_str(body.get()) {
                Ok(answer) => Cached::Found(answer),
                Err(_) => Cached::Absent(Keep(None)),
            },
            Lookup::Miss(ticket) => {
                let of = fingerprint(subject);
                Cached::Absent(Keep(Some(Wanted { cache: cache.clone(), ticket, of })))
            }
            Lookup::Off => Cached::Absent(Keep(None)),
        }
    }

    /// The aggregate with this id, unless it is deleted or the reader may not read it; goes into the cache if it may be
    /// [kept](Keep).
    pub async fn get_keeping(
        &self,
        subject: &Subject<'_>,
        id: Uuid,
        keep: Keep,
    ) -> Result<Option<Row>, Error> {
        let Some(wanted) = keep.of(subject) else { return self.get(subject, id).await };
        let mut sql = self.one(subject, id, |sql, view| {
            self.columns(sql, view, subject, &Shown::default());
            sql.push(", ").push(self.places(subject.name));
        });
        let found = bounded(sql.build().fetch_optional(&self.pool)).await?;
        let Some(found) = found else { return Ok(None) };
        let row = read(&found)?;
        wanted.keep(found.try_get(PLACES)?, &row).await;
        Ok(Some(row))
    }

    /// A page of a model's rows; goes into the cache if it may be [kept](Keep).
    pub async fn list_keeping(&self, request: &ListRequest<'_>, keep: Keep) -> Result<Page, Error> {
        let Some(wanted) = keep.of(&request.subject) else { return self.list(request).await };
        let columns = |sql: &mut QueryBuilder<Postgres>, view: &View| {
            self.row(sql, view, request);
            sql.push(", ").push(self.places(request.subject.name));
        };
        let places = OnceLock::new();
        let page = self
            .page(request, columns, |row| {
                // The same in every row.
                let of_row = row.try_get::<Option<String>, _>(PLACES)?;
                places.get_or_init(|| of_row);
                read(row)
            })
            .await?;
        wanted.keep(places.into_inner().flatten(), &page).await;
        Ok(page)
    }

    /// The places of a model's rows in the statement's snapshot, as JSON text.
    fn places(&self, model: &str) -> String {
        format!(
            "(SELECT json_object_agg(places.partition, places.next)::text FROM {} AS places JOIN {} AS entry \
             ON entry.name = places.projection AND entry.generation = places.generation \
             WHERE entry.name = {} AND entry.state <> 'building')",
            self.schema.table(OFFSETS),
            self.schema.table(PROJECTIONS),
            literal(model)
        )
    }
}
