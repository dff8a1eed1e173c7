//! All rows of a query as one stream, in bounded memory.
//!
//! A task reads the rows as PostgreSQL sends them and writes them into pieces of text; a channel of a few pieces lies between
//! it and whoever sends them on. When nobody takes them the task waits, PostgreSQL's socket fills up, and PostgreSQL
//! waits too. That holds a lock on the table which a rebuilt one must wait for before it can take its place, so it
//! ends after [`PATIENCE`].
//!
//! Exports have connections of their own: however many there are, other queries find theirs free.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use sqlx::postgres::PgRow;
use sqlx::{Postgres, QueryBuilder, Row as _};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::request::{Format, ListRequest};
use super::{Error, Queries, item, page};

/// A piece is sent on once it has this many bytes.
const PIECE: usize = 64 * 1024;
/// Pieces that wait to be sent on.
const PIECES: usize = 4;
/// How long a caller may not take a piece.
const PATIENCE: Duration = Duration::from_secs(30);
/// PostgreSQL has begun to answer before this, or the export is refused.
const FIRST_ROW: Duration = Duration::from_secs(60);

/// Text in pieces, as it comes. It ends with an error if rows are missing: what was sent so far is then only a part.
#[derive(Debug)]
pub struct Export {
    pieces: mpsc::Receiver<Vec<u8>>,
    /// `None`: it has ended.
    work: Option<JoinHandle<Result<(), Error>>>,
}

impl Drop for Export {
    fn drop(&mut self) {
        // Nobody takes the rows any more.
        if let Some(work) = &self.work {
            work.abort();
        }
    }
}

impl Stream for Export {
    type Item = Result<Vec<u8>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.pieces.poll_recv(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(piece)) => return Poll::Ready(Some(Ok(piece))),
            Poll::Ready(None) => {}
        }
        // The task has let go of the channel: it says how it ended.
        let Some(work) = &mut self.work else { return Poll::Ready(None) };
        let outcome = std::task::ready!(Pin::new(work).poll(context));
        self.work = None;
        Poll::Ready(match outcome {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(Err(error)),
            Err(error) => Some(Err(Error::Failed(error.to_string()))),
        })
    }
}

impl Queries {
    /// All rows that `request` wants, in its order, as text in `format`. Returns when the first row is there, or it is known
    /// that there is none. Errors then: as a list's. Must be called within a tokio runtime.
    pub async fn export(&self, request: &ListRequest<'_>, format: Format) -> Result<Export, Error> {
        let subject = &request.subject;
        let view = self.view_of(subject.asked);
        let (mut sql, header) = match format {
            Format::Ndjson => {
                let item = item(&view, subject.visible(), &request.shown);
                (QueryBuilder::new(format!("SELECT {item}")), Vec::new())
            }
            Format::Csv => {
                let (header, columns): (Vec<String>, Vec<String>) =
                    request.shown.columns(subject).into_iter().unzip();
                (QueryBuilder::new(format!("SELECT ARRAY[{}]::text[]", columns.join(", "))), header)
            }
        };
        sql.push(format!(" FROM {} AS t WHERE ", view.table.qualified));
        view.condition(&mut sql, request);
        page::order(&mut sql, request);

        let lines = Lines::new(format, &header)?;
        let (sender, pieces) = mpsc::channel(PIECES);
        let (begun, begins) = oneshot::channel();
        let work = tokio::spawn(run(self.clone(), sql, lines, sender, begun));
        let mut export = Export { pieces, work: Some(work) };
        match tokio::time::timeout(FIRST_ROW, begins).await {
            Ok(Ok(())) => Ok(export),
            // It ended before it began: it says why.
            Ok(Err(_)) => match export.next().await {
                Some(Err(error)) => Err(error),
                _ => Err(Error::Failed("the export ended without a reason".into())),
            },
            Err(_) => Err(Error::Unavailable(format!("no row within {} s", FIRST_ROW.as_secs()))),
        }
    }
}

async fn run(
    queries: Queries,
    mut sql: QueryBuilder<Postgres>,
    mut lines: Lines,
    pieces: mpsc::Sender<Vec<u8>>,
    begun: oneshot::Sender<()>,
) -> Result<(), Error> {
    // Never used again: rows that were not read would have to be read by the next one.
    let mut connection = queries.exports.acquire().await?;
    connection.close_on_drop();
    let mut begun = Some(begun);
    let mut rows = sql.build().persistent(false).fetch(&mut *connection);
    loop {
        let row = rows.next().await.transpose()?;
        if let Some(begun) = begun.take() {
            // The caller may have gone; the channel says so too.
            let _ = begun.send(());
        }
        let Some(row) = row else { break };
        lines.add(&row)?;
        if lines.size() >= PIECE {
            send(&pieces, lines.take()?).await?;
        }
    }
    send(&pieces, lines.take()?).await
}

async fn send(pieces: &mpsc::Sender<Vec<u8>>, piece: Vec<u8>) -> Result<(), Error> {
    match pieces.send_timeout(piece, PATIENCE).await {
        Ok(()) => Ok(()),
        Err(_) => Err(Error::Unavailable(format!(
            "an export was cut: its caller took nothing for {} s, or is gone",
            PATIENCE.as_secs()
        ))),
    }
}

/// Rows as text.
enum Lines {
    Csv {
        writer: Box<csv::Writer<Vec<u8>>>,
        /// Bytes of the values so far.
        size: usize,
    },
    Ndjson(Vec<u8>),
}

impl Lines {
    fn new(format: Format, header: &[String]) -> Result<Lines, Error> {
        Ok(match format {
            Format::Ndjson => Lines::Ndjson(Vec::new()),
            Format::Csv => {
                let mut writer = csv_writer();
                writer.write_record(header).map_err(unwritten)?;
                Lines::Csv { writer, size: 0 }
            }
        })
    }

    /// Bytes, about.
    fn size(&self) -> usize {
        match self {
            Lines::Csv { size, .. } => *size,
            Lines::Ndjson(text) => text.len(),
        }
    }

    fn add(&mut self, row: &PgRow) -> Result<(), Error> {
        match self {
            Lines::Ndjson(text) => {
                text.extend_from_slice(row.try_get::<&str, _>(0)?.as_bytes());
                text.push(b'\n');
            }
            Lines::Csv { writer, size } => {
                let values: Vec<Option<String>> = row.try_get(0)?;
                let values = values.iter().map(|value| value.as_deref().unwrap_or_default());
                *size += values.clone().map(|value| value.len() + 1).sum::<usize>();
                writer.write_record(values).map_err(unwritten)?;
            }
        }
        Ok(())
    }

    fn take(&mut self) -> Result<Vec<u8>, Error> {
        match self {
            Lines::Ndjson(text) => Ok(std::mem::take(text)),
            Lines::Csv { writer, size } => {
                *size = 0;
                std::mem::replace(writer, csv_writer())
                    .into_inner()
                    .map_err(|error| unwritten(error.into_error().into()))
            }
        }
    }
}

/// As RFC 4180 has it.
fn csv_writer() -> Box<csv::Writer<Vec<u8>>> {
    Box::new(csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new()))
}

fn unwritten(error: csv::Error) -> Error {
    Error::Failed(error.to_string())
}
