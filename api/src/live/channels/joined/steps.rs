//! What is done of a socket's channels, as futures that have all that they need.

use std::sync::Arc;

use serde_json::value::to_raw_value;
use serde_json::{Value as Json, json};
use uuid::Uuid;
use writ_model::Object;
use writ_model::access::Deed;
use writ_model::declaration::Channel;
use writ_model::value::object_to_json;

use super::super::admission::{Followed, Which, away};
use super::super::room::Entry;
use super::super::{NotListed, text};
use super::{All, Broadcast, Ending, Join, Member, Presence, Step};
use crate::app::{App, Shared};
use crate::caller::Caller;
use crate::clock;
use crate::metrics::LIVE_CHANNEL_MESSAGES_TOTAL;
use crate::problem::{Kind, Problem};

/// Bytes of what a member says of itself: everybody in the channel gets it.
const MAX_STATE: usize = 4 * 1024;

/// What has become of a step.
pub(super) enum Done {
    Joined { sub: String, result: Result<(Box<Member>, Vec<Entry>), Problem> },
    Said { sub: String, reference: Option<String>, result: Result<(), Problem> },
    Asked(Vec<(Box<str>, Verdict)>),
}

/// Whether a member may stay.
pub(super) enum Verdict {
    /// With another subscription to the aggregate, if the channel is of one.
    Stays(Option<Followed>),
    /// With the state of the aggregate as it is now.
    StaysWith(Arc<Object>),
    Ends(Problem),
}

impl All {
    /// Begins a step; one that needs nothing from elsewhere is done at once.
    pub(super) fn start(&mut self, step: Step, app: &Shared, caller: &Caller) {
        let (app, caller) = (app.clone(), caller.clone());
        match step {
            Step::Join(join) => {
                self.joining = Some(join.sub.clone());
                let waker = self.waker.clone();
                self.running = Some(Box::pin(async move {
                    let sub = join.sub.clone();
                    Done::Joined { sub, result: join_channel(&app, &caller, join, waker).await }
                }));
            }
            Step::Leave(sub) => self.end(&sub, Ending::Unsubscribed, None),
            Step::Broadcast(broadcast) => {
                let Some(member) = self.find(&broadcast.sub) else {
                    return self.refuse(&broadcast.sub, broadcast.reference.as_deref(), &left());
                };
                let (which, id) = (member.which.clone(), member.taken.member);
                let state = member.followed.as_ref().map(|followed| followed.state.clone());
                self.running = Some(Box::pin(async move {
                    let Broadcast { sub, event, payload, reference, echo } = broadcast;
                    let result = match which.check(Deed::Send, state.as_deref(), &caller) {
                        Ok(()) => publish(&app, &caller, &which, (&event, &payload), (Some(id), echo)).await,
                        Err(problem) => Err(problem),
                    };
                    Done::Said { sub, reference, result }
                }));
            }
            Step::Presence(Presence { sub, state, reference }) => {
                let Some(member) = self.find(&sub) else {
                    return self.refuse(&sub, reference.as_deref(), &left());
                };
                let (which, taken, since) =
                    (member.which.clone(), member.taken.clone(), member.since.clone());
                self.running = Some(Box::pin(async move {
                    let entry = match state {
                        Some(state) => {
                            entry(&which.channel, &state, (taken.member, &caller, &since)).map(Some)
                        }
                        None => needs_list(&which.channel).map(|_| None),
                    };
                    let result = match entry {
                        Ok(entry) => taken.put(entry).await.map_err(|error| not_listed(&error)),
                        Err(problem) => Err(problem),
                    };
                    Done::Said { sub, reference, result }
                }));
            }
            Step::AskAgain => {
                let members: Vec<_> =
                    self.members.iter().map(|member| (member.sub.clone(), member.which.clone())).collect();
                self.running = Some(Box::pin(async move {
                    let mut verdicts = Vec::with_capacity(members.len());
                    for (sub, which) in members {
                        let verdict = match which.join(&app, &caller).await {
                            Ok(followed) => Verdict::Stays(followed),
                            Err(problem) => Verdict::Ends(problem),
                        };
                        verdicts.push((sub, verdict));
                    }
                    Done::Asked(verdicts)
                }));
            }
            Step::Changed(sub, version) => {
                let which = self.find(&sub).map(|member| member.which.clone());
                self.running = Some(Box::pin(async move {
                    let Some(which) = which else { return Done::Asked(Vec::new()) };
                    let verdict = match which.stay(&app, &caller, version).await {
                        Ok(state) => Verdict::StaysWith(state),
                        Err(problem) => Verdict::Ends(problem),
                    };
                    Done::Asked(vec![(sub, verdict)])
                }));
            }
        }
    }
}

