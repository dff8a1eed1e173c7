//! What a statement may touch: it writes its own table, and reads that and the event.

use std::collections::HashSet;
use std::ops::{ControlFlow, Range};

use sqlparser::ast::{
    Cte, DataType, Expr, FromTable, Function, FunctionArguments, Ident, ObjectName, OnInsert, Query, SetExpr,
    Statement, TableFactor, TableObject, Value, Visit, Visitor, With, visit_relations,
};

use super::super::report::{Hint, shown};
use super::{Fault, Places, Target, forms, functions};

const OTHER_TABLE: &str = "a statement reads its own table and the event only: at a rebuild another table would hold other \
                           rows than it does now. Keep what you need in columns of your own, by statements for other events";

/// The faults of a statement, in the order of its parts.
pub(super) fn check(statement: &Statement, target: &Target<'_>, places: &Places<'_>) -> Vec<Fault> {
    let mut rules = Rules { target, places, faults: Vec::new(), scopes: Vec::new(), skipped: HashSet::new() };
    let _ = statement.visit(&mut rules);
    rules.faults
}

pub(super) struct Rules<'a> {
    pub(super) target: &'a Target<'a>,
    places: &'a Places<'a>,
    faults: Vec<Fault>,
    /// The names that the `WITH` of each query around gives.
    scopes: Vec<HashSet<String>>,
    /// Names that are judged already: by address, the tree doesn't move.
    skipped: HashSet<*const ObjectName>,
}

impl Rules<'_> {
    pub(super) fn fault(&mut self, span: Range<usize>, message: impl Into<String>, hint: impl Into<Hint>) {
        self.faults.push(Fault::new(span, message, hint));
    }

    /// Where a name stands.
    fn place(&self, name: &ObjectName) -> Range<usize> {
        let spans = name.0.iter().filter_map(|part| part.as_ident()).map(|part| self.places.range(part.span));
        let joined = spans.reduce(|first, last| first.start..last.end.max(first.end));
        joined.unwrap_or(0..self.places.text.len())
    }

    pub(super) fn place_of(&self, ident: &Ident) -> Range<usize> {
        self.places.range(ident.span)
    }

    /// A table that is written.
    fn check_target(&mut self, name: &ObjectName) {
        self.skipped.insert(std::ptr::from_ref(name));
        if self.is_qualified(name) {
            return;
        }
        if let Some(table) = self.target.table
            && last(name).as_deref() != Some(table)
        {
            let message = format!("{} isn't the table of this projection", shown(&name.to_string()));
            self.fault(self.place(name), message, format!("it writes `{table}` only"));
        }
    }

    /// A table that is read, unless it is a part of the query itself.
    fn check_source(&mut self, name: &ObjectName) {
        if !self.skipped.insert(std::ptr::from_ref(name)) || self.is_qualified(name) {
            return;
        }
        let is_known =
            |last: &String| self.is_own(last) || self.scopes.iter().any(|names| names.contains(last));
        if last(name).as_ref().is_none_or(|last| !is_known(last)) {
            let message = format!("{} is another table", shown(&name.to_string()));
            self.fault(self.place(name), message, OTHER_TABLE);
        }
    }

    fn is_own(&self, name: &str) -> bool {
        self.target.table.is_none_or(|table| table == name)
    }

    fn is_qualified(&mut self, name: &ObjectName) -> bool {
        if name.0.len() < 2 {
            return false;
        }
        let bare = name.0.last().map(ToString::to_string).unwrap_or_default();
        let message = format!("{} names a schema", shown(&name.to_string()));
        let hint = format!("write `{bare}` alone: while it is built anew the table stands in another schema");
        self.fault(self.place(name), message, hint);
        true
    }

    fn check_function(&mut self, name: &ObjectName, arguments: usize) {
        self.skipped.insert(std::ptr::from_ref(name));
        let parts: Vec<String> =
            name.0.iter().map(|part| part.as_ident().map(folded).unwrap_or_default()).collect();
        let Some((function, schema)) = parts.split_last() else { return };
        if !matches!(schema, [] | [_] if schema.iter().all(|schema| schema == "pg_catalog")) {
            let message = format!("{} is a function of another schema", shown(&name.to_string()));
            self.fault(self.place(name), message, "use the functions that PostgreSQL itself has");
            return;
        }
        if let Some(hint) = functions::refused(function, arguments) {
            let message = format!("{} depends on more than the event and the table", shown(function));
            self.fault(self.place(name), message, hint);
        }
    }

    fn check_text(&mut self, expr: &Expr, ty: &DataType) {
        let Expr::Value(value) = expr else { return };
        let (Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text)) = &value.value else {
            return;
        };
        let is_time = matches!(ty, DataType::Date | DataType::Timestamp(..) | DataType::Time(..))
            || ty.to_string().to_lowercase().starts_with("time");
        if let (true, Some(hint)) = (is_time, functions::refused_text(text)) {
            let message = format!("'{}' depends on more than the event and the table", text.trim());
            self.fault(self.places.range(value.span), message, hint);
        }
    }

    /// The names that a `WITH` gives. A query in it sees those before it, and with RECURSIVE all.
    fn open(&mut self, with: Option<&With>) {
        let names: Vec<String> =
            with.iter().flat_map(|with| &with.cte_tables).map(|cte| folded(&cte.alias.name)).collect();
        if let Some(with) = with.filter(|with| !with.recursive) {
            for (index, cte) in with.cte_tables.iter().enumerate() {
                self.refuse_early(cte, &names[index..]);
            }
        }
        self.scopes.push(names.into_iter().collect());
    }

    fn refuse_early(&mut self, cte: &Cte, later: &[String]) {
        let mut early: Vec<Range<usize>> = Vec::new();
        let _ = visit_relations(&*cte.query, |name| {
            let own = last(name).filter(|name| !self.is_own(name) && later.contains(name));
            let outer = |name: &String| self.scopes.iter().any(|names| names.contains(name));
            if own.is_some_and(|name| !outer(&name)) {
                early.push(self.place(name));
            }
            ControlFlow::<()>::Continue(())
        });
        for span in early {
            let text = shown(&self.places.text[span.clone()]);
            self.fault(span, format!("{text} is another table here"), OTHER_TABLE);
        }
    }

    fn check_body(&mut self, body: &SetExpr) {
        let mut bodies = vec![body];
        while let Some(body) = bodies.pop() {
            match body {
                SetExpr::SetOperation { left, right, .. } => bodies.extend([&**right, &**left]),
                SetExpr::Table(table) => {
                    let message = format!("{} can't be used here", shown(&table.to_string()));
                    let whole = 0..self.places.text.trim_end().len();
                    self.fault(whole, message, "write `SELECT * FROM …`");
                }
                _ => {}
            }
        }
    }
}

