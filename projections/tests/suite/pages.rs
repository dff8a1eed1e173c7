//! Deep pages: how PostgreSQL finds them, and that none is missed while rows come and go.

use std::collections::{HashMap, HashSet};

use serde_json::Value as Json;
use uuid::Uuid;

use crate::shop::Shop;

/// Every node of a plan.
fn nodes(plan: &Json) -> Vec<&Json> {
    let mut all = vec![plan];
    for inner in plan["Plans"].as_array().into_iter().flatten() {
        all.extend(nodes(inner));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deep_page_begins_in_the_index() {
    let shop = Shop::new().await;
    shop.many(100_000).await;
    for (params, arms) in [
        (vec![], 1),
        (vec![("sort", "-total")], 1),
        (vec![("sort", "total")], 2),
        (vec![("status", "paid"), ("sort", "-total")], 1),
        (vec![("status", "paid"), ("sort", "total")], 2),
        (vec![("status", "paid")], 1),
        (vec![("total[lt]", "1000"), ("sort", "-total")], 1),
        (vec![("status[in]", "paid"), ("sort", "-id")], 1),
    ] {
        // About the middle: by a filter that finds the place, whose cursor is then used without it.
        let mut with = params.clone();
        with.push(("limit", "1000"));
        let mut after = None::<String>;
        for _ in 0..10 {
            let mut with = with.clone();
            with.extend(after.as_deref().map(|after| ("after", after)));
            after = shop.list(&with).await.next;
        }
        let mut deep = params.clone();
        deep.push(("after", after.as_deref().unwrap()));
        let plan = shop.queries.plan(&shop.parse(&deep).unwrap()).await.unwrap();
        let nodes = nodes(&plan[0]["Plan"]);
        let scans: Vec<&&Json> = nodes
            .iter()
            .filter(|node| {
                node["Node Type"].as_str().unwrap().contains("Scan") && node["Index Name"].is_string()
            })
            .collect();
        assert_eq!(scans.len(), arms, "{params:?}: {plan:#}");
        for scan in scans {
            let condition = scan["Index Cond"].as_str().unwrap_or_default();
            let bounded = condition.contains("ROW(")
                || condition.contains("IS NULL")
                || condition.contains("id <")
                || condition.contains("id >");
            assert!(bounded, "{params:?}: {plan:#}");
            if let (Some(cursor), Some(filter)) = (condition.find("ROW("), condition.find("(total <")) {
                assert!(cursor < filter, "the scan begins at the cursor, {params:?}: {plan:#}");
            }
        }
        let kinds: Vec<&str> = nodes.iter().map(|node| node["Node Type"].as_str().unwrap()).collect();
        assert!(!kinds.contains(&"Sort") && !kinds.contains(&"Seq Scan"), "{params:?}: {plan:#}");
        let cost = plan[0]["Plan"]["Total Cost"].as_f64().unwrap();
        let first = shop.queries.plan(&shop.parse(&params).unwrap()).await.unwrap();
        let first = first[0]["Plan"]["Total Cost"].as_f64().unwrap();
        assert!(cost < 2.0 * first + 50.0, "{params:?}: {cost} after {first}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_stay_appear_once_while_others_come_and_go() {
    let shop = Shop::new().await;
    shop.many(2_000).await;
    let there = "SELECT id FROM $schema.\"order\" WHERE NOT deleted AND number::int % 7 <> 0";
    let stay: HashSet<Uuid> = shop
        .database
        .select(there)
        .await
        .iter()
        .map(|row| row["id"].as_str().unwrap().parse().unwrap())
        .collect();
    let reading = async {
        for sort in ["total", "-total", "-total,number", "status,-total", "-status,total,-created_at"] {
            let (mut seen, mut after) = (HashMap::<Uuid, usize>::new(), None::<String>);
            loop {
                let mut params = vec![("sort", sort), ("limit", "37")];
                params.extend(after.as_deref().map(|after| ("after", after)));
                let page = shop.list(&params).await;
                for row in page.items {
                    *seen.entry(row.id).or_default() += 1;
                }
                match page.next {
                    None => break,
                    next => after = next,
                }
            }
            assert!(seen.values().all(|times| *times == 1), "{sort}: no row twice");
            assert!(stay.iter().all(|id| seen.contains_key(id)), "{sort}: no row is missed");
        }
    };
    let writing = async {
        for round in 0..40 {
            shop.database
                .execute(&format!(
                    "INSERT INTO $schema.\"order\" (id, version, deleted, created_at, updated_at, number, status, total) \
                     SELECT gen_random_uuid(), 1, false, now(), now(), 'new', 'paid', NULLIF(n % 1250, {round}) \
                     FROM generate_series(1, 50) AS n; \
                     UPDATE $schema.\"order\" SET deleted = NOT deleted \
                     WHERE number <> 'new' AND number::int % 7 = 0 AND number::int % 40 = {round}"
                ))
                .await;
        }
    };
    futures::future::join(reading, writing).await;
}
