//! From the parsed text to the typed tree. Every fault is collected and its place marked [`Ty::Faulty`], which fits
//! everything, so one pass reports all that is wrong and nothing twice.

use std::collections::HashSet;
use std::ops::Range;

use bigdecimal::BigDecimal;
use cel::IdedExpr;
use cel::common::ast::{CallExpr, EntryExpr, Expr, ListExpr, LiteralValue, MapExpr, SelectExpr};
use indexmap::IndexMap;

use super::exact;
use super::parse::Parsed;
use super::tree::{Node, Typed};
use super::types::{Slot, Ty, object_slots};
use super::{Env, Fault, Given, OfChannel};
use crate::declaration::Field;
use crate::value::Value;

/// Deepest tree: bounds the stack of the evaluation.
const MAX_DEPTH: usize = 128;
/// The key of a channel: in its rules, and among the input that they are evaluated with.
pub(crate) const CHANNEL_KEY: &str = "key";

/// What a rule of a channel may name.
pub(super) struct ChannelNames {
    /// What `key` is, if the channel has one.
    key: Option<Slot>,
}
/// One pass over a parsed text.
pub(super) struct Checker<'a> {
    pub(super) parsed: &'a Parsed<'a>,
    pub(super) faults: Vec<Fault>,
    /// Further names and the items of the enclosing macros, innermost last.
    pub(super) items: Vec<(String, Slot)>,
    /// What the input is called.
    input_name: &'static str,
    /// Why it may lack a field.
    lacks: Option<&'static str>,
    input: Option<IndexMap<String, Slot>>,
    state: Option<IndexMap<String, Slot>>,
    /// `None`: it is no rule of a channel.
    channel: Option<ChannelNames>,
    /// What to say of them where they are absent.
    absent: Option<&'static str>,
    /// `state.token` and the like.
    secrets: HashSet<String>,
    depth: usize,
    too_deep: bool,
}

fn secrets(root: &str, fields: Option<&IndexMap<String, Field>>) -> impl Iterator<Item = String> {
    let secret = fields.into_iter().flat_map(IndexMap::values).filter(|field| field.secret);
    secret.map(move |field| format!("{root}.{}", field.name))
}

