//! Nothing leaks: every way to ask is tried by one who may read 3 of 1,000 orders, and tells her what it would tell her if
//! the other 997 did not exist and hidden fields held something else ([`world`]). Each way is known to reach what is kept from
//! her: one who may do everything gets different answers in the two shops.

mod probes;
mod world;

use futures::StreamExt as _;
use serde_json::{Value as Json, json};
use uuid::Uuid;
use writ_model::decide::Actor;
use writ_model::{FieldError, Model, Timestamp};
use writ_projections::Reader;
use writ_projections::history::{AsOf, Entry, EventsOfOne, EventsRequest};
use writ_projections::query::{Cached, ListRequest, Page, Row, Shown};

use self::probes::Key::{self, Order, Text};
use self::probes::Probe::{self, *};
use self::probes::{PROBES, Params, UNKNOWN};
use self::world::{HERS, OTHERS, World, her, order_id};
use crate::stage::{LIMIT, everything};

fn owned(params: &[(&str, &str)]) -> Vec<(String, String)> {
    params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn row(row: &Row) -> Json {
    let expanded = row.expanded.as_ref().map(|expanded| expanded.get());
    json!([row.id, row.version, row.created_at, row.updated_at, row.state.get(), expanded])
}

fn entry(entry: &Entry) -> Json {
    let Entry {
        id, type_name, model, aggregate_id, version, time, actor, data, unreadable, passed_over, ..
    } = entry;
    json!([id, type_name, model, aggregate_id, version, time, actor, data, unreadable, passed_over])
}

fn refused(errors: &[FieldError]) -> Json {
    json!(errors)
}

impl World {
    /// Whether the cache has the answer to this probe for this reader.
    async fn is_cached(&self, probe: Probe, reader: Reader<'_>) -> bool {
        match probe {
            CachedRow(name, key) => {
                let model = self.model(name);
                let found = self.cached.cached(&reader.asks(&model), self.id(&model, key), &[]).await;
                matches!(found, Cached::Found(_))
            }
            CachedList(name, params) => {
                let model = self.model(name);
                let request = ListRequest::parse(reader.asks(&model), &owned(params)).unwrap();
                let found = self.cached.cached_list(&request, &format!("{params:?}"), &[]).await;
                matches!(found, Cached::Found(_))
            }
            _ => false,
        }
    }

    fn id(&self, model: &Model, key: Key) -> Uuid {
        match key {
            Order(number) => order_id(model, number),
            Text(key) => model.id_of_key(key).unwrap(),
        }
    }

    /// What `reader` is told.
    async fn ask(&self, probe: Probe, reader: Reader<'_>) -> Json {
        let (models, queries) = (&self.stage.models, &self.stage.queries);
        let subject = |name: &str| match models.get(name) {
            Some(model) => reader.asks((&**models, &**model)),
            None => reader.asks(&models.projections[name]),
        };
        match probe {
            List(name, params) => {
                walk(params, async |params| {
                    let request = ListRequest::parse(subject(name), params)?;
                    let page = queries.list(&request).await.unwrap();
                    Ok(of_page(&page))
                })
                .await
            }
            Projection(name, params) => {
                walk(params, async |params| {
                    let request = ListRequest::parse(subject(name), params)?;
                    let page = queries.list_projection(&request).await.unwrap();
                    let items = page.items.iter().map(|item| json!(item.get())).collect();
                    Ok((items, json!(page.count.unwrap().value), page.next))
                })
                .await
            }
            Forged(params, keys) => {
                let params = owned(params);
                let cursor = match ListRequest::parse(subject("order"), &params) {
                    Ok(request) => request.cursor(keys),
                    Err(errors) => return refused(&errors),
                };
                let params = [params, owned(&[("after", &cursor)])].concat();
                let request = ListRequest::parse(subject("order"), &params).unwrap();
                let page = queries.list(&request).await.unwrap();
                json!(page.items.iter().map(row).collect::<Vec<_>>())
            }
            Export(name, params, format) => {
                let request = match ListRequest::parse(subject(name), &owned(params)) {
                    Ok(request) => request,
                    Err(errors) => return refused(&errors),
                };
                let export = queries.export(&request, format).await.unwrap();
                let pieces: Vec<Vec<u8>> = export.map(Result::unwrap).collect().await;
                json!(String::from_utf8(pieces.concat()).unwrap())
            }
            One(name, key, params) => {
                let (subject, model) = (subject(name), self.model(name));
                match Shown::parse(&subject, &owned(params)) {
                    Ok(shown) => {
                        let found = queries.get_shown(&subject, self.id(&model, key), &shown).await.unwrap();
                        json!(found.as_ref().map(row))
                    }
                    Err(errors) => refused(&errors),
                }
            }
            CachedList(name, params) => {
                let request = ListRequest::parse(subject(name), &owned(params)).unwrap();
                let asked = format!("{params:?}");
                let page = match self.cached.cached_list(&request, &asked, &[]).await {
                    Cached::Found(page) => page,
                    Cached::Absent(keep) => self.cached.list_keeping(&request, keep).await.unwrap(),
                };
                json!(page.items.iter().map(row).collect::<Vec<_>>())
            }
            CachedRow(name, key) => {
                let (subject, id) = (subject(name), self.id(&self.model(name), key));
                let found = match self.cached.cached(&subject, id, &[]).await {
                    Cached::Found(row) => Some(row),
                    Cached::Absent(keep) => self.cached.get_keeping(&subject, id, keep).await.unwrap(),
                };
                json!(found.as_ref().map(row))
            }
            Events(params) => {
                walk(params, async |params| {
                    let params: Vec<_> = params.iter().filter(|(name, _)| name != "count").cloned().collect();
                    let request = EventsRequest::parse(models, &params)?;
                    let page = self.history.events(models, reader, &request).await.unwrap();
                    Ok((page.items.iter().map(entry).collect(), Json::Null, page.next))
                })
                .await
            }
            EventsOf(key) => {
                let (subject, order) = (subject("order"), self.model("order"));
                let id = self.id(&order, key);
                let request = EventsOfOne::parse(&order, id, &[]).unwrap();
                let page = self.history.of(&subject, id, &request).await.unwrap();
                json!(page.map(|page| page.items.iter().map(entry).collect::<Vec<_>>()))
            }
            Past(key, at) => {
                let subject = subject("order");
                let at: AsOf = at.parse().unwrap();
                let found =
                    self.history.as_of(&subject, self.id(&self.model("order"), key), at).await.unwrap();
                json!(format!(
                    "{:?}",
                    found.map(|past| (past.state.public_json().to_string(), past.state, past.halt))
                ))
            }
            Diff(key, versions) => {
                let subject = subject("order");
                let id = self.id(&self.model("order"), key);
                match self.history.diff(&subject, id, versions.parse().unwrap()).await.unwrap() {
                    Ok(found) => {
                        let events: Vec<Json> = found.events.iter().map(entry).collect();
                        json!([found.from, found.to, found.changes, events])
                    }
                    Err(none) => json!(format!("{none:?}")),
                }
            }
        }
    }
}

fn of_page(page: &Page) -> (Vec<Json>, Json, Option<String>) {
    let count = page.count.unwrap();
    assert!(count.exact);
    (page.items.iter().map(row).collect(), json!(count.value), page.next.clone())
}

/// All pages of two items each.
async fn walk(
    params: Params,
    page: impl AsyncFn(&[(String, String)]) -> Result<(Vec<Json>, Json, Option<String>), Vec<FieldError>>,
) -> Json {
    let (mut items, mut counts, mut after) = (Vec::new(), Vec::new(), None::<String>);
    loop {
        let limit = if after.is_none() { "2" } else { "700" };
        let mut all = [owned(params), owned(&[("limit", limit), ("count", "true")])].concat();
        all.extend(after.map(|cursor| ("after".to_owned(), cursor)));
        let (found, count, next) = match page(&all).await {
            Ok(page) => page,
            Err(errors) => return refused(&errors),
        };
        items.extend(found);
        counts.push(count);
        after = next;
        if after.is_none() {
            return json!([items, counts.first()]);
        }
        assert!(items.len() < 10_000, "the pages end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_read_three_of_a_thousand_orders_learns_nothing_of_the_others() {
    let (large, small) = (World::new(true).await, World::new(false).await);
    let text = |answer: &Json| answer.to_string();
    for probe in PROBES {
        let (in_large, in_small) = (large.ask(*probe, her()).await, small.ask(*probe, her()).await);
        assert_eq!(in_large, in_small, "{probe:?}");
        let told = text(&in_large);
        assert!(!told.contains("theirs") && !told.contains("hidden "), "{probe:?}: {told}");
        let (in_large, in_small) =
            (large.ask(*probe, everything()).await, small.ask(*probe, everything()).await);
        assert_ne!(in_large, in_small, "{probe:?} reaches nothing that could leak");
        // In the large one there are also events of a model that is gone, and nobody knows what of them was secret.
        for secret in ["hidden token", "hidden other", "hidden pin"] {
            assert!(!text(&in_small).contains(secret), "{probe:?} shows what is secret: {in_small}");
        }
    }

    // She isn't told nothing: what is hers, she sees.
    let numbers = large.ask(List("order", &[("fields", "number"), ("sort", "number")]), her()).await;
    for part in ["N100", "N500", "N900"] {
        assert_eq!(text(&numbers).matches(part).count(), 1, "{numbers}");
    }
    assert_eq!(numbers[1], json!(3), "the count");
    assert_eq!(text(&large.ask(Events(&[]), her()).await).matches("test.order.").count(), 9);
    assert!(text(&large.ask(EventsOf(Order(HERS[3])), her()).await).contains("test.order.Cancelled"));

    for (hidden, unknown) in UNKNOWN {
        let (hidden, unknown) = (large.ask(*hidden, her()).await, large.ask(*unknown, her()).await);
        assert_eq!(text(&hidden).replace("margin", "qqqqqq"), text(&unknown));
        assert!(text(&hidden).contains("there is no field"), "{hidden}");
    }
    large.stop().await;
    small.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_an_answer_of_the_cache_that_is_for_somebody_else() {
    let world = World::new(true).await;
    let cached = PROBES.iter().filter(|probe| matches!(probe, CachedList(..) | CachedRow(..)));
    for probe in cached {
        let (mut hers, mut all) = (Vec::new(), Vec::new());
        for _ in 0..4 {
            all.push(world.ask(*probe, everything()).await);
            hers.push(world.ask(*probe, her()).await);
        }
        assert!(
            hers.iter().all(|told| *told == hers[0]) && all.iter().all(|told| *told == all[0]),
            "{probe:?}"
        );
        assert_ne!(hers[0], all[0], "{probe:?}");
    }
    // It was the cache that answered, both of them for lists.
    for (probe, reader) in [
        (CachedRow("order", Order(HERS[0])), everything()),
        (CachedList("order", &[]), everything()),
        (CachedList("order", &[]), her()),
    ] {
        let found = async {
            while !world.is_cached(probe, reader).await {
                world.ask(probe, reader).await;
            }
        };
        tokio::time::timeout(LIMIT, found).await.expect("it is kept");
    }
    assert!(
        !world.is_cached(CachedRow("order", Order(HERS[0])), her()).await,
        "rows are kept whole, not for her"
    );

    // What was looked for by one isn't kept for her when another one asks PostgreSQL.
    let (models, order) = (&world.stage.models, world.model("order"));
    let id = order_id(&order, HERS[1]);
    let Cached::Absent(keep) = world.cached.cached(&everything().asks(&order), id, &[]).await else {
        panic!("nobody has asked for it");
    };
    assert!(world.cached.get_keeping(&her().asks(&order), id, keep).await.unwrap().is_some());
    assert!(!world.is_cached(CachedRow("order", Order(HERS[1])), everything()).await);
    let request = |reader: Reader<'static>| {
        ListRequest::parse(reader.asks((&**models, &*order)), &owned(&[("limit", "7")])).unwrap()
    };
    for _ in 0..3 {
        match world.cached.cached_list(&request(everything()), "seven", &[]).await {
            Cached::Absent(keep) => {
                world.cached.list_keeping(&request(her()), keep).await.unwrap();
            }
            Cached::Found(page) => panic!("this is hers: {page:?}"),
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_somebody_else_leads_to_nothing_of_theirs() {
    let world = World::new(true).await;
    let (models, order) = (&world.stage.models, world.model("order"));
    for params in [&[][..], &[("sort", "-total")], &[("sort", "note")]] {
        let params = [owned(params), owned(&[("limit", "20")])].concat();
        let request = ListRequest::parse(everything().asks((&**models, &*order)), &params).unwrap();
        let next = world.stage.queries.list(&request).await.unwrap().next.unwrap();
        let after = [params, owned(&[("after", &next)])].concat();
        let request = ListRequest::parse(her().asks((&**models, &*order)), &after).unwrap();
        let page = world.stage.queries.list(&request).await.unwrap();
        let mine = |row: &Row| HERS.iter().any(|number| row.id == order_id(&order, *number));
        assert!(page.items.iter().all(mine), "{after:?}");
    }
    let request = EventsRequest::parse(models, &owned(&[("limit", "20")])).unwrap();
    let next = world.history.events(models, everything(), &request).await.unwrap().next.unwrap();
    let request = EventsRequest::parse(models, &owned(&[("limit", "20"), ("after", &next)])).unwrap();
    let page = world.history.events(models, her(), &request).await.unwrap();
    let mut seen = page.items.iter().map(|entry| entry.aggregate_id);
    let own = her().actor.id.unwrap();
    assert!(seen.all(|id| id == own || HERS.iter().any(|number| id == order_id(&order, *number))));

    // One aggregate's cursor is for that aggregate, whoever sends it.
    let id = order_id(&order, OTHERS[0]);
    let request = EventsOfOne::parse(&order, id, &owned(&[("limit", "1")])).unwrap();
    let next =
        world.history.of(&everything().asks(&order), id, &request).await.unwrap().unwrap().next.unwrap();
    let request = EventsOfOne::parse(&order, id, &owned(&[("after", &next)])).unwrap();
    let page = world.history.of(&her().asks(&order), id, &request).await.unwrap();
    assert!(page.is_none_or(|page| page.items.is_empty() && page.next.is_none()));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_states_of_projections_are_for_those_who_read_them() {
    let world = World::new(false).await;
    world
        .stage
        .database
        .execute(
            "UPDATE $schema.writ_projections SET state = 'stopped', error = 'invalid input: \"theirs\"', error_at = 'order:0:1' \
             WHERE name = 'sales'; \
             UPDATE $schema.writ_projections SET name = 'gone' WHERE name = 'books'",
        )
        .await;
    let states = async |reader: Reader<'static>| -> Vec<(String, bool)> {
        let states = world.stage.queries.states(&world.stage.models, reader).await.unwrap();
        states.iter().map(|one| (one.name.clone(), one.error.is_some() || one.error_at.is_some())).collect()
    };
    let named = |names: &[(&str, bool)]| -> Vec<(String, bool)> {
        names.iter().map(|(name, error)| ((*name).to_owned(), *error)).collect()
    };
    assert_eq!(
        states(her()).await,
        named(&[("customer", false), ("event_log", false), ("order", false), ("sales", false)])
    );
    let all = [
        ("customer", false),
        ("event_log", false),
        ("gone", false),
        ("ledger", false),
        ("order", false),
        ("sales", true),
    ];
    assert_eq!(states(everything()).await, named(&all));
    let nobody = Actor::default();
    let states =
        world.stage.queries.states(&world.stage.models, Reader { actor: &nobody, now: Timestamp(0) });
    assert!(states.await.unwrap().is_empty());
    world.stop().await;
}
