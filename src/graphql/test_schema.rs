//! A schema of a few types to prepare and run operations on: code, and SDL with the rules that go with it.

use std::sync::{Arc, Mutex};

use async_graphql::{
    Context, InputObject, Interface, MaybeUndefined, Object, Schema, SimpleObject, Subscription, Union,
};
use futures_util::{Stream, StreamExt, stream};

use super::{
    coerce::Spelling,
    document::{Bound, Documents, LIMITS, Operation},
    execute::{Engine, Outcome, RunContext},
    failure::Failure,
    types::Types,
};
use crate::error::{Error, Kind};

const SDL: &str = r#"
schema { query: Query mutation: Mutation subscription: Subscription }
interface Node { id: ID! }
type Query {
  hello(name: String! = "you", loud: Boolean): String!
  viewer: Viewer @allow
  node(id: ID!): Node @allow
  search: [Found!] @allow
  profiles(first: Int! = 50, after: String): ProfileConnection @allow(scope: PROFILE_READ)
  profile(username: String!): Profile
  fail(how: String!): String
  strict(how: String!): Strict
  where: String
  slow(turns: Int!): Int!
}
type Strict { fails: String! fine: String! nested: Strict }
type Viewer { email: String @allow profile: Profile! @allow(scope: PROFILE_READ) sessions: [Session!] @allow(scope: SESSIONS_READ) fails: String }
type Session implements Node @allow(scope: SESSIONS_READ) { id: ID! }
type Profile implements Node @allow(scope: PROFILE_READ) { id: ID! username: String! friends: [Profile!] secret: String @allow(role: MODERATOR, scope: MODERATE) }
union Found = Profile | Session
type ProfileConnection { nodes: [Profile!]! edges: [ProfileEdge!]! pageInfo: PageInfo! }
type ProfileEdge { node: Profile! cursor: String! }
type PageInfo { hasNextPage: Boolean! }
input Change { note: String name: String }
type Mutation {
  register: Registered @allow(anonymous: true)
  count(label: String): Int! @allow(scope: CHAT_WRITE)
  change(input: Change!): String @allow
}
type Registered { viewer: Viewer user: Profile }
type Subscription { ticks(after: ID): Int! @allow other: Int! @allow }
"#;

#[derive(Clone)]
pub struct Query;

#[derive(Interface)]
#[graphql(field(name = "id", ty = "&async_graphql::ID"))]
enum Node {
    Profile(Profile),
    Session(Session),
}

#[derive(Union)]
enum Found {
    Profile(Profile),
    Session(Session),
}

#[derive(SimpleObject)]
struct Session {
    id: async_graphql::ID,
}

struct Profile(String);

#[Object]
impl Profile {
    async fn id(&self) -> &async_graphql::ID {
        static ID: std::sync::LazyLock<async_graphql::ID> = std::sync::LazyLock::new(|| "profile_1".into());
        &ID
    }
    async fn username(&self) -> &str {
        &self.0
    }
    async fn friends(&self) -> Option<Vec<Profile>> {
        Some(vec![Profile("ann".into())])
    }
    async fn secret(&self) -> Option<&str> {
        Some("s")
    }
}

#[derive(SimpleObject)]
struct PageInfo {
    has_next_page: bool,
}

#[derive(SimpleObject)]
struct ProfileEdge {
    node: Profile,
    cursor: String,
}

#[derive(SimpleObject)]
struct ProfileConnection {
    nodes: Vec<Profile>,
    edges: Vec<ProfileEdge>,
    page_info: PageInfo,
}

struct Viewer;

#[Object]
impl Viewer {
    async fn email(&self) -> Option<&str> {
        Some("a@b.c")
    }
    async fn profile(&self) -> Profile {
        Profile("me".into())
    }
    async fn sessions(&self) -> Option<Vec<Session>> {
        Some(vec![])
    }
    async fn fails(&self) -> Result<Option<&str>, Error> {
        Err(Error::not_found("thing"))
    }
}

struct Strict;

#[Object]
impl Strict {
    async fn fails(&self) -> Result<String, Error> {
        Err(Error::new(Kind::Conflict, "never"))
    }
    async fn fine(&self) -> &str {
        "fine"
    }
    async fn nested(&self) -> Option<Strict> {
        Some(Strict)
    }
}

