//! Parts of objects, items of lists, words, references, counts and chosen fields.

use serde_json::{Value as Json, json};
use uuid::Uuid;
use writ_projections::query::{ListRequest, Shown};

use crate::shop::Shop;
use crate::stage::everything;

/// Four orders; the last one has as little as it can.
async fn shop() -> Shop {
    let shop = Shop::new().await;
    let customer = shop.models.get("customer").unwrap();
    let (one, two) = (customer.id_of_key("ONE").unwrap(), customer.id_of_key("TWO").unwrap());
    shop.database
        .execute(&format!(
            "INSERT INTO $schema.customer VALUES ('{one}', 1, false, now(), now(), 'ONE', 'The One'), \
             ('{two}', 2, true, now(), now(), 'TWO', 'Gone'); \
             INSERT INTO $schema.\"order\" VALUES \
             (gen_random_uuid(), 1, false, now(), now(), 'a', '{one}', 'placed', 10, \
              '{{\"city\": \"Berlin\", \"days\": 9, \"price\": \"9.50\", \"on\": \"2026-01-09\", \"express\": true, \"within\": \"PT24H\"}}', \
              '[{{\"product\": \"{one}\", \"quantity\": 1}}, {{\"product\": \"{two}\", \"quantity\": 5}}]', \
              '[\"red\", \"blue\"]', '{{\"a\": [1, {{\"b\": 2}}]}}', 'Große Straße, quick brown fox', 'hidden'), \
             (gen_random_uuid(), 1, false, now(), now(), 'b', '{two}', 'paid', 9.5, \
              '{{\"city\": \"Ärzen\", \"days\": 10, \"price\": \"10.00\", \"at\": \"2026-01-10T00:00:00.000Z\"}}', \
              '[{{\"product\": \"{two}\", \"quantity\": 5}}]', '[\"green\"]', 'null', 'quick, 100% sure', NULL), \
             (gen_random_uuid(), 1, false, now(), now(), 'c', NULL, 'paid', NULL, \
              '{{\"city\": null, \"days\": \"soon\"}}', '[]', '[]', '7', NULL, NULL), \
             (gen_random_uuid(), 1, false, now(), now(), 'd', NULL, 'placed', NULL, NULL, NULL, NULL, NULL, NULL, NULL)"
        ))
        .await;
    shop
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_items_and_words_are_filtered_by() {
    let shop = shop().await;
    for (name, value, numbers) in [
        ("ship_to.city", "Berlin", "a"),
        ("ship_to.city[ne]", "Berlin", "bcd"),
        ("ship_to.city[in]", "Berlin,Ärzen", "ab"),
        ("ship_to.city[like]", "B%", "a"),
        ("ship_to.city[ilike]", "är%", "b"),
        ("ship_to.city[is_null]", "true", "cd"),
        ("ship_to.city[is_null]", "false", "ab"),
        // As numbers, where texts would be the other way round. What isn't of the type is no value.
        ("ship_to.days[gt]", "9", "b"),
        ("ship_to.days[is_null]", "true", "cd"),
        ("ship_to.price[lt]", "9.999", "a"),
        ("ship_to.price", "10", "b"),
        ("ship_to.on[gte]", "2026-01-09", "a"),
        ("ship_to.at[lte]", "2026-01-10T00:00:00Z", "b"),
        ("ship_to.express", "true", "a"),
        ("ship_to.within", "PT24H", "a"),
        ("ship_to[is_null]", "true", "d"),
        ("tags[contains]", "red", "a"),
        ("tags[contains]", "r", ""),
        ("tags[is_null]", "true", "d"),
        ("lines.product[contains]", "TWO", "ab"),
        ("lines.quantity[contains]", "1", "a"),
        ("extra[contains]", "{\"a\": [{\"b\": 2}]}", "a"),
        ("extra[contains]", "7", "c"),
        ("extra[is_null]", "true", "bd"),
        ("note[like]", "%100\\% sure", "b"),
        ("note[like]", "QUICK%", ""),
        ("note[ilike]", "%STRASSE%", ""),
        ("note[ilike]", "%STRAßE%", "a"),
        ("q", "quick", "ab"),
        ("q", "quick -sure", "a"),
        ("q", "\"brown fox\"", "a"),
        ("q", "straße or sure", "ab"),
        ("q", "hidden", ""),
        ("q", "", ""),
        ("customer", "ONE", "a"),
    ] {
        assert_eq!(shop.numbers(&[(name, value), ("sort", "number")]).await, numbers, "{name}={value}");
    }
    for (sort, numbers) in [
        ("ship_to.days,number", "abcd"),
        ("-ship_to.price,number", "cdba"),
        ("ship_to.city,-number", "abdc"),
        ("ship_to.express,total,number", "abcd"),
    ] {
        assert_eq!(shop.numbers(&[("sort", sort)]).await, numbers, "{sort}");
        let (mut paged, mut after) = (String::new(), None::<String>);
        loop {
            let mut params = vec![("sort", sort), ("limit", "1")];
            params.extend(after.as_deref().map(|after| ("after", after)));
            paged += &shop.numbers(&params).await;
            match shop.list(&params).await.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        assert_eq!(paged, numbers, "{sort} in pages");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_show_what_was_asked_for() {
    let shop = shop().await;
    let one = shop.models.get("customer").unwrap().id_of_key("ONE").unwrap().to_string();
    let fields = "number,ship_to.city,lines.quantity,ship_to.days,tags";
    let page = shop.list(&[("fields", fields), ("sort", "number")]).await;
    let states: Vec<&str> = page.items.iter().map(|row| row.state.get()).collect();
    assert_eq!(
        states[0],
        "{\"number\":\"a\",\"ship_to\":{\"city\":\"Berlin\",\"days\":9},\"lines\":[{\"quantity\":1},{\"quantity\":5}],\
         \"tags\":[\"red\", \"blue\"]}"
    );
    assert_eq!(states[3], "{\"number\":\"d\",\"ship_to\":null,\"lines\":null,\"tags\":null}");

    let page = shop.list(&[("expand", "customer"), ("fields", "number"), ("sort", "number")]).await;
    let expanded: Vec<Json> = page
        .items
        .iter()
        .map(|row| serde_json::from_str(row.expanded.as_ref().unwrap().get()).unwrap())
        .collect();
    let customer = &expanded[0]["customer"];
    assert_eq!(customer["id"], one);
    assert_eq!(customer["state"], json!({ "code": "ONE", "company": "The One" }));
    assert_eq!(customer["version"], 1);
    assert!(customer["created_at"].as_str().unwrap().ends_with('Z'));
    // Deleted, and none at all.
    assert_eq!(
        expanded[1..],
        [json!({ "customer": null }), json!({ "customer": null }), json!({ "customer": null })]
    );
    let next = shop.list(&[("expand", "customer"), ("sort", "total"), ("limit", "1")]).await.next.unwrap();
    let page = shop.list(&[("expand", "customer"), ("sort", "total"), ("after", &next)]).await;
    assert!(page.items[0].expanded.as_ref().unwrap().get().contains("The One"), "on later pages too");

    let params =
        [("fields", "total"), ("expand", "customer")].map(|(name, value)| (name.into(), value.into()));
    let order = everything().asks((&*shop.models, shop.order()));
    let shown = Shown::parse(&order, &params).unwrap();
    let first = shop.list(&[("number", "a")]).await.items.remove(0);
    let row = shop.queries.get_shown(&order, first.id, &shown).await.unwrap().unwrap();
    assert_eq!(row.state.get(), "{\"total\":\"10.00\"}");
    assert!(row.expanded.unwrap().get().contains(&one));
    assert!(shop.queries.get(&order, Uuid::nil()).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_says_whether_it_is_exact() {
    let shop = shop().await;
    let count = async |params: &[(&str, &str)]| {
        let count = shop.list(params).await.count.unwrap();
        (count.value, count.exact)
    };
    assert_eq!(count(&[("count", "true"), ("limit", "1")]).await, (4, true));
    assert_eq!(count(&[("count", "true"), ("status", "paid"), ("q", "quick")]).await, (1, true));
    assert!(shop.list(&[("count", "false")]).await.count.is_none());
    shop.many(30_000).await;
    let (value, exact) = count(&[("count", "true"), ("limit", "1")]).await;
    assert!(!exact && (20_000..40_000).contains(&value), "{value}");
    let (value, exact) = count(&[("count", "true"), ("status", "paid"), ("total[lt]", "625")]).await;
    assert_eq!((value, exact), (shop.database.number(
        "SELECT count(*) FROM $schema.\"order\" WHERE NOT deleted AND status = 'paid' AND total < 625"
    ).await, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projection_is_asked_as_a_model_is() {
    let shop = Shop::new().await;
    shop.database
        .execute(
            "INSERT INTO $schema.daily VALUES ('2026-01-01', 'Berlin', 10, 1), ('2026-01-01', 'Paris', NULL, 2), \
             ('2026-01-02', 'Berlin', 5.5, 3)",
        )
        .await;
    let daily = &shop.models.projections["daily"];
    let items = async |params: &[(&str, &str)]| -> Vec<Json> {
        let (mut items, mut after) = (Vec::new(), None::<String>);
        loop {
            let params = params.iter().copied().chain([("limit", "1")]);
            let params = params.chain(after.as_deref().map(|after| ("after", after)));
            let params: Vec<(String, String)> =
                params.map(|(name, value)| (name.into(), value.into())).collect();
            let request = ListRequest::parse(everything().asks(daily), &params).unwrap();
            let page = shop.queries.list_projection(&request).await.unwrap();
            items.extend(page.items.iter().map(|item| serde_json::from_str::<Json>(item.get()).unwrap()));
            match page.next {
                None => return items,
                next => after = next,
            }
        }
    };
    let orders = |items: &[Json]| items.iter().map(|item| item["orders"].to_string()).collect::<String>();
    let all = items(&[]).await;
    assert_eq!(all[0], json!({ "day": "2026-01-01", "city": "Berlin", "total": "10.00", "orders": 1 }));
    assert_eq!(orders(&all), "123", "by the key");
    assert_eq!(orders(&items(&[("sort", "-total")]).await), "213");
    assert_eq!(orders(&items(&[("sort", "city,-day")]).await), "312");
    assert_eq!(orders(&items(&[("day", "2026-01-01"), ("total[is_null]", "true")]).await), "2");
    assert_eq!(orders(&items(&[("q", "paris")]).await), "2");
    assert_eq!(items(&[("fields", "city"), ("total[gt]", "9")]).await, [json!({ "city": "Berlin" })]);
    let errors = ListRequest::parse(everything().asks(daily), &[("id".into(), "x".into())]).unwrap_err();
    assert!(errors[0].detail.contains("day, city, total, orders"), "{errors:?}");
}