impl Visitor for Rules<'_> {
    type Break = ();

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        match statement {
            Statement::Insert(insert) => {
                match &insert.table {
                    TableObject::TableName(name) => self.check_target(name),
                    TableObject::TableFunction(_) | TableObject::TableQuery(_) => {
                        self.fault(
                            0..self.places.text.trim_end().len(),
                            "INSERT names no table",
                            forms::HINT,
                        );
                    }
                }
                if insert.replace_into || matches!(insert.on, Some(OnInsert::DuplicateKeyUpdate(_))) {
                    let hint = "write `INSERT … ON CONFLICT (key) DO UPDATE SET …`";
                    self.fault(0..self.places.text.trim_end().len(), "PostgreSQL has no such INSERT", hint);
                }
                self.check_insert(insert);
            }
            Statement::Update(update) => {
                self.check_factor(&update.table.relation);
                self.check_assignments(&update.assignments);
            }
            Statement::Delete(delete) => {
                let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = &delete.from;
                for table in tables {
                    self.check_factor(&table.relation);
                }
            }
            Statement::Merge(merge) => {
                self.check_factor(&merge.table);
                self.check_merge(merge);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.open(query.with.as_ref());
        self.check_body(&query.body);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.scopes.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let sample = match factor {
            TableFactor::Table { name, args: Some(args), sample, .. } => {
                self.check_function(name, args.args.len());
                sample
            }
            TableFactor::Table { sample, .. } | TableFactor::Derived { sample, .. } => sample,
            TableFactor::Function { name, args, .. } => {
                self.check_function(name, args.len());
                &None
            }
            _ => &None,
        };
        if sample.is_some() {
            let hint = "take all rows, or say which: a rebuild must give the same rows";
            self.fault(
                0..self.places.text.trim_end().len(),
                "TABLESAMPLE depends on more than the event and the table",
                hint,
            );
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<()> {
        self.check_source(name);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(Function { name, args, .. }) => {
                let count = match args {
                    FunctionArguments::List(list) => list.args.len(),
                    FunctionArguments::Subquery(_) => 1,
                    FunctionArguments::None => 0,
                };
                self.check_function(name, count);
            }
            // Without brackets they are names to the parser.
            Expr::Identifier(name) if name.quote_style.is_none() => {
                let word = folded(name);
                let is_known = self.target.columns.contains_key(&word);
                if let Some(hint) = functions::refused(&word, 0).filter(|_| !is_known && is_bare(&word)) {
                    let message = format!("{} depends on more than the event and the table", shown(&word));
                    self.fault(self.place_of(name), message, hint);
                }
            }
            Expr::CompoundIdentifier(parts) => self.check_compound(parts),
            Expr::Cast { expr, data_type, .. } => self.check_text(expr, data_type),
            Expr::TypedString(typed) => {
                let (Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text)) =
                    &typed.value.value
                else {
                    return ControlFlow::Continue(());
                };
                if let Some(hint) = functions::refused_text(text) {
                    let message = format!("'{}' depends on more than the event and the table", text.trim());
                    self.fault(self.places.range(typed.value.span), message, hint);
                }
            }
            Expr::Interval(interval) => {
                if let Expr::Value(value) = &*interval.value
                    && let Value::Placeholder(name) = &value.value
                {
                    let message = format!("{} can't stand behind INTERVAL", shown(name));
                    let hint = format!(
                        "multiply: `{name} * interval '1 day'`; a duration is a number of milliseconds"
                    );
                    self.fault(self.places.range(value.span), message, hint);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

impl Rules<'_> {
    /// The table that UPDATE, DELETE or MERGE changes.
    fn check_factor(&mut self, factor: &TableFactor) {
        match factor {
            TableFactor::Table { name, args: None, .. } => self.check_target(name),
            other => {
                let message = format!("{} isn't a table", shown(&other.to_string()));
                let hint = "name the table of the projection alone";
                self.fault(0..self.places.text.trim_end().len(), message, hint);
            }
        }
    }
}

/// Functions of SQL that are called without brackets.
fn is_bare(word: &str) -> bool {
    word.starts_with("current_") || word.starts_with("local") || word.ends_with("_user") || word == "user"
}

/// The last part of a name, as PostgreSQL reads it.
fn last(name: &ObjectName) -> Option<String> {
    name.0.last().and_then(|part| part.as_ident()).map(folded)
}

/// As PostgreSQL reads a name: in lower case, unless in quotes.
pub(super) fn folded(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}
