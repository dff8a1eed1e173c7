//! The channels of one socket: what its client asks, one after the other, and what it hears, each channel in its turn.
//!
//! What a client asks needs Redis or a table, and is done in the order in which it was asked, so that one's broadcasts stay in it. The
//! rules are asked anew when the caller or the aggregate changes; until they have answered, nothing is heard.

mod steps;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::task::AtomicWaker;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::Taken;
use super::admission::{Followed, Which, interrupted, version_of};
use super::room::Entry;
use super::seat::{Next, Seat};
use crate::app::Shared;
use crate::caller::Caller;
use crate::live::feed::Item;
use crate::live::message::{Broadcast, Ending, Join, Presence, ToClient};
use crate::live::wanted;
use crate::problem::{Kind, Problem};
use steps::{Done, Verdict};

pub(super) use steps::publish;

/// Messages of one client that wait until those before them are done.
const WAITING: usize = 64;

/// A channel that the socket is in.
struct Member {
    sub: Box<str>,
    which: Arc<Which>,
    taken: Arc<Taken>,
    seat: Arc<Seat>,
    followed: Option<Followed>,
    since: Arc<str>,
}

/// What is to be done.
enum Step {
    Join(Join),
    Leave(String),
    Broadcast(Broadcast),
    Presence(Presence),
    /// The caller may be another one, or may do something else.
    AskAgain,
    /// The aggregate of one has another version.
    Changed(Box<str>, u64),
}

/// All channels of a socket, none of which it has before the first.
#[derive(Default)]
pub(in crate::live) struct Joined(Option<Box<All>>);

#[derive(Default)]
struct All {
    members: Vec<Member>,
    waiting: VecDeque<Step>,
    running: Option<Pin<Box<dyn Future<Output = Done> + Send>>>,
    /// Steps under way or waiting that ask the rules anew.
    asking: usize,
    /// Messages that are to be sent first.
    out: VecDeque<Utf8Bytes>,
    turn: usize,
    waker: Arc<AtomicWaker>,
    /// The name that is about to be joined.
    joining: Option<String>,
}

impl Joined {
    /// Those that it is in, and those that it is about to join.
    pub(in crate::live) fn len(&self) -> usize {
        let Some(all) = &self.0 else { return 0 };
        let waiting = all.waiting.iter().filter(|step| matches!(step, Step::Join(_))).count();
        all.members.len() + waiting + usize::from(all.joining.is_some())
    }

    /// Whether there is one of this name.
    pub(in crate::live) fn has(&self, sub: &str) -> bool {
        let Some(all) = &self.0 else { return false };
        let is_waiting = |step: &Step| matches!(step, Step::Join(join) if join.sub == sub);
        all.members.iter().any(|member| &*member.sub == sub)
            || all.joining.as_deref() == Some(sub)
            || all.waiting.iter().any(is_waiting)
    }

    /// Leaves all.
    pub(in crate::live) fn clear(&mut self) {
        self.0 = None;
    }

    pub(in crate::live) fn join(&mut self, join: Join) -> Result<(), Problem> {
        self.push(Step::Join(join))
    }

    /// `false`: there is none of this name.
    pub(in crate::live) fn leave(&mut self, sub: &str) -> bool {
        let is_there = self.has(sub);
        if let Some(all) = self.0.as_mut().filter(|_| is_there) {
            all.waiting.push_back(Step::Leave(sub.to_owned()));
        }
        is_there
    }

    pub(in crate::live) fn broadcast(&mut self, broadcast: Broadcast) -> Result<(), Problem> {
        self.known(&broadcast.sub)?;
        self.push(Step::Broadcast(broadcast))
    }

    pub(in crate::live) fn presence(&mut self, presence: Presence) -> Result<(), Problem> {
        self.known(&presence.sub)?;
        self.push(Step::Presence(presence))
    }

    /// The caller may be another one, or may do something else.
    pub(in crate::live) fn ask_again(&mut self) {
        if let Some(all) = &mut self.0 {
            all.asking += 1;
            all.waiting.push_front(Step::AskAgain);
        }
    }

    fn known(&self, sub: &str) -> Result<(), Problem> {
        match self.has(sub) {
            true => Ok(()),
            false => Err(Kind::NotFound.because("No channel was joined under this name.")),
        }
    }

    fn push(&mut self, step: Step) -> Result<(), Problem> {
        let all = self.0.get_or_insert_default();
        if all.waiting.len() >= WAITING {
            let detail = format!(
                "{WAITING} messages for channels of this socket wait already; wait for their answers."
            );
            return Err(Kind::Overloaded.because(detail));
        }
        all.waiting.push_back(step);
        Ok(())
    }

    /// The next message for the client. Waits for ever while there is no channel. Cancel safe.
    pub(in crate::live) async fn next(&mut self, app: &Shared, caller: &Caller) -> Utf8Bytes {
        poll_fn(|cx| {
            let Some(all) = &mut self.0 else { return Poll::Pending };
            let next = all.poll(cx, app, caller);
            if all.is_over() {
                self.0 = None;
            }
            next
        })
        .await
    }
}

impl All {
    fn is_over(&self) -> bool {
        self.members.is_empty() && self.waiting.is_empty() && self.running.is_none() && self.out.is_empty()
    }