impl<'a> Checker<'a> {
    pub(super) fn new(parsed: &'a Parsed<'a>, env: Env<'_>, given: Given<'_>) -> Checker<'a> {
        Checker {
            parsed,
            faults: Vec::new(),
            items: given.names.to_vec(),
            input_name: given.input,
            lacks: given.lacks,
            input: env.input.map(object_slots),
            state: env.state.map(object_slots),
            channel: env.channel.map(|OfChannel { key }| ChannelNames { key: key.map(Slot::of_field) }),
            absent: given.absent,
            secrets: secrets(given.input, env.input).chain(secrets("state", env.state)).collect(),
            depth: 0,
            too_deep: false,
        }
    }

    /// Records a fault; what it returns stands in the tree for the faulty part.
    pub(super) fn fault(&mut self, span: Range<usize>, message: String, hint: Option<String>) -> Typed {
        let span = self.parsed.balanced(span);
        self.faults.push(Fault { span: span.clone(), message, hint });
        Typed::faulty(span)
    }

    /// Types one node and all below it.
    pub(super) fn check(&mut self, expr: &IdedExpr) -> Typed {
        if self.depth == MAX_DEPTH {
            let span = self.parsed.token(expr.id);
            if !std::mem::replace(&mut self.too_deep, true) {
                let hint = "split it into several `require` or `set` entries".to_owned();
                self.fault(
                    span.clone(),
                    format!("the expression is more than {MAX_DEPTH} operators deep"),
                    Some(hint),
                );
            }
            return Typed::faulty(span);
        }
        self.depth += 1;
        let mut typed = match &expr.expr {
            Expr::Literal(literal) => self.literal(expr.id, literal),
            Expr::Ident(name) => self.name(expr.id, name),
            Expr::Select(select) => self.select(expr.id, select),
            Expr::Call(call) => self.call(expr.id, call),
            Expr::List(list) => self.list(expr.id, list),
            Expr::Map(map) => self.object(expr.id, map),
            Expr::Struct(message) => {
                let span = self.parsed.token(expr.id);
                let message = format!("`{}{{…}}` is no type of the model language", message.type_name);
                self.fault(span, message, Some("write an object as {'name': value}".to_owned()))
            }
            Expr::Comprehension(_) | Expr::Unspecified => {
                let span = self.parsed.token(expr.id);
                self.fault(span, "this can't be read as an expression".to_owned(), None)
            }
        };
        self.depth -= 1;
        typed.span = self.parsed.balanced(typed.span);
        typed
    }

    fn literal(&mut self, id: u64, literal: &LiteralValue) -> Typed {
        let mut span = self.parsed.token(id);
        let (value, ty) = match literal {
            LiteralValue::Null => (Value::Null, Ty::Null),
            LiteralValue::Boolean(b) => (Value::Boolean(*b.inner()), Ty::Boolean),
            LiteralValue::Int(n) => {
                span.start = self.with_sign(span.start, *n.inner() < 0);
                (Value::Integer(*n.inner()), Ty::Integer)
            }
            LiteralValue::Double(approximation) => {
                // The digits are those of the source; the float of the parser only carries the sign.
                let digits = self.parsed.source[span.clone()].parse::<BigDecimal>().ok();
                let negative = approximation.inner().is_sign_negative();
                let span = self.with_sign(span.start, negative)..span.end;
                let Some(decimal) = digits.and_then(|d| exact::literal(if negative { -d } else { d })) else {
                    let hint = format!("decimals have at most {} digits", exact::MAX_LITERAL_DIGITS);
                    return self.fault(span, "the number is too long".to_owned(), Some(hint));
                };
                return Typed {
                    node: Node::Literal(Value::Decimal(decimal)),
                    slot: Slot::of(Ty::Decimal),
                    span,
                };
            }
            LiteralValue::String(text) if text.inner().contains('\0') => {
                return self.fault(span, "text can't hold the NUL character".to_owned(), None);
            }
            LiteralValue::String(text) => (Value::Text(text.inner().to_owned()), Ty::Text),
            LiteralValue::UInt(n) => {
                let hint = Some(format!("write {}", n.inner()));
                return self.fault(span, "there are no unsigned integers".to_owned(), hint);
            }
            LiteralValue::Bytes(_) => {
                let hint = Some("write text without the prefix `b`".to_owned());
                return self.fault(span, "there are no byte strings".to_owned(), hint);
            }
        };
        let nullable = ty == Ty::Null;
        Typed { node: Node::Literal(value), slot: Slot { ty, nullable }, span }
    }

    /// The start of a number with its sign, which is no part of the parser's token.
    fn with_sign(&self, start: usize, negative: bool) -> usize {
        let before = self.parsed.source[..start].trim_end();
        if negative && before.ends_with('-') { before.len() - 1 } else { start }
    }

    fn name(&mut self, id: u64, name: &str) -> Typed {
        let span = self.parsed.token(id);
        if let Some(depth) = self.items.iter().rev().position(|(item, _)| item == name) {
            let slot = self.items[self.items.len() - 1 - depth].1.clone();
            return Typed { node: Node::Item(depth), slot, span };
        }
        if let (CHANNEL_KEY, Some(slot)) = (name, self.channel.as_ref().and_then(|names| names.key.clone())) {
            return Typed { node: Node::Input(CHANNEL_KEY.to_owned()), slot, span };
        }
        match name {
            "id" if self.channel.is_some() && self.state.is_none() => {
                let hint = "`id` is that of the aggregate, of a channel with `of: MODEL`".to_owned();
                self.fault(span, "the channel has no `id`".to_owned(), Some(hint))
            }
            "now" => Typed { node: Node::Now, slot: Slot::of(Ty::Timestamp), span },
            "id" => Typed { node: Node::Id, slot: Slot::of(Ty::Uuid), span },
            "state" | "actor" => self.no_value(span, name),
            _ if name == self.input_name => self.no_value(span, name),
            _ => self.unknown_name(span, name),
        }
    }

    /// A name that is followed by the name of a field, without one.
    fn no_value(&mut self, span: Range<usize>, name: &str) -> Typed {
        let hint = match name {
            "actor" => "name a part: `actor.id` or `actor.roles`".to_owned(),
            _ => format!("name a field: `{name}.…`"),
        };
        self.fault(span, format!("`{name}` is no value by itself"), Some(hint))
    }

    /// The names that stand for themselves.
    pub(super) fn roots(&self) -> [&'static str; 5] {
        [self.input_name, "state", "now", "actor", "id"]
    }

    fn unknown_name(&mut self, span: Range<usize>, name: &str) -> Typed {
        let fields = |root: &str, slots: &Option<IndexMap<String, Slot>>| {
            slots.as_ref().is_some_and(|slots| slots.contains_key(name)).then(|| format!("{root}.{name}"))
        };
        let input = self.input_name;
        let hint = if let Some(path) = fields(input, &self.input).or_else(|| fields("state", &self.state)) {
            format!("did you mean `{path}`?")
        } else if name == "input" {
            format!("what is recorded is called `{input}.…` here")
        } else {
            let roots = self.roots();
            let key = self.channel.iter().filter_map(|names| names.key.as_ref().map(|_| CHANNEL_KEY));
            let known = roots.into_iter().chain(key).chain(self.items.iter().map(|(item, _)| item.as_str()));
            suggest(name, known).unwrap_or_else(|| {
                if self.channel.is_some() {
                    return "names are `state.…` and `id` with `of`, `key` with `key`, `now`, `actor.id`, `actor.roles`; text stands in quotes".to_owned();
                }
                let others: String = match input {
                    "input" => ", `actor.roles`".to_owned(),
                    _ => self.items.iter().map(|(item, _)| format!(", `{item}`")).collect(),
                };
                format!(
                    "names are `{input}.…`, `state.…`, `now`, `id`, `actor.id`{others}; text stands in quotes"
                )
            })
        };
        self.fault(span, format!("there is no name `{name}`"), Some(hint))
    }

    fn select(&mut self, id: u64, select: &SelectExpr) -> Typed {
        let name_span = self.parsed.name_after(self.parsed.token(id).end);
        let field = &select.field;
        if let Expr::Ident(root) = &select.operand.expr
            && !self.items.iter().any(|(item, _)| item == root)
            && let Some(typed) =
                self.root_field(root, self.parsed.token(select.operand.id).start, field, &name_span)
        {
            return typed;
        }
        let operand = self.check(&select.operand);
        let span = operand.span.start..name_span.end;
        match &operand.slot.ty {
            Ty::Faulty => Typed::faulty(span),
            Ty::Object(slots) => match slots.get(field) {
                Some(slot) => {
                    // What is null has no parts: the whole path may be missing.
                    let slot = Slot { ty: slot.ty.clone(), nullable: slot.nullable || operand.slot.nullable };
                    Typed { node: Node::Member(Box::new(operand), field.clone()), slot, span }
                }
                None => {
                    let hint = known_fields(field, slots.keys());
                    let of = self.parsed.source[operand.span.clone()].to_owned();
                    self.fault(name_span, format!("`{of}` has no field `{field}`"), hint)
                }
            },
            ty => {
                let hint = match ty {
                    Ty::List(_) => {
                        Some("a list has items: `list.map(item, item.field)`, `list[0].field`".to_owned())
                    }
                    Ty::Json => Some(
                        "json can only be compared and tested for null; declare an object for parts"
                            .to_owned(),
                    ),
                    _ => None,
                };
                let message = format!("{} has no field `{field}`", article(ty));
                self.fault(name_span, message, hint)
            }
        }
    }

    /// `input.field`, `state.field`, `actor.id`, `actor.roles`; `None` if `root` is none of them.
    fn root_field(
        &mut self,
        root: &str,
        start: usize,
        field: &str,
        name_span: &Range<usize>,
    ) -> Option<Typed> {
        let span = start..name_span.end;
        let slots = match root {
            "actor" => {
                return Some(match field {
                    "id" => Typed { node: Node::ActorId, slot: Slot { ty: Ty::Uuid, nullable: true }, span },
                    "roles" => {
                        let slot = Slot::of(Ty::List(Box::new(Slot::of(Ty::Text))));
                        Typed { node: Node::ActorRoles, slot, span }
                    }
                    _ => {
                        let hint = Some("an actor has `id` and `roles`".to_owned());
                        self.fault(name_span.clone(), format!("`actor` has no field `{field}`"), hint)
                    }
                });
            }
            "state" => &self.state,
            _ if root == self.input_name => &self.input,
            _ => return None,
        };
        let Some(slots) = slots else {
            let root_span = start..start + root.len();
            return Some(match (root, self.absent) {
                (_, Some(absent)) => self.fault(root_span, absent.to_owned(), None),
                ("state", None) if self.channel.is_some() => self.fault(
                    root_span,
                    "the channel is of no model, so there is no state".to_owned(),
                    Some("write `of: MODEL` for a channel of each of its aggregates".to_owned()),
                ),
                (_, None) if self.channel.is_some() => self.fault(
                    root_span,
                    "there is no input here".to_owned(),
                    Some(
                        "a channel's rules name `state.…` with `of`, `key` with `key`, `actor` and `now`"
                            .to_owned(),
                    ),
                ),
                ("state", None) => self.fault(
                    root_span,
                    "a creating command has no state yet".to_owned(),
                    Some("use `input.…`".to_owned()),
                ),
                _ => self.fault(
                    root_span,
                    "there is no input here".to_owned(),
                    Some("use `state.…`".to_owned()),
                ),
            });
        };
        let path = format!("{root}.{field}");
        if self.secrets.contains(&path) {
            let hint = "it is sealed before anything is decided; let another field hold what is asked here";
            let message = format!("`{path}` is secret, so no expression can use it");
            return Some(self.fault(name_span.clone(), message, Some(hint.to_owned())));
        }
        Some(match slots.get(field) {
            Some(slot) => {
                let node = if root == "state" {
                    Node::State(field.to_owned())
                } else {
                    Node::Input(field.to_owned())
                };
                Typed { node, slot: slot.clone(), span }
            }
            None => {
                let lacks = self.lacks.filter(|_| root == self.input_name);
                let near = || suggest(field, slots.keys().map(String::as_str));
                let hint = match lacks {
                    Some(lacks) => near().or_else(|| Some(lacks.to_owned())),
                    None => known_fields(field, slots.keys()),
                };
                self.fault(name_span.clone(), format!("`{root}` has no field `{field}`"), hint)
            }
        })
    }

    fn list(&mut self, id: u64, list: &ListExpr) -> Typed {
        let open = self.parsed.token(id).start;
        let span = open..self.parsed.close_of(open);
        let items: Vec<Typed> = list.elements.iter().map(|item| self.check(item)).collect();
        self.list_of(items, span)
    }

    /// A list literal of these items, widened to one type.
    pub(super) fn list_of(&mut self, items: Vec<Typed>, span: Range<usize>) -> Typed {
        let mut item = Slot::of(Ty::Never);
        for typed in &items {
            item = match item.unify(&typed.slot) {
                Some(unified) => unified,
                None => {
                    let message =
                        format!("{} stands in a list of {}", article(&typed.slot.ty), item.ty.plural());
                    return self.fault(
                        typed.span.clone(),
                        message,
                        Some("the items of a list have one type".to_owned()),
                    );
                }
            };
        }
        let items = items.into_iter().map(|typed| typed.widened(&item.ty)).collect();
        Typed { node: Node::List(items), slot: Slot::of(Ty::List(Box::new(item))), span }
    }

    fn object(&mut self, id: u64, map: &MapExpr) -> Typed {
        let open = self.parsed.token(id).start;
        let span = open..self.parsed.close_of(open);
        let (mut parts, mut slots) = (Vec::new(), IndexMap::new());
        for entry in &map.entries {
            let EntryExpr::MapEntry(entry) = &entry.expr else { continue };
            let value = self.check(&entry.value);
            match &entry.key.expr {
                Expr::Literal(LiteralValue::String(name)) => {
                    if slots.insert(name.inner().to_owned(), value.slot.clone()).is_some() {
                        let span = self.parsed.token(entry.key.id);
                        self.fault(span, format!("the field '{}' is given twice", name.inner()), None);
                    }
                    parts.push((name.inner().to_owned(), value));
                }
                _ => {
                    let span = self.parsed.token(entry.key.id);
                    let hint = Some("write {'name': value}".to_owned());
                    self.fault(span, "the fields of an object are named by text literals".to_owned(), hint);
                }
            }
        }
        Typed { node: Node::Object(parts), slot: Slot::of(Ty::Object(slots)), span }
    }

    fn call(&mut self, id: u64, call: &CallExpr) -> Typed {
        if let Some(typed) = self.operator(id, call) {
            return typed;
        }
        let open = self.parsed.token(id);
        // The parser marks `f(` by its bracket.
        let open = open.end.saturating_sub(1);
        let name_span = self.parsed.name_before(open);
        let end = self.parsed.close_of(open);
        if let Some(typed) = self.macro_call(call, &name_span, end) {
            return typed;
        }
        self.function(call, name_span, end)
    }
}

/// "did you mean", if a known name is close.
pub(super) fn suggest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<String> {
    let scored = known.map(|candidate| (strsim::jaro_winkler(name, candidate), candidate));
    let best = scored.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (best.0 >= 0.8).then(|| format!("did you mean `{}`?", best.1))
}

fn known_fields<'n>(name: &str, known: impl Iterator<Item = &'n String> + Clone) -> Option<String> {
    suggest(name, known.clone().map(String::as_str)).or_else(|| {
        let all: Vec<String> = known.map(|name| format!("`{name}`")).collect();
        (!all.is_empty()).then(|| format!("it has {}", all.join(", ")))
    })
}

/// The type with its article, at the start of a sentence or in one.
pub(super) fn article(ty: &Ty) -> String {
    match ty {
        Ty::Integer | Ty::Enum(_) | Ty::Object(_) => format!("an {ty}"),
        Ty::List(item) if item.ty == Ty::Never => format!("an {ty}"),
        Ty::Text | Ty::Json | Ty::Null | Ty::Never | Ty::Faulty => ty.to_string(),
        _ => format!("a {ty}"),
    }
}
