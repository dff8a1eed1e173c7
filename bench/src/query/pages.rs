//! Deep pages: a list is walked from its beginning, the cursors on the way are kept, and the pages behind them are asked
//! for again and again.

use std::sync::Arc;

use anyhow::Result;
use rand::seq::IndexedRandom as _;

use super::cases::{Case, Goal, Shop};
use crate::connection::{Ask, Connection};

/// Before the number of the page in the name of a case.
pub(super) const PAGE: &str = ", page ";
/// Rows of a page.
const ROWS: usize = 50;
/// Rows that a step of the walk takes: as many as a page may have.
const STEP: usize = 1000;
/// The pages that are measured.
const PAGES: [usize; 4] = [1, 100, 1_000, 10_000];
/// Different pages around each of them, so that no answer is asked for twice in a row.
const AROUND: usize = 8;

/// Lists with an order that an index gives.
const LISTS: [(&str, &str); 3] = [
    ("all", ""),
    ("by number", "&sort=number"),
    ("status = shipped, newest first", "&status=shipped&sort=-ordered_on"),
];

/// A page of a list.
#[derive(Debug)]
pub(super) struct Deep {
    list: &'static str,
    query: &'static str,
    page: usize,
    /// What leads to it and to the pages near it; empty: to the first.
    cursors: Arc<[String]>,
}

impl Deep {
    /// Walks all lists.
    pub(super) async fn walk(address: &str, shop: &Shop) -> Result<Vec<Deep>> {
        let mut connection = Connection::open(address).await?;
        let mut found = Vec::new();
        for (list, query) in LISTS {
            found.push(Deep { list, query, page: 1, cursors: Arc::default() });
            let mut cursor: Option<String> = None;
            let mut row = 0;
            for page in PAGES.into_iter().filter(|page| *page > 1 && page * ROWS <= shop.orders) {
                let mut cursors = Vec::new();
                let target = (page - 1) * ROWS;
                // The last steps are short: each ends where a page begins.
                while cursors.len() < AROUND {
                    let limit = if row < target { STEP.min(target - row) } else { ROWS };
                    let after = cursor.as_ref().map(|cursor| format!("&after={cursor}")).unwrap_or_default();
                    let path = format!("/v1/order?limit={limit}{query}{after}");
                    let answer = connection.expect(Ask::get(path)).await?;
                    let Some(next) = answer["next"].as_str() else { break };
                    row += limit;
                    cursor = Some(escape(next));
                    if row >= target {
                        cursors.extend(cursor.clone());
                    }
                }
                if cursors.len() < AROUND {
                    break;
                }
                found.push(Deep { list, query, page, cursors: cursors.into() });
            }
        }
        connection.close().await;
        Ok(found)
    }

    /// The query for it.
    pub(super) fn case(self) -> Case {
        let Deep { list, query, page, cursors } = self;
        Case::new(format!("{list}{PAGE}{page}"), Goal::Indexed, move |_, rng| {
            let after = cursors.choose(rng).map(|cursor| format!("&after={cursor}")).unwrap_or_default();
            format!("/v1/order?limit={ROWS}{query}{after}")
        })
    }
}

/// A cursor as part of a URL.
fn escape(cursor: &str) -> String {
    cursor.replace('%', "%25").replace('+', "%2B").replace('=', "%3D").replace('/', "%2F")
}
