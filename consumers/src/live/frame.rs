//! A change as the subscribers of one view get it: written once, shared by all.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use serde::Serialize;
use writ_model::{Model, Position};

use super::change::Change;
use super::resume::{Place, Resume};
use super::views::View;

/// What the change is to a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The row was not among its rows, and is now.
    Enter,
    /// It was and is.
    Change,
    /// It was and is no more: deleted, or it doesn't match, or may not be read any more.
    Leave,
}

impl Kind {
    /// As in `type`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Enter => "enter",
            Kind::Change => "change",
            Kind::Leave => "leave",
        }
    }
}

/// One change as one view shows it.
#[derive(Debug)]
pub struct Frame {
    /// What it is to the view.
    pub kind: Kind,
    /// Where the event stands. `None`: a row of an SQL projection, which isn't changed by one event.
    pub position: Option<Position>,
    /// Where to go on behind it.
    pub resume: Resume,
    /// Frames that belong to this one follow at once: where this one says to go on there is nothing to go on from.
    pub more: bool,
    body: String,
    /// Bytes of the body before the resume.
    head: usize,
    /// The last name under which it was asked for, and the message.
    message: Mutex<Option<(Box<str>, Bytes)>>,
}

impl Frame {
    /// `place_text` is the text of `place`.
    pub(super) fn new(
        model: &Model,
        view: &View,
        change: &Change,
        kind: Kind,
        (place, place_text): (&Place, &str),
    ) -> Frame {
        let position = change.position(model);
        // Names of models, ids and positions need no escapes.
        let mut body =
            format!(r#""type":"{}","model":"{}","id":"{}""#, kind.name(), model.name, change.aggregate());
        if kind != Kind::Leave {
            let event = json(&change.event(model, view.matching().visible()));
            let row = view.row(model, change);
            body.push_str(&format!(r#","version":{},"event":{event},"row":{row}"#, change.happened.version));
        }
        body.push_str(&format!(r#","position":"{position}""#));
        let resume = place.of(view.identity());
        let text = resume.text(place_text);
        Frame::with(kind, Some(position), resume, body, &text)
    }

    /// What becomes of a row of an SQL projection. `row`: the JSON texts of its key and, unless it leaves, of itself.
    pub(super) fn of_row(
        projection: &str,
        kind: Kind,
        (key, row): (&str, Option<&str>),
        resume: Resume,
        more: bool,
    ) -> Frame {
        // Names of projections need no escapes.
        let mut body = format!(r#""type":"{}","projection":"{projection}","key":{key}"#, kind.name());
        if let Some(row) = row {
            body.push_str(r#","row":"#);
            body.push_str(row);
        }
        let text = resume.to_string();
        Frame { more, ..Frame::with(kind, None, resume, body, &text) }
    }

    fn with(
        kind: Kind,
        position: Option<Position>,
        resume: Resume,
        mut body: String,
        resume_text: &str,
    ) -> Frame {
        let head = body.len();
        body.push_str(&format!(r#","resume":"{resume_text}""#));
        body.shrink_to_fit();
        Frame { kind, position, resume, more: false, body, head, message: Mutex::default() }
    }

    /// The same frame for a subscription that goes on elsewhere.
    pub(super) fn resuming_at(&self, resume: Resume) -> Frame {
        let text = resume.to_string();
        Frame::with(self.kind, self.position.clone(), resume, self.body[..self.head].to_owned(), &text)
    }

    /// The members of the JSON object, without braces: `"type":"change","model":"order","id":"…","version":3,"event":{…},
    /// "row":{…},"position":"order:5:1234","resume":"…"`. Of a `leave`: type, model, id, position and resume only. Of a row of an
    /// SQL projection: `"type":"change","projection":"daily_sales","key":{…},"row":{…},"resume":"…"`, of a `leave` without the row.
    pub fn body(&self) -> &str {
        &self.body
    }

    /// `{"sub":"a",<body>}`, UTF-8. Made once for all that have given their subscription the same name, as long as none comes between with another.
    pub fn message(&self, sub: &str) -> Bytes {
        let mut last = self.message.lock();
        if let Some((name, message)) = &*last
            && **name == *sub
        {
            return message.clone();
        }
        let message = Bytes::from(format!(r#"{{"sub":{},{}}}"#, json(sub), self.body));
        *last = Some((sub.into(), message.clone()));
        message
    }
}

fn json(value: &(impl Serialize + ?Sized)) -> String {
    serde_json::to_string(value).expect("invariant: values, texts and maps with text keys are JSON")
}

/// Shared by all subscriptions of a view.
pub(super) type Shared = Arc<Frame>;
