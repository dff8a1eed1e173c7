//! A list request: query-string parameters, typed and checked against what is asked. Pure.

use writ_model::FieldError;

use super::cursor;
use super::filter::{self, Filter, Words};
use super::page::{self, SortKey};
use super::select::{self, Shown};
use super::subject::{Subject, clip, suggest};
use crate::tables::fnv1a;

/// Rows of a page when the caller doesn't say.
const DEFAULT_LIMIT: usize = 50;
/// Most rows of a page.
pub const MAX_LIMIT: usize = 1000;
/// Most filters: the statement's size is bounded.
const MAX_FILTERS: usize = 32;
/// Parameters that are no filters. The model language keeps fields from having these names.
pub(super) const RESERVED: [&str; 8] = ["sort", "limit", "after", "count", "fields", "expand", "q", "format"];

/// A code and a sentence.
pub(super) type Problem = (&'static str, String);

/// The form in which all rows are streamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values (RFC 4180) with a header.
    Csv,
    /// One JSON object on each line.
    Ndjson,
}

/// A list request, typed and checked against its model or projection as its reader sees it.
#[derive(Debug, Clone)]
pub struct ListRequest<'a> {
    pub(super) subject: Subject<'a>,
    pub(super) filters: Vec<Filter>,
    pub(super) words: Option<Words>,
    /// Ends with the key, so that the order is total.
    pub(super) sort: Vec<SortKey>,
    pub(super) limit: usize,
    /// The sort keys of the row after which the page begins; SQL null as `None`.
    pub(super) after: Option<Vec<Option<String>>>,
    pub(super) count: bool,
    pub(super) shown: Shown,
    /// All rows are streamed in this form. `None`: a page.
    pub format: Option<Format>,
    /// Those of [`RESERVED`] that were given.
    pub(super) given: Vec<&'static str>,
    /// Of sort and filters: a cursor belongs to one query.
    pub(super) fingerprint: u64,
}

impl<'a> ListRequest<'a> {
    /// Reads the query string's parameters. Errors: every fault of every parameter; the pointer names the parameter
    /// (`/total[gte]`).
    pub fn parse(
        subject: Subject<'a>,
        params: &[(String, String)],
    ) -> Result<ListRequest<'a>, Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut request = ListRequest {
            subject: subject.clone(),
            filters: Vec::new(),
            words: None,
            sort: Vec::new(),
            limit: DEFAULT_LIMIT,
            after: None,
            count: false,
            shown: Shown::default(),
            format: None,
            given: Vec::new(),
            fingerprint: 0,
        };
        let (mut after, mut seen): (Option<&str>, Vec<&str>) = (None, Vec::new());
        for (name, value) in params {
            let outcome = if value.contains('\0') {
                Err(("nul_character", "a value can't hold the character U+0000".into()))
            } else if RESERVED.contains(&name.as_str()) && seen.contains(&name.as_str()) {
                Err(("repeated", format!("`{name}` is given twice")))
            } else if name == "after" {
                after = Some(value);
                Ok(())
            } else {
                request.take(&subject, name, value)
            };
            seen.push(name);
            errors.extend(outcome.err().map(|problem| fault(name, problem)));
        }
        if request.format.is_some() {
            for name in seen.iter().filter(|name| ["limit", "after", "count", "expand"].contains(name)) {
                let detail = "an export has all rows, one after the other; leave this out".into();
                errors.push(fault(name, ("not_exportable", detail)));
            }
        }
        request.given = RESERVED.into_iter().filter(|name| seen.contains(name)).collect();
        page::complete(&subject, &mut request.sort);
        request.fingerprint = request.fingerprint(&subject);
        if let Some(value) = after.filter(|_| errors.is_empty()) {
            match cursor::decode(&request, value) {
                Ok(values) => request.after = Some(values),
                Err(detail) => errors.push(fault("after", ("invalid_cursor", detail.to_owned()))),
            }
        }
        if errors.is_empty() { Ok(request) } else { Err(errors) }
    }

    fn take(&mut self, subject: &Subject<'_>, name: &str, value: &str) -> Result<(), Problem> {
        match name {
            "sort" => self.sort = page::parse(subject, value)?,
            "limit" => self.limit = limit(value)?,
            "count" => self.count = switch(value)?,
            "fields" => self.shown.fields = Some(select::fields(subject, value)?),
            "expand" => self.shown.expand = select::expand(subject, value)?,
            "q" => self.words = Some(filter::search(subject, value)?),
            "format" => self.format = Some(format(value)?),
            _ if self.filters.len() == MAX_FILTERS => {
                return Err(("too_many", format!("a query has at most {MAX_FILTERS} filters")));
            }
            _ => self.filters.push(filter::parse(subject, name, value)?),
        }
        Ok(())
    }

    fn fingerprint(&self, subject: &Subject<'_>) -> u64 {
        let filters = self.filters.iter().map(|filter| {
            serde_json::json!([filter.target.name, format!("{:?}", filter.operator), filter.values])
        });
        let sort = self.sort.iter().map(|key| serde_json::json!([key.target.name, key.descending]));
        let (filters, sort): (Vec<_>, Vec<_>) = (filters.collect(), sort.collect());
        let words = self.words.as_ref().map(|words| &words.query);
        fnv1a(serde_json::json!([subject.name, filters, sort, words]).to_string().as_bytes())
    }

    /// The name of the model or the projection.
    pub fn name(&self) -> &'a str {
        self.subject.name()
    }

    /// Whether what it shows depends on other rows than those of its model.
    pub fn expands(&self) -> bool {
        self.shown.expands()
    }

    /// The cursor of a row with these sort keys, a JSON array: for the fuzz targets, which can't guess its fingerprint.
    #[doc(hidden)]
    pub fn cursor(&self, values: &str) -> String {
        cursor::encode(self, values)
    }
}

