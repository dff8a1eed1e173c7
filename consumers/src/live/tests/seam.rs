//! The seam: subscribers come, go, are too slow, and come back somewhere, while events are written, published, published again
//! and passed over. Each sees every change of its view from its beginning on, once, in the order of each partition.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::catch_up::begin;
use super::super::change::Placed;
use super::super::hub::{self, Closed, Hub, Interest, Joined, Member};
use super::super::queue::Nothing;
use super::super::resume::{Resume, merge, reaches};
use super::super::ring::Capacity;
use super::super::subscription::own;
use super::super::views::View;
use super::*;

const PARTITIONS: usize = 3;
const QUEUE: usize = 4;

#[derive(Debug, Clone)]
enum Step {
    /// An event of this aggregate.
    Write(u128, u8),
    /// A record that is no event that can be decoded.
    WriteGarbage(usize),
    /// The feed takes the next record of this partition.
    Publish(usize),
    /// It takes one once more that it has had.
    PublishAgain(usize, prop::sample::Index),
    /// This subscriber connects, if it isn't: where it was; for the first time: now, or with a snapshot from as far as this of each
    /// partition.
    /// And is gone again after so many changes of those that it missed.
    Connect(usize, Option<[prop::sample::Index; PARTITIONS]>, Option<usize>),
    /// Takes so many frames.
    Take(usize, usize),
    Disconnect(usize),
    /// Time passes without anyone.
    Idle,
    /// What a quiet subscriber hears.
    Progress(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0..5usize;
    let index = any::<prop::sample::Index>();
    prop_oneof![
        6 => (0..6u128, any::<u8>()).prop_map(|(aggregate, what)| Step::Write(aggregate, what)),
        1 => (0..PARTITIONS).prop_map(Step::WriteGarbage),
        8 => (0..PARTITIONS).prop_map(Step::Publish),
        1 => ((0..PARTITIONS), index.clone()).prop_map(|(partition, which)| Step::PublishAgain(partition, which)),
        4 => (who.clone(), prop::option::of(prop::array::uniform3(index)), prop::option::of(0..6usize))
            .prop_map(|(who, from, until)| Step::Connect(who, from, until)),
        6 => (who.clone(), 1..QUEUE * 2).prop_map(|(who, count)| Step::Take(who, count)),
        1 => who.clone().prop_map(Step::Disconnect),
        1 => Just(Step::Idle),
        1 => who.prop_map(Step::Progress),
    ]
}

/// A record of the log; `None`: one that can't be decoded.
type Record = (i64, Option<Change>);

struct Subscriber {
    view: Arc<View>,
    /// Where it began, once it has.
    began: Option<Vec<i64>>,
    at: Option<Resume>,
    member: Option<(Member, Interest)>,
    /// Partition and offset.
    seen: Vec<(i32, i64)>,
}

struct Test {
    hub: hub::Shared,
    world: World,
    log: [Vec<Record>; PARTITIONS],
    /// How many records the feed has taken.
    taken: [usize; PARTITIONS],
    subscribers: Vec<Subscriber>,
    now: Instant,
}

impl Test {
    fn new(ring: usize) -> Test {
        let capacity = Capacity { changes: ring, bytes: usize::MAX };
        let hub = Hub::new(model().clone(), QUEUE, capacity);
        hub.lock().begin(&[0; PARTITIONS]);
        let all = views();
        let wants = [0, 1, 4, 9, 17].map(|index| view(&all[index]));
        let subscriber = |view| Subscriber { view, began: None, at: None, member: None, seen: Vec::new() };
        Test {
            hub,
            world: World::default(),
            log: Default::default(),
            taken: [0; PARTITIONS],
            subscribers: wants.map(subscriber).into(),
            now: Instant::now(),
        }
    }