#[Object]
impl Query {
    async fn hello(&self, #[graphql(default_with = "\"you\".to_owned()")] name: String, loud: Option<bool>) -> String {
        if loud == Some(true) { name.to_uppercase() } else { name }
    }
    async fn viewer(&self) -> Option<Viewer> {
        Some(Viewer)
    }
    async fn node(&self, id: async_graphql::ID) -> Option<Node> {
        if id.starts_with("session") {
            Some(Node::Session(Session { id }))
        } else {
            Some(Node::Profile(Profile("me".into())))
        }
    }
    async fn search(&self) -> Option<Vec<Found>> {
        Some(vec![
            Found::Profile(Profile("me".into())),
            Found::Session(Session { id: "session_1".into() }),
        ])
    }
    async fn profiles(&self, #[graphql(default = 50)] first: i32, after: Option<String>) -> Option<ProfileConnection> {
        let _ = (first, after);
        Some(ProfileConnection {
            nodes: vec![],
            edges: vec![],
            page_info: PageInfo { has_next_page: false },
        })
    }
    async fn profile(&self, username: String) -> Option<Profile> {
        Some(Profile(username))
    }
    async fn fail(&self, how: String) -> Result<Option<String>, Error> {
        match how.as_str() {
            "panic" => panic!("the resolver gave up"),
            "internal" => Err(Error::internal("password of the database")),
            _ => Err(Error::invalid("how", "is unknown")),
        }
    }
    async fn strict(&self, how: String) -> Option<Strict> {
        let _ = how;
        Some(Strict)
    }
    /// Where the selection stands in memory.
    #[graphql(name = "where")]
    async fn place(&self, ctx: &Context<'_>) -> Option<String> {
        ctx.append_http_header("x-where", "here");
        Some(format!("{:p}", ctx.item))
    }
    /// Is ready after so many turns of the executor.
    async fn slow(&self, turns: i32) -> i32 {
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        turns
    }
}

/// What mutations did, in order.
#[derive(Clone, Default)]
pub struct Log(pub Arc<Mutex<Vec<String>>>);

#[derive(InputObject)]
struct Change {
    note: MaybeUndefined<String>,
    name: Option<String>,
}

#[derive(SimpleObject)]
struct Registered {
    viewer: Option<Viewer>,
    user: Option<Profile>,
}

#[derive(Clone)]
pub struct Mutation;

#[Object]
impl Mutation {
    async fn register(&self) -> Option<Registered> {
        None
    }
    async fn count(&self, ctx: &Context<'_>, label: Option<String>) -> usize {
        let log = ctx.data_unchecked::<Log>();
        tokio::task::yield_now().await;
        let mut log = log.0.lock().unwrap();
        log.push(label.unwrap_or_default());
        log.len()
    }
    async fn change(&self, input: Change) -> Option<String> {
        Some(format!("{:?} {:?}", input.note, input.name))
    }
}

pub struct Ticks;

#[Subscription]
impl Ticks {
    async fn ticks(&self, after: Option<async_graphql::ID>) -> impl Stream<Item = i32> {
        let _ = after;
        stream::iter(0..3).boxed()
    }
    async fn other(&self) -> impl Stream<Item = i32> {
        stream::iter(0..3).boxed()
    }
}

pub fn types() -> Arc<Types> {
    Arc::new(Types::parse(SDL).unwrap())
}

pub fn engine() -> Engine {
    Engine::new(Schema::build(Query, Mutation, Ticks), Query, Mutation, Query)
}

pub fn documents() -> Documents {
    Documents::new(engine(), types(), LIMITS)
}

/// The kind of the first failure, for a text that must not be taken.
pub fn refused(text: &str) -> Failure {
    documents().prepare(text).expect_err(text).remove(0)
}

/// The only operation of a text that must be taken.
pub fn operation(text: &str) -> Arc<Operation> {
    let document = documents()
        .prepare(text)
        .unwrap_or_else(|failures| panic!("{text}: {failures:?}"));
    document.operation(None).unwrap().clone()
}

pub fn try_bind(text: &str, variables: serde_json::Value) -> Result<Bound, Error> {
    operation(text).coerce(variables.as_object().unwrap(), Spelling::GraphQl)
}

pub fn bind(text: &str, variables: serde_json::Value) -> Bound {
    try_bind(text, variables).unwrap()
}

/// Runs with `log` at hand.
pub async fn run_with(bound: &Bound, log: &Log) -> Outcome {
    let mut context = RunContext {
        request_id: "request_1".to_owned(),
        ..RunContext::default()
    };
    context.data.insert(log.clone());
    engine().run(bound, context).await
}

pub async fn run(bound: &Bound) -> Outcome {
    run_with(bound, &Log::default()).await
}

/// Runs and writes the data.
pub async fn data(text: &str, variables: serde_json::Value) -> String {
    let bound = bind(text, variables);
    let outcome = run(&bound).await;
    written(&bound, &outcome)
}

pub fn written(bound: &Bound, outcome: &Outcome) -> String {
    let mut out = Vec::new();
    bound.write(&outcome.data, &mut out);
    String::from_utf8(out).unwrap()
}