    fn poll(&mut self, cx: &mut Context<'_>, app: &Shared, caller: &Caller) -> Poll<Utf8Bytes> {
        loop {
            if let Some(message) = self.out.pop_front() {
                return Poll::Ready(message);
            }
            if let Some(running) = &mut self.running {
                if let Poll::Ready(done) = running.as_mut().poll(cx) {
                    self.running = None;
                    self.finish(done);
                    continue;
                }
            } else if let Some(step) = self.waiting.pop_front() {
                self.start(step, app, caller);
                continue;
            }
            if self.follow(cx) {
                continue;
            }
            self.waker.register(cx.waker());
            // What is heard now may be none of the caller's business.
            if self.asking > 0 {
                return Poll::Pending;
            }
            return match self.heard() {
                Some(message) => Poll::Ready(message),
                None => Poll::Pending,
            };
        }
    }

    /// Looks at the aggregates that the channels are of. `true`: something has come of it.
    fn follow(&mut self, cx: &mut Context<'_>) -> bool {
        let mut changed = false;
        let mut ended: Vec<(Box<str>, Ending, Option<Problem>)> = Vec::new();
        for member in &mut self.members {
            let Some(followed) = &mut member.followed else { continue };
            while let Poll::Ready(item) = pin!(followed.feed.next()).poll(cx) {
                let (end, problem) = match item {
                    Some(Item::Change(frame)) => match version_of(&frame) {
                        Some(version) => {
                            let same = |step: &&mut Step| matches!(step, Step::Changed(sub, _) if *sub == member.sub);
                            match self.waiting.iter_mut().find(same) {
                                Some(step) => *step = Step::Changed(member.sub.clone(), version),
                                None => {
                                    self.asking += 1;
                                    self.waiting.push_front(Step::Changed(member.sub.clone(), version));
                                }
                            }
                            changed = true;
                            continue;
                        }
                        None => (Ending::Permissions, None),
                    },
                    Some(Item::Failed(error)) => (Ending::Failed, Some(wanted::failed(error))),
                    // Not before its channel was served for long: the client joins again.
                    Some(Item::Lagged { .. }) | None => (Ending::Failed, Some(interrupted())),
                    Some(_) => continue,
                };
                ended.push((member.sub.clone(), end, problem));
                break;
            }
        }
        for (sub, end, problem) in ended {
            changed = true;
            self.end(&sub, end, problem);
        }
        changed
    }

    /// The next thing that one of the channels has, each in its turn.
    fn heard(&mut self) -> Option<Utf8Bytes> {
        let count = self.members.len();
        for offset in 0..count {
            let index = (self.turn + offset) % count;
            let Member { sub, taken, seat, .. } = &self.members[index];
            loop {
                let message = match seat.next() {
                    Some(Next::Text(text)) => text.message(sub),
                    Some(Next::Missed(count)) => ToClient::Missed { sub, count }.text(),
                    Some(Next::List) => match taken.room.list_for(seat) {
                        Some(list) => ToClient::Members { sub, members: raw(&list) }.text(),
                        None => continue,
                    },
                    None => break,
                };
                self.turn = index + 1;
                return Some(message);
            }
        }
        None
    }

    fn find(&self, sub: &str) -> Option<&Member> {
        self.members.iter().find(|member| &*member.sub == sub)
    }

    /// Takes the socket out of a channel, and says so.
    fn end(&mut self, sub: &str, reason: Ending, problem: Option<Problem>) {
        let before = self.members.len();
        self.members.retain(|member| &*member.sub != sub);
        if self.members.len() == before {
            return;
        }
        if let Some(problem) = problem {
            self.out.push_back(ToClient::Error { sub: Some(sub), reference: None, problem: &problem }.text());
        }
        self.out.push_back(ToClient::Ended { sub, reason, resume: None }.text());
    }

    fn finish(&mut self, done: Done) {
        match done {
            Done::Joined { sub, result } => {
                self.joining = None;
                match result {
                    Ok((member, list)) => {
                        let members = member.which.channel.presence.is_some().then(|| raw(&list));
                        let id = member.taken.member;
                        self.out.push_back(ToClient::Joined { sub: &sub, member: id, members }.text());
                        self.members.push(*member);
                    }
                    Err(problem) => self.refuse(&sub, None, &problem),
                }
            }
            Done::Said { sub, reference, result } => match (result, &reference) {
                (Err(problem), _) => self.refuse(&sub, reference.as_deref(), &problem),
                (Ok(()), Some(reference)) => self.out.push_back(ToClient::Sent { reference }.text()),
                (Ok(()), None) => {}
            },
            Done::Asked(verdicts) => {
                self.asking -= 1;
                for (sub, verdict) in verdicts {
                    self.judge(&sub, verdict);
                }
            }
        }
    }

    fn judge(&mut self, sub: &str, verdict: Verdict) {
        match verdict {
            Verdict::Stays(followed) => {
                let member = self.members.iter_mut().find(|member| &*member.sub == sub);
                if let (Some(member), Some(followed)) = (member, followed) {
                    member.followed = Some(followed);
                }
            }
            Verdict::StaysWith(state) => {
                let member = self.members.iter_mut().find(|member| &*member.sub == sub);
                if let Some(followed) = member.and_then(|member| member.followed.as_mut()) {
                    followed.state = state;
                }
            }
            Verdict::Ends(problem) => match problem.kind {
                Kind::NotFound | Kind::Forbidden | Kind::Unauthenticated => {
                    self.end(sub, Ending::Permissions, None);
                }
                _ => self.end(sub, Ending::Failed, Some(problem)),
            },
        }
    }

    fn refuse(&mut self, sub: &str, reference: Option<&str>, problem: &Problem) {
        self.out.push_back(ToClient::Error { sub: Some(sub), reference, problem }.text());
    }
}

fn raw(list: &[Entry]) -> Vec<&serde_json::value::RawValue> {
    list.iter().map(|entry| &**entry).collect()
}