    /// The offset behind the records of a partition. Between records there are gaps, as of the markers of transactions.
    fn end(&self, partition: usize) -> i64 {
        self.log[partition].last().map_or(0, |(offset, _)| offset + 2)
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Write(aggregate, what) => {
                let partition = usize::try_from(*aggregate).unwrap() % PARTITIONS;
                let offset = self.end(partition);
                let change = self.world.event(*aggregate, *what, partition as i32, offset);
                self.log[partition].push((offset, Some(change)));
            }
            Step::WriteGarbage(partition) => {
                let offset = self.end(*partition);
                self.log[*partition].push((offset, None));
            }
            Step::Publish(partition) => self.publish(*partition),
            Step::PublishAgain(partition, which) if self.taken[*partition] > 0 => {
                let index = which.index(self.taken[*partition]);
                self.put(*partition, index);
            }
            Step::Connect(who, from, until) => self.connect(*who, *from, *until),
            Step::Take(who, count) => (0..*count).for_each(|_| self.take(*who)),
            Step::Disconnect(who) => self.subscribers[*who].member = None,
            Step::Idle => {
                self.subscribers.iter_mut().for_each(|one| one.member = None);
                self.now += Duration::from_secs(3600);
            }
            Step::Progress(who) => self.progress(*who),
            Step::PublishAgain(..) => {}
        }
    }

    fn publish(&mut self, partition: usize) {
        if self.taken[partition] < self.log[partition].len() {
            self.put(partition, self.taken[partition]);
            self.taken[partition] += 1;
        }
    }

    /// As the feed does it with what it has in hand; that it has had a record before it sees here only.
    fn put(&self, partition: usize, index: usize) {
        let (offset, change) = &self.log[partition][index];
        let place = (partition as i32, *offset);
        let mut hub = self.hub.lock();
        if hub.skip_if_idle([place], self.now) {
            return;
        }
        match change {
            Some(change) => hub.publish(copy(change)),
            None => hub.pass(place.0, place.1),
        }
    }

    fn connect(&mut self, who: usize, from: Option<[prop::sample::Index; PARTITIONS]>, until: Option<usize>) {
        let interest = Interest::new(&self.hub);
        if self.subscribers[who].member.is_some() {
            return;
        }
        let view = self.subscribers[who].view.clone();
        let snapshot = from.map(|from| -> Vec<i64> {
            // Of rows that are ahead of the feed, or behind it.
            (0..PARTITIONS)
                .map(|partition| match from[partition].index(self.log[partition].len() + 1) {
                    0 => 0,
                    count => self.log[partition][count - 1].0 + 1,
                })
                .collect()
        });
        let mut at = match (&self.subscribers[who].at, snapshot) {
            (Some(at), _) => Some(at.next().to_vec()),
            (None, snapshot) => snapshot,
        };
        let mut began = at.clone();
        let member = loop {
            match Hub::join(&self.hub, &view, at.as_deref()) {
                Joined::Here(missed, member) => {
                    let mut at = at.unwrap_or_else(|| member.at.next().to_vec());
                    began.get_or_insert_with(|| at.clone());
                    for (count, placed) in missed.into_iter().enumerate() {
                        if until.is_some_and(|until| count >= until) {
                            let one = &mut self.subscribers[who];
                            one.began = one.began.take().or(began);
                            one.at = Some(self.hub.lock().at(at).of(view.identity()));
                            return;
                        }
                        merge(&mut at, placed.place.next());
                        if view.kind(&placed.change).is_some() {
                            let happened = &placed.change.happened;
                            self.subscribers[who].seen.push((happened.partition, happened.offset));
                        }
                    }
                    break member;
                }
                Joined::Behind(until) => {
                    let at = at.as_mut().expect("who begins now is not behind");
                    let gap = self.hub.lock().gap(at);
                    let extended = gap.is_some_and(|until| self.extend(at, &until));
                    if !extended {
                        self.replay(who, at, &until);
                    }
                }
                Joined::Repartitioned => panic!("it isn't"),
            }
        };
        let one = &mut self.subscribers[who];
        one.began = one.began.take().or(began);
        one.at = Some(member.at.clone());
        one.member = Some((member, interest));
    }

