//! Profiles: reading, changing, who may see them, and the list.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Caller, Server, send};

const UPDATE: &str = "mutation ($username: String!, $input: UpdateProfileInput!) {
    updateProfile(username: $username, input: $input) { profile { displayName avatarUrl isPublic } }
}";
const USER_PROFILE: &str = "query ($id: ID!) { node(id: $id) { ... on User { username profile { displayName } } } }";

async fn update(caller: &Caller<'_>, username: &str, input: Value) -> crate::harness::Answer {
    caller
        .graphql(UPDATE, json!({ "username": username, "input": input }))
        .await
}

#[tokio::test]
async fn a_profile_is_found_regardless_of_case_and_can_be_put_back_as_it_was_got() {
    let server = Server::start().await;
    let alice = server.member("Alice").await;
    let got = alice.get("/v1/profile/aLICE").await;
    assert_eq!(got.status, 200);
    let mut members: Vec<_> = got.body.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    let published = [
        "avatarUrl",
        "createdAt",
        "displayName",
        "id",
        "isPublic",
        "level",
        "triggers",
        "username",
        "xp",
    ];
    assert_eq!(members, published);
    assert_eq!(got.body["username"], "Alice");
    assert_eq!(got.body["displayName"], "Alice");
    assert_eq!(got.body["avatarUrl"], Value::Null);
    assert_eq!(got.body["isPublic"], true);
    assert_eq!(
        (&got.body["xp"], &got.body["level"], &got.body["triggers"]),
        (&json!(0), &json!(1), &json!([]))
    );
    assert!(got.body["id"].as_str().unwrap().starts_with("profile_"));
    let created = got.body["createdAt"].as_str().unwrap();
    assert_eq!((created.len(), created.ends_with('Z')), (20, true), "{created}");

    // Level, XP and the name are the server's to give: putting others is ignored.
    let mut put = got.body.clone();
    put["xp"] = json!(1_000_000);
    put["level"] = json!(99);
    put["username"] = json!("Mallory");
    put["triggers"] = json!(["free"]);
    put["whatever"] = json!({ "a": [1] });
    let again = alice.put("/v1/profile/ALICE", put).await;
    assert_eq!(again.status, 200);
    assert_eq!(again.body, got.body);
    assert_eq!((alice.get("/v1/me/profile").await).body, got.body);

    let over_graphql = alice
        .data(
            "{ a: profile(username: \"ALICE\") { id xp level } viewer { profile { id } user { profile { id } } } }",
            json!({}),
        )
        .await;
    for id in [
        &over_graphql["a"]["id"],
        &over_graphql["viewer"]["profile"]["id"],
        &over_graphql["viewer"]["user"]["profile"]["id"],
    ] {
        assert_eq!(*id, got.body["id"]);
    }
}

#[tokio::test]
async fn a_change_of_the_profile_changes_what_is_given_and_nothing_else() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let avatar = "https://bambisleep.chat/avatars/new-image.png";
    let body = json!({ "displayName": "New \u{1f300} Name", "avatarUrl": avatar, "isPublic": true });
    let answer = alice.put("/v1/profile/alice", body).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body["displayName"], "New \u{1f300} Name");
    assert_eq!(answer.body["avatarUrl"], avatar);
    assert_eq!(answer.header("cache-control"), Some("no-store"));

    // Absent stays, and so does what is null where null means nothing.
    for body in [json!({}), json!({ "displayName": null, "isPublic": null })] {
        let answer = alice.put("/v1/profile/alice", body.clone()).await;
        assert_eq!(answer.status, 200, "{body}");
        assert_eq!(answer.body["displayName"], "New \u{1f300} Name");
        assert_eq!(answer.body["avatarUrl"], avatar);
        let answer = update(&alice, "alice", body).await;
        assert_eq!(answer.body["data"]["updateProfile"]["profile"]["avatarUrl"], avatar);
    }
    let taken_away = alice.put("/v1/profile/alice", json!({ "avatarUrl": null })).await;
    assert_eq!(taken_away.body["avatarUrl"], Value::Null);
    update(&alice, "alice", json!({ "avatarUrl": avatar })).await;
    let answer = update(&alice, "ALICE", json!({ "avatarUrl": null })).await;
    let profile = &answer.body["data"]["updateProfile"]["profile"];
    assert_eq!(
        *profile,
        json!({ "displayName": "New \u{1f300} Name", "avatarUrl": null, "isPublic": true })
    );
    // Text is kept composed.
    let answer = alice
        .put("/v1/profile/alice", json!({ "displayName": "Ame\u{301}lie" }))
        .await;
    assert_eq!(answer.body["displayName"], "Am\u{e9}lie");
}

