use proptest::prelude::*;

use super::*;

fn permission(text: &str) -> Permission {
    text.parse().unwrap()
}

fn permissions(texts: &[&str]) -> Permissions {
    texts.iter().map(|text| permission(text)).collect()
}

#[test]
fn what_each_form_allows() {
    let wanted = [
        ("order", Access::Read),
        ("order", Access::Command("place")),
        ("order", Access::Command("ship")),
        ("customer", Access::Read),
        ("customer", Access::Command("place")),
    ];
    let check = |text: &str, allowed: [bool; 5]| {
        assert_eq!(wanted.map(|(model, access)| permission(text).allows(model, access)), allowed, "{text}");
    };
    check("order.place", [false, true, false, false, false]);
    check("order.read", [true, false, false, false, false]);
    check("order.*", [true, true, true, false, false]);
    check("*.read", [true, false, false, true, false]);
    check("*", [true; 5]);
}

#[test]
fn a_command_called_like_a_part_of_a_name_is_another_one() {
    assert!(!permission("order.place").allows("order", Access::Command("place_all")));
    assert!(!permission("order.place_all").allows("order", Access::Command("place")));
    assert!(!permission("order.*").allows("order_line", Access::Read));
    // `read` is the query, also where someone asks for a command of that name.
    assert!(!permission("order.read").allows("order", Access::Command("read")));
}

#[test]
fn what_is_no_permission_is_refused_with_its_reason() {
    let form = |text: &str| assert_eq!(text.parse::<Permission>(), Err(Error::Form { text: text.into() }));
    for text in ["", ".", "order", "order.", ".place", "**", "*.", "*.*"] {
        form(text);
    }
    let name = |text: &str, name: &str| {
        assert_eq!(text.parse::<Permission>(), Err(Error::Name { name: name.into(), text: text.into() }));
    };
    name("Order.place", "Order");
    name("order.place.now", "place.now");
    name("order.pl*", "pl*");
    name("order. place", " place");
    name("_order.place", "_order");
    name("order.place\n", "place\n");
    name("*.Place", "Place");
    let long = "a".repeat(49);
    name(&format!("order.{long}"), &long);
    assert!(format!("order.{}", &long[1..]).parse::<Permission>().is_ok());
    assert_eq!("*.place".parse::<Permission>(), Err(Error::EveryModel { text: "*.place".into() }));
    assert_eq!(
        "order".parse::<Permission>().unwrap_err().to_string(),
        "\"order\" isn't a permission: write `model.command`, `model.read`, `model.*`, `*.read` or `*`"
    );
}

#[test]
fn the_order_of_a_list() {
    let shown = [
        "*",
        "*.read",
        "customer.*",
        "customer.read",
        "customer.add",
        "order.read",
        "order.place",
        "order.ship",
    ];
    let mut mixed = shown.map(permission);
    mixed.reverse();
    mixed.sort();
    assert_eq!(mixed.map(|permission| permission.to_string()), shown);
}

#[test]
fn nobody_hands_out_more_than_they_have() {
    let staff = permissions(&["order.*", "customer.read"]);
    assert!(staff.cover(&permissions(&["order.ship", "order.read", "customer.read"])));
    assert!(staff.cover(&permissions(&[])));
    for more in ["*", "*.read", "customer.*", "customer.add", "product.read"] {
        assert!(!staff.cover(&permissions(&["order.ship", more])), "{more}");
    }
}

#[test]
fn none_allow_nothing() {
    assert!(!Permissions::default().allow("order", Access::Read));
    assert!(permissions(&["customer.read", "order.read"]).allow("order", Access::Read));
}

#[test]
fn a_list_in_json() {
    let json = r#"["*.read","order.place"]"#;
    let read: Permissions = serde_json::from_str(r#"["order.place","*.read","order.place"]"#).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), json);
    assert!(serde_json::from_str::<Permissions>(r#"["order"]"#).is_err());
}

fn any_permission() -> impl Strategy<Value = Permission> {
    // Few names, so that they meet.
    let name = prop_oneof!["[ab]", Just("read_all".to_owned())];
    let action = prop_oneof![Just(Action::Any), Just(Action::Read), name.clone().prop_map(Action::Command)];
    prop_oneof![
        1 => Just(Permission::Everything),
        1 => Just(Permission::ReadEverything),
        6 => (name, action).prop_map(|(model, action)| Permission::Model { model, action }),
    ]
}

proptest! {
    #[test]
    fn a_permission_is_its_text(permission in any_permission()) {
        prop_assert_eq!(permission.to_string().parse(), Ok(permission));
    }

    #[test]
    fn any_text_is_read_back_or_refused(text in "[a-z*._ A-Z]{0,12}") {
        if let Ok(permission) = text.parse::<Permission>() {
            prop_assert_eq!(permission.to_string(), text);
        }
    }

    /// To cover is to allow everything that the other one allows. `c` stands for all names that neither knows.
    #[test]
    fn covering_is_allowing_as_much(left in any_permission(), right in any_permission()) {
        let models = ["a", "b", "c", "read_all"];
        let accesses = models.map(Access::Command).into_iter().chain([Access::Read]);
        let as_much = accesses.flat_map(|access| models.map(|model| (model, access)))
            .all(|(model, access)| left.allows(model, access) || !right.allows(model, access));
        prop_assert_eq!(left.covers(&right), as_much);
    }
}