    /// What Kafka has between `at` and the ring goes into the ring.
    fn extend(&self, at: &[i64], until: &[i64]) -> bool {
        let (mut place, mut placed) = (begin(at, until), Vec::new());
        for partition in 0..PARTITIONS {
            for (offset, change) in &self.log[partition] {
                if *offset >= at[partition] && *offset < until[partition] {
                    place[partition] = offset + 1;
                    let behind = self.hub.lock().at(place.as_slice());
                    placed.extend(change.as_ref().map(|change| Arc::new(Placed::new(copy(change), behind))));
                }
            }
        }
        let mut hub = self.hub.lock();
        let extended = hub.extend_back(placed, at, until);
        assert_eq!(extended, hub.gap(at).is_some_and(|from| reaches(at, &from)), "it doesn't move here");
        extended
    }

    /// As Kafka does it.
    fn replay(&mut self, who: usize, at: &mut [i64], until: &[i64]) {
        for partition in 0..PARTITIONS {
            let missed = self.log[partition]
                .iter()
                .filter(|(offset, _)| *offset >= at[partition] && *offset < until[partition]);
            let one = &mut self.subscribers[who];
            for (offset, change) in missed {
                if change.as_ref().is_some_and(|change| one.view.kind(change).is_some()) {
                    one.seen.push((partition as i32, *offset));
                }
            }
        }
        merge(at, until);
    }

    fn take(&mut self, who: usize) {
        let one = &mut self.subscribers[who];
        let Some((member, _)) = &mut one.member else { return };
        match member.queue.try_recv() {
            Ok(frame) => {
                let frame = own(one.at.as_ref(), frame);
                let position = frame.position.as_ref().unwrap();
                one.seen.push((position.partition, position.offset));
                one.at = Some(frame.resume.clone());
            }
            Err(Nothing::Empty) => {}
            Err(Nothing::Closed) => {
                assert_eq!(member.closed(), Closed::Lagged);
                one.member = None;
            }
        }
    }

    fn progress(&mut self, who: usize) {
        let one = &mut self.subscribers[who];
        let Some((member, _)) = &mut one.member else { return };
        let feed = member.feed();
        if matches!(member.queue.try_recv(), Err(Nothing::Empty)) {
            one.at = one.at.as_ref().map(|at| at.merged(&feed));
        } else {
            // It was a frame, and is lost with the connection.
            one.member = None;
        }
    }

    /// All is published and taken; then everyone has seen what there was.
    fn finish(&mut self) {
        for partition in 0..PARTITIONS {
            while self.taken[partition] < self.log[partition].len() {
                self.publish(partition);
            }
        }
        for who in 0..self.subscribers.len() {
            if self.subscribers[who].began.is_none() {
                continue;
            }
            loop {
                self.connect(who, None, None);
                let before = self.subscribers[who].seen.len();
                self.take(who);
                if self.subscribers[who].member.is_some() && self.subscribers[who].seen.len() == before {
                    break;
                }
            }
            self.progress(who);
            let one = &self.subscribers[who];
            let (began, at) = (one.began.as_ref().unwrap(), one.at.as_ref().unwrap());
            for (partition, began) in began.iter().enumerate() {
                let seen: Vec<i64> = one
                    .seen
                    .iter()
                    .filter(|(of, _)| *of == partition as i32)
                    .map(|(_, offset)| *offset)
                    .collect();
                let matching = |(offset, change): &&Record| {
                    offset >= began && change.as_ref().is_some_and(|change| one.view.kind(change).is_some())
                };
                let expected: Vec<i64> =
                    self.log[partition].iter().filter(matching).map(|(offset, _)| *offset).collect();
                assert_eq!(seen, expected, "subscriber {who}, partition {partition}");
                // Nothing is left that a resume from here would bring again.
                let last = self.log[partition].last().map_or(0, |(offset, _)| offset + 1);
                assert!(at.next()[partition] >= last, "subscriber {who} is at {at:?}, not at {last}");
            }
        }
    }
}