impl Shown {
    /// Whether rows of other models are part of it.
    pub fn expands(&self) -> bool {
        !self.expand.is_empty()
    }

    /// Reads the parameters of a query for one row: `fields` and `expand`. Errors: as [`ListRequest::parse`].
    pub fn parse(subject: &Subject<'_>, params: &[(String, String)]) -> Result<Shown, Vec<FieldError>> {
        let (mut shown, mut errors) = (Shown::default(), Vec::new());
        for (name, value) in params {
            let repeated = params.iter().filter(|(other, _)| other == name).count() > 1;
            let outcome = match name.as_str() {
                "fields" | "expand" if repeated => Err(("repeated", format!("`{name}` is given twice"))),
                "fields" => select::fields(subject, value).map(|fields| shown.fields = Some(fields)),
                "expand" => select::expand(subject, value).map(|expand| shown.expand = expand),
                _ => {
                    let hint = suggest(name, ["fields", "expand", "as_of", "diff"].into_iter());
                    Err((
                        "unknown_parameter",
                        format!("there is no query parameter `{}`; {hint}", clip(name)),
                    ))
                }
            };
            errors.extend(outcome.err().map(|problem| fault(name, problem)));
        }
        if errors.is_empty() { Ok(shown) } else { Err(errors) }
    }
}

pub(super) fn fault(name: &str, (code, detail): Problem) -> FieldError {
    FieldError {
        pointer: format!("/{}", clip(name).replace('~', "~0").replace('/', "~1")),
        code: code.to_owned(),
        detail,
    }
}

fn limit(text: &str) -> Result<usize, Problem> {
    match text.parse() {
        Ok(limit) if (1..=MAX_LIMIT).contains(&limit) => Ok(limit),
        _ => Err(("out_of_range", format!("must be a whole number from 1 to {MAX_LIMIT}"))),
    }
}

fn switch(text: &str) -> Result<bool, Problem> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(("invalid_value", format!("`{}` is neither `true` nor `false`", clip(text)))),
    }
}

fn format(text: &str) -> Result<Format, Problem> {
    match text {
        "csv" => Ok(Format::Csv),
        "ndjson" => Ok(Format::Ndjson),
        _ => Err(("invalid_value", format!("there is no format `{}`; there are csv, ndjson", clip(text)))),
    }
}

#[cfg(test)]
mod tests;