#[tokio::test]
async fn a_profile_refuses_values_that_are_wrong_and_says_where() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let long = format!("https://example.org/{}", "x".repeat(2_048));
    let refused = [
        ("avatarUrl", json!("not a url")),
        ("avatarUrl", json!("/avatars/a.png")),
        ("avatarUrl", json!("javascript:alert(1)")),
        ("avatarUrl", json!("ftp://example.org/a.png")),
        ("avatarUrl", json!("")),
        ("avatarUrl", json!(long)),
        ("displayName", json!("")),
        ("displayName", json!(" \t ")),
        ("displayName", json!("x".repeat(65))),
        ("displayName", json!("a\u{0}b")),
        ("displayName", json!("a\u{1b}[31m")),
    ];
    for (field, value) in refused {
        let answer = alice
            .put("/v1/profile/alice", json!({ field: value, "isPublic": false }))
            .await;
        assert_eq!(answer.status, 400, "{field} {value}");
        assert_eq!(answer.code(), "VALIDATION_FAILED", "{field} {value}");
        assert!(answer.body["details"]["fields"][field].is_string(), "{:#}", answer.body);
        assert_eq!(answer.body["error"], true);
        let answer = update(&alice, "alice", json!({ field: value })).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body["data"]["updateProfile"], Value::Null);
        let extensions = &answer.body["errors"][0]["extensions"];
        assert_eq!(
            (&extensions["code"], &extensions["status"]),
            (&json!("VALIDATION_FAILED"), &json!(400))
        );
        assert!(extensions["details"]["fields"][field].is_string(), "{:#}", answer.body);
    }
    for (field, value) in [
        ("displayName", json!(7)),
        ("avatarUrl", json!({})),
        ("isPublic", json!("yes")),
    ] {
        let answer = alice.put("/v1/profile/alice", json!({ field: value })).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (400, "BAD_REQUEST"));
        assert_eq!(answer.body["details"]["path"], format!("/{field}"));
    }
    for body in ["[]", "null", "{", "\"x\"", ""] {
        let request = alice.request(Method::PUT, "/v1/profile/alice");
        let answer = send(request.header("content-type", "application/json").body(body)).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (400, "BAD_REQUEST"), "{body}");
    }
    // GraphQL refuses what it does not know.
    let answer = update(&alice, "alice", json!({ "xp": 5 })).await;
    assert_eq!(answer.code(), "BAD_REQUEST");
    assert_eq!(answer.body["errors"][0]["extensions"]["details"]["path"], "/input/xp");
    let literal = "mutation { updateProfile(username: \"alice\", input: { xp: 5 }) { profile { xp } } }";
    assert_eq!(
        (alice.graphql(literal, json!({})).await).code(),
        "GRAPHQL_VALIDATION_FAILED"
    );
    // Nothing of all this changed anything.
    let profile = alice.get("/v1/profile/alice").await.body;
    assert_eq!(profile["displayName"], "alice");
    assert_eq!((&profile["isPublic"], &profile["xp"]), (&json!(true), &json!(0)));
}

