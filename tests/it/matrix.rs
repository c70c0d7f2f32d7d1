//! Who may do what, in one table: every field, type, edge and route with every kind of caller.
//!
//! What is asked comes from the schema and from the OpenAPI document; a field or route that nobody has said how to ask
//! for fails the test. Everything asked about is `owner`'s and private.

use std::{collections::BTreeMap, fmt::Write};

use bambisleep_chat::graphql::types::{TypeDefKind, Types, base_name};
use reqwest::Method;
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

use crate::{
    avatars,
    harness::{Answer, Caller, PASSWORD, Server, eventually, send},
    openapi::Samples,
    receiver::Receiver,
    webhooks,
};

/// The kinds of callers, in the order of the table's columns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Stranger,
    /// A key of the owner's whose only scope, `moderate`, is of no use to who is no moderator.
    KeyWithout,
    /// A key of the owner's with every scope.
    KeyWith,
    Owner,
    Other,
    Moderator,
    Admin,
}

const COLUMNS: [(&str, Who); 7] = [
    ("stranger", Who::Stranger),
    ("key without", Who::KeyWithout),
    ("key with", Who::KeyWith),
    ("owner", Who::Owner),
    ("other", Who::Other),
    ("moderator", Who::Moderator),
    ("admin", Who::Admin),
];