async fn join_channel(
    app: &App,
    caller: &Caller,
    join: Join,
    waker: Arc<futures::task::AtomicWaker>,
) -> Result<(Box<Member>, Vec<Entry>), Problem> {
    let Join { sub, channel, id, key, state } = join;
    let which = Arc::new(Which::read(app, &channel, id, key)?);
    let followed = which.join(app, caller).await?;
    let since: Arc<str> = clock::now().to_string().into();
    if let Some(state) = &state {
        // Before anything is taken.
        entry(&which.channel, state, (Uuid::nil(), caller, &since))?;
    }
    let taken = app.live.channels.enter(&which.channel, &which.name()).await.map_err(|_| away())?;
    if let Some(state) = &state {
        let entry = entry(&which.channel, state, (taken.member, caller, &since))?;
        taken.put(Some(entry)).await.map_err(|error| not_listed(&error))?;
    }
    let (seat, list) = taken.sit(waker);
    let member = Member { sub: sub.into(), which, taken: Arc::new(taken), seat, followed, since };
    Ok((Box::new(member), list))
}

/// Publishes what somebody says, who may.
pub(in super::super) async fn publish(
    app: &App,
    caller: &Caller,
    which: &Which,
    (event, payload): (&str, &Json),
    (member, echo): (Option<Uuid>, bool),
) -> Result<(), Problem> {
    let invalid = |errors| Problem::of_errors(Kind::InvalidInput, errors);
    let payload = which.channel.payload(event, payload).map_err(invalid)?;
    let (account, at) = (caller.actor.id, clock::now().to_string());
    let said = text::Broadcast { event, payload: &payload, member, account, at, echo };
    let (channel, published) = (&which.channel.name, said.published());
    app.live.channels.publish(channel, &which.name(), &published).await.map_err(|_| away())?;
    metrics::counter!(LIVE_CHANNEL_MESSAGES_TOTAL, "direction" => "in").increment(1);
    Ok(())
}

/// What others see of a member.
fn entry(
    channel: &Channel,
    state: &Json,
    (member, caller, since): (Uuid, &Caller, &str),
) -> Result<Entry, Problem> {
    let fields = needs_list(channel)?;
    let typed = Channel::state(fields, state).map_err(|errors| {
        let below = |mut error: writ_model::FieldError| {
            error.pointer = format!("/state{}", error.pointer);
            error
        };
        Problem::of_errors(Kind::InvalidInput, errors.into_iter().map(below).collect())
    })?;
    let state = object_to_json(&typed);
    if text::json(&state).len() > MAX_STATE {
        let detail = format!("`state` has more than {MAX_STATE} bytes.");
        return Err(Problem::at(Kind::InvalidInput, "/state", "too_long", detail));
    }
    let account = caller.actor.id;
    let entry = json!({ "member": member, "account": account, "state": state, "since": since });
    Ok(to_raw_value(&entry).expect("invariant: values are JSON").into())
}

/// The fields that members say of themselves.
fn needs_list(channel: &Channel) -> Result<&indexmap::IndexMap<String, writ_model::Field>, Problem> {
    channel.presence.as_ref().ok_or_else(|| {
        let detail = format!("The channel `{}` has no presence: leave `state` out.", channel.name);
        Problem::at(Kind::InvalidInput, "/state", "invalid_value", detail)
    })
}

fn not_listed(error: &NotListed) -> Problem {
    match error {
        NotListed::Unavailable(_) => away(),
        NotListed::Full => {
            Kind::RateLimited.because("The list of this channel has as many members as it may.")
        }
    }
}

/// It was joined when this was asked.
fn left() -> Problem {
    Kind::NotFound.because("No channel was joined under this name.")
}