#[tokio::test]
async fn a_private_profile_is_shown_to_its_owner_and_moderators_only() {
    let server = Server::start().await;
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    let moderator = server.member_with_role("mod", "moderator").await;
    let user = alice.data("{ viewer { user { id } profile { id } } }", json!({})).await;
    let user_id = &user["viewer"]["user"]["id"];
    alice.put("/v1/profile/alice", json!({ "isPublic": false })).await;

    let refused = bob.get("/v1/profile/Alice").await;
    assert_eq!((refused.status.as_u16(), refused.code()), (403, "PROFILE_PRIVATE"));
    assert!(
        refused.body.get("displayName").is_none() && !refused.body.to_string().contains("alice"),
        "{:#}",
        refused.body
    );
    let answer = bob
        .graphql("{ profile(username: \"alice\") { displayName } }", json!({}))
        .await;
    assert_eq!(answer.code(), "PROFILE_PRIVATE");
    assert_eq!(answer.body["data"], json!({ "profile": null }));
    let node = "query ($id: ID!) { node(id: $id) { id } }";
    let answer = bob
        .graphql(node, json!({ "id": user["viewer"]["profile"]["id"] }))
        .await;
    assert_eq!(answer.code(), "PROFILE_PRIVATE");
    let seen = bob.data(USER_PROFILE, json!({ "id": user_id })).await;
    assert_eq!(seen["node"], json!({ "username": "alice", "profile": null }));

    for caller in [&alice, &moderator] {
        assert_eq!((caller.get("/v1/profile/alice").await).status, 200);
        let seen = caller.data(USER_PROFILE, json!({ "id": user_id })).await;
        assert_eq!(seen["node"]["profile"]["displayName"], "alice");
    }
    // A moderator's key needs the scope to moderate, like everything else that the role allows.
    let reads = moderator.key(&["profile:read"]).await;
    assert_eq!(
        (server.bearer(&reads).get("/v1/profile/alice").await).code(),
        "PROFILE_PRIVATE"
    );
    let moderates = moderator.key(&["profile:read", "moderate"]).await;
    assert_eq!((server.bearer(&moderates).get("/v1/profile/alice").await).status, 200);

    let listed = async |caller: &Caller<'_>| -> Vec<String> {
        let profiles = caller.get("/v1/profiles").await.body["profiles"].take();
        profiles
            .as_array()
            .unwrap()
            .iter()
            .map(|profile| profile["username"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(listed(&bob).await, ["bob", "mod"]);
    assert_eq!(listed(&alice).await, ["alice", "bob", "mod"]);
    assert_eq!(listed(&moderator).await, ["alice", "bob", "mod"]);

    alice.put("/v1/profile/alice", json!({ "isPublic": true })).await;
    assert_eq!((bob.get("/v1/profile/alice").await).status, 200);
}

#[tokio::test]
async fn nobody_changes_the_profile_of_another() {
    let server = Server::start().await;
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    let admin = server.member_with_role("root", "admin").await;
    for caller in [&bob, &admin] {
        let answer = caller
            .put("/v1/profile/ALICE", json!({ "displayName": "Mallory" }))
            .await;
        assert_eq!((answer.status.as_u16(), answer.code()), (403, "FORBIDDEN"));
        let answer = update(caller, "alice", json!({ "displayName": "Mallory" })).await;
        assert_eq!(answer.code(), "FORBIDDEN");
    }
    for name in [
        "carol",
        "a%20b",
        "%00",
        "%F0%9F%8C%80",
        "al'ice",
        "a,bob",
        "x\"y",
        "ALİCE",
    ] {
        let path = format!("/v1/profile/{name}");
        let answer = bob.get(&path).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (404, "NOT_FOUND"), "{name}");
        let answer = bob.put(&path, json!({ "displayName": "x" })).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (404, "NOT_FOUND"), "{name}");
    }
    assert_eq!((alice.get("/v1/profile/alice").await).body["displayName"], "alice");

    let nobody = server.nobody();
    for path in ["/v1/profile/alice", "/v1/profile/carol", "/v1/profiles"] {
        let answer = nobody.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (401, "UNAUTHENTICATED"));
    }
    let reads = alice.key(&["profile:read"]).await;
    let answer = server
        .bearer(&reads)
        .put("/v1/profile/alice", json!({ "displayName": "x" }))
        .await;
    assert_eq!((answer.status.as_u16(), answer.code()), (403, "FORBIDDEN"));
    let writes = alice.key(&["profile:write"]).await;
    let answer = server
        .bearer(&writes)
        .put("/v1/profile/alice", json!({ "displayName": "By key" }))
        .await;
    assert_eq!(
        (answer.status, &answer.body["displayName"]),
        (StatusCode::OK, &json!("By key"))
    );
}