/// How to ask for each field: what comes after `{` or `mutation {`. `$name` is replaced by a value of the owner's.
const FIELDS: &[(&str, &str)] = &[
    ("Query.viewer", "viewer { __typename }"),
    ("Query.node", "node(id: \"$user\") { id }"),
    ("Query.profile", "profile(username: \"$username\") { id }"),
    (
        "Query.profiles",
        "profiles { nodes { id } edges { cursor node { id } } pageInfo { endCursor } }",
    ),
    ("Query.trigger", "trigger(id: \"$trigger\") { id }"),
    (
        "Query.triggers",
        "triggers { nodes { id } edges { cursor node { id } } pageInfo { endCursor } }",
    ),
    (
        "Query.events",
        "events { nodes { id kind data } edges { cursor node { id } } pageInfo { endCursor } }",
    ),
    (
        "Query.room",
        "room(name: \"lobby\") { id messages { nodes { id } edges { cursor node { id } } pageInfo { endCursor } } members { id } }",
    ),
    (
        "Query.rooms",
        "rooms { nodes { id } edges { cursor node { id } } pageInfo { endCursor } }",
    ),
    (
        "Query.reports",
        "reports { nodes { id } edges { cursor node { id } } pageInfo { endCursor } }",
    ),
    (
        "Query.auditLog",
        "auditLog { nodes { id } edges { cursor node { id } } pageInfo { endCursor } }",
    ),
    ("Query.models", "models { name }"),
    (
        "Query.serverStatus",
        "serverStatus { rooms members messagesLastMinute online }",
    ),
    ("Viewer.user", "viewer { user { id } }"),
    ("Viewer.email", "viewer { email }"),
    ("Viewer.profile", "viewer { profile { id } }"),
    ("Viewer.session", "viewer { session(id: \"$session\") { id } }"),
    (
        "Viewer.sessions",
        "viewer { sessions { nodes { id } edges { cursor node { id } } pageInfo { endCursor } } }",
    ),
    (
        "Viewer.webhook",
        "viewer { webhook(id: \"$webhook\") { id health { pending } deliveries { nodes { id } edges { cursor node { id } } } } }",
    ),
    (
        "Viewer.webhooks",
        "viewer { webhooks { nodes { id } edges { cursor node { id } } pageInfo { endCursor } } }",
    ),
    ("Viewer.apiKeys", "viewer { apiKeys { id } }"),
    ("Viewer.logins", "viewer { logins { id } }"),
    ("Viewer.blocked", "viewer { blocked { id } }"),
    ("Viewer.triggersPaused", "viewer { triggersPaused }"),
    (
        "Viewer.consents",
        "viewer { consents { nodes { id } edges { cursor node { id } } pageInfo { endCursor } } }",
    ),
    ("Viewer.rateLimit", "viewer { rateLimit { limit } }"),
    (
        "Mutation.register",
        "register(input: { username: \"new$number\", password: \"$password\", ofAge: true }) { token }",
    ),
    (
        "Mutation.login",
        "login(input: { username: \"$username\", password: \"$password\" }) { token }",
    ),
    ("Mutation.logout", "logout { success }"),
    ("Mutation.revokeLogin", "revokeLogin(id: \"$login\") { login { id } }"),
    (
        "Mutation.changePassword",
        "changePassword(input: { currentPassword: \"$password\", newPassword: \"$password\" }) { user { id } }",
    ),
    (
        "Mutation.deleteAccount",
        "deleteAccount(input: { password: \"$password\" }) { success }",
    ),
    ("Mutation.createSocketTicket", "createSocketTicket { ticket }"),
    (
        "Mutation.createApiKey",
        "createApiKey(input: { name: \"k\", scopes: [PROFILE_READ] }) { apiKey { id } }",
    ),
    ("Mutation.revokeApiKey", "revokeApiKey(id: \"$key\") { apiKey { id } }"),
    (
        "Mutation.updateProfile",
        "updateProfile(username: \"$username\", input: { displayName: \"new\" }) { profile { id } }",
    ),
    // Sent by tests/it/avatars.rs.
    ("Mutation.uploadAvatar", "uploadAvatar(file: $file) { profile { id } }"),
    (
        "Mutation.createTrigger",
        "createTrigger(input: { name: \"new$number\", content: \"c\" }) { trigger { id } }",
    ),
    (
        "Mutation.updateTrigger",
        "updateTrigger(id: \"$trigger\", input: { name: \"new\" }) { trigger { id } }",
    ),
    (
        "Mutation.deleteTrigger",
        "deleteTrigger(id: \"$trigger\") { trigger { id } }",
    ),
    (
        "Mutation.activateTrigger",
        "activateTrigger(id: \"$trigger\") { profile { id } }",
    ),
    (
        "Mutation.deactivateTrigger",
        "deactivateTrigger(id: \"$trigger\") { profile { id } }",
    ),
    ("Mutation.pauseTriggers", "pauseTriggers { profile { id } }"),
    ("Mutation.resumeTriggers", "resumeTriggers { profile { id } }"),
    (
        "Mutation.generate",
        "generate(input: { prompt: \"p\" }) { response triggers { name } }",
    ),
    (
        "Mutation.deleteSession",
        "deleteSession(id: \"$session\") { session { id } }",
    ),
    (
        "Mutation.createRoom",
        "createRoom(input: { name: \"new$number\" }) { room { id } }",
    ),
    (
        "Mutation.sendMessage",
        "sendMessage(input: { content: \"c\" }) { message { id } }",
    ),
    (
        "Mutation.editMessage",
        "editMessage(id: \"$message\", input: { content: \"new\" }) { message { id } }",
    ),
    (
        "Mutation.deleteMessage",
        "deleteMessage(id: \"$message\") { message { id } }",
    ),
    (
        "Mutation.blockMember",
        "blockMember(username: \"$subject\") { user { id } }",
    ),
    (
        "Mutation.unblockMember",
        "unblockMember(username: \"$subject\") { user { id } }",
    ),
    (
        "Mutation.reportMessage",
        "reportMessage(id: \"$reportable\", input: { reason: \"r\" }) { id }",
    ),
    (
        "Mutation.muteMember",
        "muteMember(username: \"$subject\", input: { reason: \"r\" }) { user { id } }",
    ),
    (
        "Mutation.banMember",
        "banMember(username: \"$subject\", input: { reason: \"r\" }) { user { id } }",
    ),
    (
        "Mutation.closeReport",
        "closeReport(id: \"$report\", input: { reason: \"r\" }) { report { id } }",
    ),
    (
        "Mutation.reinstateMember",
        "reinstateMember(username: \"$subject\", input: { reason: \"r\" }) { user { id } }",
    ),
    (
        "Mutation.createWebhook",
        "createWebhook(input: { url: \"https://example.org/\", events: [MESSAGE_NEW] }) { secret }",
    ),
    (
        "Mutation.updateWebhook",
        "updateWebhook(id: \"$webhook\", input: { events: [PROFILE_UPDATE] }) { webhook { id } }",
    ),
    (
        "Mutation.deleteWebhook",
        "deleteWebhook(id: \"$webhook\") { webhook { id } }",
    ),
    (
        "Mutation.pingWebhook",
        "pingWebhook(id: \"$webhook\") { delivery { id } }",
    ),
    (
        "Mutation.redeliver",
        "redeliver(deliveryId: \"$delivery\") { delivery { id } }",
    ),
    // A subscription has no one answer: who may have it is told that by this dialect.
    ("Subscription.messageAdded", "messageAdded { id }"),
    ("Subscription.roomChanged", "roomChanged { __typename }"),
    (
        "Subscription.generation",
        "generation(input: { prompt: \"p\" }) { __typename }",
    ),
];