fn copy(change: &Change) -> Change {
    let happened = &change.happened;
    Change {
        happened: Happened {
            actor: None,
            correlation_id: None,
            causation_id: None,
            fields: happened.fields.clone(),
            ..*happened
        },
        before: change.before.clone(),
        after: change.after.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn every_change_comes_once(ring in 0..12usize, steps in prop::collection::vec(step(), 1..250)) {
        let mut test = Test::new(ring);
        steps.iter().for_each(|step| test.run(step));
        test.finish();
    }
}

/// A view is there as long as somebody follows it, and once for all who ask the same.
#[test]
fn views_are_shared_and_go_away() {
    let test = Test::new(10);
    let join = |wanted: &Wanted| match Hub::join(&test.hub, &view(wanted), None) {
        Joined::Here(_, member) => member,
        other => panic!("{other:?}"),
    };
    let all = views();
    let mut members: Vec<Member> = all.iter().chain(&all).map(join).collect();
    assert_eq!(test.hub.lock().sizes(), (2 * all.len(), all.len()));
    members.truncate(all.len());
    assert_eq!(test.hub.lock().sizes(), (all.len(), all.len()));
    members.truncate(1);
    assert_eq!(test.hub.lock().sizes(), (1, 1));
    drop(members);
    assert_eq!(test.hub.lock().sizes(), (0, 0));
}

/// Whoever follows a topic that is another one now has to begin anew; a new partition is read from its beginning.
#[test]
fn a_topic_that_is_another_one_ends_its_subscriptions() {
    for (ends, next) in [(&[2, 2, 2, 9][..], [0, 0, 0, 0].as_slice()), (&[5, 5], &[5, 5])] {
        let test = Test::new(10);
        let Joined::Here(_, mut member) = Hub::join(&test.hub, &view(&views()[0]), None) else { panic!() };
        assert!(test.hub.lock().begin(&[1, 2, 3]), "it goes on where it was");
        assert_eq!(member.queue.try_recv().unwrap_err(), Nothing::Empty);
        assert!(!test.hub.lock().begin(ends));
        assert_eq!(test.hub.lock().next(), next);
        assert_eq!(member.queue.try_recv().unwrap_err(), Nothing::Closed);
        assert_eq!(member.closed(), Closed::Repartitioned);
    }
}

/// What a reader may not see is in no frame, neither in the row nor in the event; and who may not see a row any more is only told
/// which one it is.
#[test]
fn a_frame_shows_what_its_reader_sees() {
    let mut test = Test::new(10);
    let join = |actor| match Hub::join(&test.hub, &view(&wanted(actor, None, &[])), None) {
        Joined::Here(_, member) => member,
        other => panic!("{other:?}"),
    };
    let (mut staff, mut customer) = (join(staff()), join(customer(0)));
    let _interest = Interest::new(&test.hub);
    // Of customer 0, then of customer 1.
    test.run(&Step::Write(0, 1));
    test.run(&Step::Write(0, 3));
    (0..2).for_each(|_| test.run(&Step::Publish(0)));
    let read = |member: &mut Member| -> serde_json::Value {
        let frame = member.queue.try_recv().unwrap();
        let message = frame.message("a\"b");
        assert_eq!(frame.message("a\"b").as_ptr(), message.as_ptr(), "made once");
        serde_json::from_slice(&message).unwrap()
    };
    let (seen, shown) = (read(&mut staff), read(&mut customer));
    assert_eq!(seen["type"], "enter");
    assert_eq!(seen["sub"], "a\"b");
    assert_eq!(seen["event"]["data"]["secret_note"], "hush");
    assert_eq!(seen["row"]["state"]["secret_note"], "hush");
    assert_eq!(shown["type"], "enter");
    assert_eq!(shown["position"], "order:0:0");
    assert!(!shown.to_string().contains("hush"), "{shown}");
    assert_eq!(shown["row"]["state"]["status"], "paid");
    assert_eq!(read(&mut staff)["type"], "change");
    let left = read(&mut customer);
    let names: Vec<&String> = left.as_object().unwrap().keys().collect();
    assert_eq!(names, ["sub", "type", "model", "id", "position", "resume"]);
    assert_eq!(left["type"], "leave");
}