#[tokio::test]
async fn profiles_are_listed_searched_ordered_and_paged() {
    const LIST: &str =
        "query ($search: String, $orderBy: ProfileOrder! = USERNAME, $first: Int! = 50, $after: String) {
        profiles(search: $search, orderBy: $orderBy, first: $first, after: $after) {
            nodes { username xp }
            edges { cursor node { username } }
            pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
        }
    }";
    let server = Server::start().await;
    let zoe = server.member("zoe").await;
    for name in ["Abe", "bea_1", "bea-2", "Cid"] {
        server.member(name).await;
    }
    // Three have XP: two of them as much as each other.
    for (caller, triggers) in [
        (&zoe, 2),
        (&server.member("dan").await, 1),
        (&server.member("eve").await, 1),
    ] {
        for n in 0..triggers {
            caller.trigger(&format!("t{n}"), false).await;
        }
    }
    zoe.put("/v1/profile/zoe", json!({ "displayName": "50% É_mily" })).await;
    let list = async |variables: Value| -> Value { zoe.data(LIST, variables).await["profiles"].take() };
    let names = |profiles: &Value| -> Vec<String> {
        let nodes = profiles["nodes"].as_array().unwrap();
        nodes
            .iter()
            .map(|node| node["username"].as_str().unwrap().to_owned())
            .collect()
    };
    let all = names(&list(json!({})).await);
    assert_eq!(all, ["Abe", "bea-2", "bea_1", "Cid", "dan", "eve", "zoe"]);
    let by_xp = list(json!({ "orderBy": "XP" })).await;
    assert_eq!(names(&by_xp), ["zoe", "dan", "eve", "Abe", "bea-2", "bea_1", "Cid"]);
    assert_eq!(by_xp["nodes"][0]["xp"], 20);

    for (search, found) in [
        ("BEA", vec!["bea-2", "bea_1"]),
        ("_", vec!["bea_1", "zoe"]),
        ("%", vec!["zoe"]),
        ("é_M", vec!["zoe"]),
        ("E\u{301}_m", vec!["zoe"]),
        ("ZO", vec!["zoe"]),
        ("\\", vec![]),
        ("' OR 1=1 --", vec![]),
        ("a\u{0}", vec![]),
        ("\u{0}", vec![]),
        ("", all.iter().map(String::as_str).collect()),
    ] {
        assert_eq!(names(&list(json!({ "search": search })).await), found, "{search:?}");
    }
    // Longer than anything that is kept.
    assert!(names(&list(json!({ "search": "x".repeat(200_000) })).await).is_empty());

    for order in ["USERNAME", "XP"] {
        let whole = names(&list(json!({ "orderBy": order })).await);
        let (mut paged, mut after) = (Vec::new(), Value::Null);
        loop {
            let page = list(json!({ "orderBy": order, "first": 2, "after": after })).await;
            let info = &page["pageInfo"];
            assert_eq!(info["hasPreviousPage"], !after.is_null());
            assert_eq!(info["startCursor"], page["edges"][0]["cursor"]);
            paged.extend(names(&page));
            after = info["endCursor"].clone();
            if info["hasNextPage"] == false {
                break;
            }
            assert_eq!(names(&page).len(), 2);
        }
        assert_eq!(paged, whole, "{order}");
    }

    for (variables, field) in [
        (json!({ "first": 0 }), "first"),
        (json!({ "first": -1 }), "first"),
        (json!({ "first": 101 }), "first"),
        (json!({ "after": "" }), "after"),
        (json!({ "after": "nonsense" }), "after"),
        (json!({ "after": "!!" }), "after"),
        // "1:a\0b" and "1": made like a cursor, yet none that the server gave.
        (json!({ "after": "MTphAGI" }), "after"),
        (json!({ "after": "MQ" }), "after"),
    ] {
        let answer = zoe.graphql(LIST, variables.clone()).await;
        assert_eq!(answer.code(), "VALIDATION_FAILED", "{variables}");
        let fields = &answer.body["errors"][0]["extensions"]["details"]["fields"];
        assert!(fields[field].is_string(), "{variables}: {:#}", answer.body);
    }

    // REST says the same, with Link headers instead of `pageInfo`.
    let first = zoe.get("/v1/profiles?first=3&orderBy=XP").await;
    let members: Vec<_> = first.body.as_object().unwrap().keys().collect();
    assert_eq!(members, ["profiles"]);
    let link = first.header("link").expect("there is a next page");
    assert!(link.ends_with("rel=\"next\""), "{link}");
    let next = link.split(['<', '>']).nth(1).unwrap();
    let path = &next[next.find("/v1/").unwrap()..];
    let second = zoe.get(path).await;
    assert_eq!(second.body["profiles"][0]["username"], "Abe");
    assert_eq!(second.body["profiles"].as_array().unwrap().len(), 3);
    for query in ["first=0", "first=101", "after=nonsense"] {
        let answer = zoe.get(&format!("/v1/profiles?{query}")).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code()),
            (400, "VALIDATION_FAILED"),
            "{query}"
        );
    }
    for query in ["first=x", "orderBy=AGE", "first=1&first=2"] {
        let answer = zoe.get(&format!("/v1/profiles?{query}")).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (400, "BAD_REQUEST"), "{query}");
    }
    assert_eq!(
        (zoe.get("/v1/profiles?search=%00").await).body,
        json!({ "profiles": [] })
    );
}