/// The value that names the owner's object of each type with an id.
const NODES: &[(&str, &str)] = &[
    ("User", "$user"),
    ("Profile", "$profile"),
    ("Trigger", "$trigger"),
    ("Event", "$event"),
    ("ApiKey", "$key"),
    ("Login", "$login"),
    ("Consent", "$consent"),
    ("Room", "$room"),
    ("Message", "$message"),
    ("Report", "$report"),
    ("AuditEntry", "$entry"),
    ("Session", "$session"),
    ("Webhook", "$webhook"),
    ("Delivery", "$delivery"),
];

/// The bodies of the routes that need one.
const BODIES: &[(&str, &str)] = &[
    (
        "POST /auth/login",
        r#"{"username": "$username", "password": "$password"}"#,
    ),
    (
        "POST /auth/register",
        r#"{"username": "new$number", "password": "$password", "ofAge": true}"#,
    ),
    (
        "POST /auth/password",
        r#"{"currentPassword": "$password", "newPassword": "$password"}"#,
    ),
    ("POST /me/delete", r#"{"password": "$password"}"#),
    ("POST /keys", r#"{"name": "k", "scopes": ["profile:read"]}"#),
    ("PUT /me/avatar", "$file"),
    ("POST /ai/generate", r#"{"prompt": "p"}"#),
    ("PUT /profile/{username}", r#"{"displayName": "new"}"#),
    ("POST /triggers", r#"{"name": "new$number", "content": "c"}"#),
    ("PUT /triggers/{triggerId}", r#"{"name": "new"}"#),
    ("POST /chat/messages", r#"{"content": "c"}"#),
    ("PUT /chat/messages/{messageId}", r#"{"content": "new"}"#),
    ("POST /chat/rooms", r#"{"name": "new$number"}"#),
    ("POST /chat/messages/{messageId}/report", r#"{"reason": "r"}"#),
    (
        "POST /webhooks",
        r#"{"url": "https://example.org/", "events": ["message.new"]}"#,
    ),
    ("PUT /webhooks/{webhookId}", r#"{"events": ["profile.update"]}"#),
];

/// The value for each parameter of a path.
const PARAMETERS: &[(&str, &str)] = &[
    ("{username}", "$username"),
    ("{triggerId}", "$trigger"),
    ("{loginId}", "$login"),
    ("{keyId}", "$key"),
    ("{messageId}", "$message"),
    ("{room}", "lobby"),
    ("{sessionId}", "$session"),
    ("{webhookId}", "$webhook"),
    ("{deliveryId}", "$delivery"),
];

fn lookup(table: &'static [(&str, &str)], name: &str) -> &'static str {
    let row = table.iter().find(|row| row.0 == name);
    row.unwrap_or_else(|| panic!("tests/it/matrix.rs does not say how to ask for {name}"))
        .1
}

/// The rows after which a caller is nobody.
const ENDS: [&str; 4] = [
    "Mutation.logout",
    "Mutation.deleteAccount",
    "POST /auth/logout",
    "POST /me/delete",
];

/// The rows after which others see the owner, or whom the owner has to do with, as they did not before.
const BETWEEN_MEMBERS: [&str; 10] = [
    "Mutation.banMember",
    "Mutation.blockMember",
    "Mutation.closeReport",
    "Mutation.muteMember",
    "Mutation.reinstateMember",
    "Mutation.reportMessage",
    "Mutation.unblockMember",
    "DELETE /blocked/{username}",
    "POST /chat/messages/{messageId}/report",
    "PUT /blocked/{username}",
];

/// What is asked for.
enum Ask {
    GraphQl(String),
    Rest {
        method: Method,
        path: String,
        body: Option<&'static str>,
    },
}

/// Everything there is to ask for, each with its name in the table.
fn rows(types: &Types, openapi: &Value) -> Vec<(String, Ask)> {
    let mut rows = Vec::new();
    let fields = |name: &str| -> Vec<String> {
        let definition = types.get(name).and_then(|definition| definition.fields());
        let mut fields: Vec<String> = definition
            .into_iter()
            .flatten()
            .map(|(name, _)| name.to_string())
            .collect();
        fields.sort_unstable();
        fields
    };
    for root in ["Query", "Viewer", "Mutation", "Subscription"] {
        for field in fields(root) {
            let name = format!("{root}.{field}");
            let ask = lookup(FIELDS, &name);
            let keyword = if matches!(root, "Mutation" | "Subscription") {
                root.to_lowercase()
            } else {
                String::new()
            };
            let variables = if ask.contains("$file") { "($file: Upload!)" } else { "" };
            rows.push((name, Ask::GraphQl(format!("{keyword} {variables} {{ {ask} }}"))));
        }
    }
    let mut nodes: Vec<&str> = types.iter().map(|definition| definition.name.as_str()).collect();
    nodes.retain(|name| *name != "Node" && types.applies(name, "Node"));
    nodes.sort_unstable();
    for name in &nodes {
        let id = lookup(NODES, name);
        rows.push((
            format!("node {name}"),
            Ask::GraphQl(format!("{{ node(id: \"{id}\") {{ id }} }}")),
        ));
    }
    for name in &nodes {
        let id = lookup(NODES, name);
        for field in fields(name) {
            let definition = types.field(name, &field).unwrap();
            let below = base_name(&definition.ty);
            let TypeDefKind::Object { fields: inner, .. } = &types.get(below).unwrap().kind else {
                continue;
            };
            let inner = if inner.contains_key("id") { "id" } else { "__typename" };
            let ask = format!("{{ node(id: \"{id}\") {{ ... on {name} {{ {field} {{ {inner} }} }} }} }}");
            rows.push((format!("edge {name}.{field}"), Ask::GraphQl(ask)));
        }
    }
    for (template, methods) in openapi["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let name = format!("{} {template}", method.to_uppercase());
            let required = operation["requestBody"]["required"] == true;
            let body = required.then(|| lookup(BODIES, &name));
            let path = template.split('/').map(|segment| match segment.starts_with('{') {
                true => lookup(PARAMETERS, segment),
                false => segment,
            });
            let path = format!("/v1{}", path.collect::<Vec<_>>().join("/"));
            rows.push((
                name,
                Ask::Rest {
                    method: method.to_uppercase().parse().unwrap(),
                    path,
                    body,
                },
            ));
        }
    }
    rows
}

/// The members of the table. An owner whose things were changed is replaced: the next caller finds everything as it was.
struct Cast<'a> {
    server: &'a Server,
    database: sea_orm::DatabaseConnection,
    number: u32,
    owner: Option<Owner<'a>>,
    others: BTreeMap<&'static str, Caller<'a>>,
    samples: Samples,
    receiver: Receiver,
}

struct Owner<'a> {
    caller: Caller<'a>,
    keys: [String; 2],
    /// What stands for what in a row.
    values: Vec<(&'static str, String)>,
}

impl<'a> Cast<'a> {
    async fn member(&mut self, role: &str) -> (String, Caller<'a>) {
        self.number += 1;
        let username = format!("{role}{}", self.number);
        let caller = self.server.member(&username).await;
        if matches!(role, "moderator" | "admin") {
            // Nobody has asked who this is yet, so nobody needs to be told.
            let update = format!("UPDATE members SET role = '{role}' WHERE username = '{username}'");
            self.database.execute_unprepared(&update).await.unwrap();
        }
        (username, caller)
    }

    async fn owner(&mut self) -> &Owner<'a> {
        if self.owner.is_none() {
            let (username, caller) = self.member("member").await;
            let mut values = vec![("$username", username.clone()), ("$password", PASSWORD.to_owned())];
            let private = json!({ "isPublic": false });
            assert_eq!(
                caller.put(&format!("/v1/profile/{username}"), private).await.status,
                200
            );
            let trigger = caller.trigger("t", false).await;
            let activation = format!("/v1/triggers/{trigger}/activation");
            assert_eq!(caller.post(&activation, json!({})).await.status, 200);
            let send = "mutation { sendMessage(input: { content: \"hi\" }) { message { id room { id } } } }";
            let message = caller.data(send, Value::Null).await["sendMessage"]["message"].take();
            let generate = "mutation { generate(input: { prompt: \"p\" }) { sessionId } }";
            let session = caller.data(generate, Value::Null).await["generate"]["sessionId"].take();
            let webhook = self.webhook(&caller).await;
            let ordered = self.disorder(&caller).await;
            let keys = [caller.key(&["moderate"]).await, caller.key(&ALL_SCOPES).await];
            let document =
                "{ viewer { user { id } profile { id } logins { id } apiKeys { id } consents { nodes { id } } } }";
            let data = caller.data(document, Value::Null).await;
            // A reader of the log may be a moment behind what happened.
            let mut event = Value::Null;
            eventually("the owner's change of profile is in the log", async || {
                let document = "{ events(kinds: [PROFILE_UPDATE], first: 100) { nodes { id data } } }";
                let events = caller.data(document, Value::Null).await["events"]["nodes"].take();
                let mut own = events
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter(|event| event["data"]["username"] == username);
                event = own.next_back().map(|event| event["id"].clone()).unwrap_or_default();
                event.is_string()
            })
            .await;
            let viewer = &data["viewer"];
            values.push(("$trigger", trigger));
            values.extend(ordered);
            values.extend(webhook);
            for (name, value) in [
                ("$user", &viewer["user"]["id"]),
                ("$profile", &viewer["profile"]["id"]),
                ("$login", &viewer["logins"][0]["id"]),
                ("$key", &viewer["apiKeys"][0]["id"]),
                ("$consent", &viewer["consents"]["nodes"][0]["id"]),
                ("$event", &event),
                ("$message", &message["id"]),
                ("$session", &session),
                ("$room", &message["room"]["id"]),
            ] {
                values.push((name, value.as_str().unwrap().to_owned()));
            }
            self.owner = Some(Owner { caller, keys, values });
        }
        self.owner.as_ref().unwrap()
    }

    /// A webhook of the owner's, and a delivery that has ended.
    async fn webhook(&mut self, owner: &Caller<'a>) -> Vec<(&'static str, String)> {
        let body = json!({ "url": self.receiver.url("/"), "events": ["trigger.shared"] });
        let webhook = owner.post("/v1/webhooks", body).await.body;
        let path = format!("/v1/webhooks/{}", webhook["id"].as_str().unwrap());
        let delivery = owner.post(&format!("{path}/ping"), json!({})).await.body;
        eventually("the delivery has ended", async || {
            let deliveries = owner.get(&format!("{path}/deliveries")).await.body;
            deliveries["deliveries"][0]["status"] == "delivered"
        })
        .await;
        let id = |of: &Value| of["id"].as_str().unwrap().to_owned();
        vec![("$webhook", id(&webhook)), ("$delivery", id(&delivery))]
    }

    /// A member whom the owner has reported and an admin has muted.
    async fn disorder(&mut self, owner: &Caller<'a>) -> Vec<(&'static str, String)> {
        let (username, subject) = self.member("subject").await;
        let mut values = vec![("$subject", username.clone())];
        let send = "mutation { sendMessage(input: { content: \"hi\" }) { message { id } } }";
        let mut messages = Vec::new();
        for _ in 0..2 {
            let sent = subject.data(send, Value::Null).await;
            messages.push(sent["sendMessage"]["message"]["id"].as_str().unwrap().to_owned());
        }
        let report = format!("/v1/chat/messages/{}/report", messages[0]);
        let report = owner.post(&report, json!({ "reason": "r" })).await;
        values.push(("$report", report.body["id"].as_str().unwrap().to_owned()));
        values.push(("$reportable", messages.remove(1)));
        let (_, admin) = self.member("admin").await;
        let mute = format!(
            "mutation {{ muteMember(username: \"{username}\", input: {{ reason: \"r\" }}) {{ user {{ id }} }} }}"
        );
        admin.data(&mute, Value::Null).await;
        let acts = admin.data("{ auditLog(first: 1) { nodes { id } } }", Value::Null).await;
        let entry = &acts["auditLog"]["nodes"][0]["id"];
        values.push(("$entry", entry.as_str().unwrap().to_owned()));
        values
    }

    async fn caller(&mut self, who: Who) -> Caller<'a> {
        let server = self.server;
        let owner = self.owner().await;
        let role = match who {
            Who::Stranger => return server.nobody(),
            Who::KeyWithout => return server.bearer(&owner.keys[0]),
            Who::KeyWith => return server.bearer(&owner.keys[1]),
            Who::Owner => return owner.caller.clone(),
            Who::Other => "member",
            Who::Moderator => "moderator",
            Who::Admin => "admin",
        };
        if !self.others.contains_key(role) {
            let (_, caller) = self.member(role).await;
            self.others.insert(role, caller);
        }
        self.others[role].clone()
    }

    async fn values(&mut self, text: &str) -> String {
        self.number += 1;
        let number = self.number.to_string();
        let owner = self.owner().await;
        // Longer names first, so that `$user` does not eat the beginning of `$username`.
        let mut values: Vec<(&str, &str)> = owner
            .values
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        values.push(("$number", &number));
        values.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        values
            .iter()
            .fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    async fn ask(&mut self, who: Who, name: &str, ask: &Ask) -> String {
        let caller = self.caller(who).await;
        let (answer, changes) = match ask {
            Ask::GraphQl(document) if document.starts_with("subscription") => {
                (begun(&caller, &self.values(document).await).await, false)
            }
            Ask::GraphQl(document) if document.contains("$file") => {
                let file = avatars::picture(8, 8, image::ImageFormat::Png);
                (send(avatars::over_graphql(&caller, &file)).await, true)
            }
            Ask::GraphQl(document) => {
                let answer = caller.graphql(&self.values(document).await, Value::Null).await;
                (answer, document.starts_with("mutation"))
            }
            Ask::Rest { method, path, body } => {
                let mut request = caller.request(method.clone(), &self.values(path).await);
                if *body == Some("$file") {
                    let file = avatars::picture(8, 8, image::ImageFormat::Png);
                    request = avatars::with_parts(request, &[("file", true, &file)]);
                } else if let Some(body) = body {
                    request = request
                        .header("content-type", "application/json")
                        .body(self.values(body).await);
                }
                (self.samples.send(request).await, *method != Method::GET)
            }
        };
        let cell = cell(&answer);
        if changes && cell == "ok" {
            match who {
                Who::Stranger => {}
                Who::KeyWithout | Who::KeyWith | Who::Owner => self.owner = None,
                Who::Other | Who::Moderator | Who::Admin if BETWEEN_MEMBERS.contains(&name) => self.owner = None,
                // What they change is theirs, and no row asks for it, unless they are gone with it.
                Who::Other | Who::Moderator | Who::Admin if ENDS.contains(&name) => self.others.clear(),
                Who::Other | Who::Moderator | Who::Admin => {}
            }
        }
        cell
    }
}

const ALL_SCOPES: [&str; 13] = [
    "profile:read",
    "profile:write",
    "triggers:read",
    "triggers:write",
    "ai:generate",
    "sessions:read",
    "sessions:write",
    "chat:read",
    "chat:write",
    "webhooks:read",
    "webhooks:write",
    "events:read",
    "moderate",
];

/// What a stream of events begins with: why there is none, or anything else.
async fn begun(caller: &Caller<'_>, document: &str) -> Answer {
    let request = caller.request(Method::POST, "/graphql");
    let request = request.header("accept", "text/event-stream");
    let mut response = request.json(&json!({ "query": document })).send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let chunk = response.chunk().await.unwrap().expect("a stream begins with something");
    let text = std::str::from_utf8(&chunk).unwrap();
    let data = text.lines().find_map(|line| line.strip_prefix("data: "));
    let body = match data {
        Some(data) => serde_json::from_str(data).unwrap(),
        None => json!({ "data": "nothing yet" }),
    };
    Answer { status, headers, body }
}

/// `ok`, `null` where the answer is null without an error, or the code of the error.
fn cell(answer: &Answer) -> String {
    let code = answer.code();
    if !code.is_empty() {
        return code.to_owned();
    }
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    let mut value = &answer.body["data"];
    while let Some(inner) = value.as_object().and_then(|members| members.values().next()) {
        value = inner;
    }
    let graphql = answer.body.get("data").is_some();
    if graphql && value.is_null() { "null" } else { "ok" }.to_owned()
}

#[tokio::test]
async fn everything_is_open_to_whom_the_protocol_says_and_to_nobody_else() {
    let server = webhooks::server().await;
    let types = Types::parse(include_str!("../../schema.graphql")).unwrap();
    let openapi = server.nobody().get("/v1/openapi.json").await.body;
    let mut cast = Cast {
        server: &server,
        database: server.place.database().await,
        number: 0,
        owner: None,
        others: BTreeMap::new(),
        samples: Samples::default(),
        receiver: Receiver::start().await,
    };
    let rows = rows(&types, &openapi);
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap() + 2;
    let mut table = format!("{:width$}", "");
    for (heading, _) in COLUMNS {
        write!(table, "{heading:18}").unwrap();
    }
    for (name, ask) in &rows {
        write!(table, "\n{name:width$}").unwrap();
        for (_, who) in COLUMNS {
            write!(table, "{:18}", cast.ask(who, name, ask).await).unwrap();
        }
    }
    cast.samples.check(&server).await;
    let table: Vec<&str> = table.lines().map(str::trim_end).collect();
    insta::assert_snapshot!(table.join("\n"));
}
