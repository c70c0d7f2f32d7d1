//! Subscriptions: what is told as it happens, rendered once for all who see the same.

use std::sync::Arc;

use async_graphql::{
    Context, InputType, Name, ObjectType, Positioned, Response, SubscriptionType, Value,
    parser::types::{Field, Selection, SelectionSet},
    registry::Registry,
};
use bytes::Bytes;
use futures_util::{FutureExt, stream::Stream};
use tokio::sync::Notify;

use super::{
    document::Bound,
    execute::{Engine, Outcome, RunContext},
    http::Answer,
    types::{Types, base_name},
};
use crate::{
    ai::{Ai, Answering, Step, graphql::GenerateInput},
    chat::{
        Chat, LOBBY,
        feed::{Audience, Change, Delivery, Entry, Follower, Render, Rendered, What},
    },
    error::{Error, Kind, Result},
    gate::{Admission, Gate, Permit, Standing, System, rules},
};

/// What a subscription's root field finds in its context: what it is to show, and for whom.
pub struct Showing {
    pub what: Shows,
    pub permit: Permit,
}

/// What a subscription tells of.
#[derive(Clone)]
pub enum Shows {
    /// What happened in a room.
    Entry(Arc<Entry>),
    /// What has come of an answer.
    Step(Arc<Step>),
}

/// What the root field of a subscription is to show.
///
/// # Errors
///
/// A defect: the field is not run as a subscription.
pub fn showing<'a>(ctx: &Context<'a>) -> Result<&'a Showing> {
    ctx.data_opt::<Showing>()
        .ok_or_else(|| Error::internal("a subscription that shows nothing"))
}

/// How the responses of a subscription are written.
#[derive(Clone)]
pub struct Dialect {
    /// Tells renderings apart that are shared.
    pub name: String,
    pub write: Arc<Write>,
}

type Write = dyn Fn(&Bound, Outcome) -> Vec<u8> + Send + Sync;

impl Dialect {
    /// As GraphQL has them: `{"data", "errors"}`.
    pub fn graphql() -> Dialect {
        let write = |bound: &Bound, outcome: Outcome| {
            let mut response = Vec::with_capacity(256);
            Answer::ran(bound.clone(), outcome).write(&mut response);
            response
        };
        Dialect {
            name: String::new(),
            write: Arc::new(write),
        }
    }
}

/// What subscriptions are about, and what runs them.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    pub engine: &'a Engine,
    pub types: &'a Types,
    pub chat: &'a Chat,
    pub ai: &'a Ai,
}

/// The fields that do not depend on who is calling, each reviewed: they show what is public of what the event is about,
/// and take no arguments. A row for a field stands in for that of its type: of members who come and go no more is at hand.
/// A selection of others is run for each caller. Source: DESIGN, "Sharing what subscribers see".
const SHARED: &[(&str, &[&str])] = &[
    ("Subscription", &["messageAdded", "roomChanged"]),
    ("MessageAdded", &["id", "message"]),
    ("MessageEdited", &["id", "message"]),
    ("MessageDeleted", &["id", "message"]),
    ("MemberJoined", &["user"]),
    ("MemberLeft", &["user"]),
    ("MemberTyping", &["user"]),
    ("MemberJoined.user", &["id", "username"]),
    ("MemberLeft.user", &["id", "username"]),
    ("MemberTyping.user", &["id", "username"]),
    (
        "Message",
        &[
            "id",
            "number",
            "room",
            "author",
            "content",
            "timestamp",
            "editedAt",
            "deletedAt",
        ],
    ),
    ("Room", &["id", "name"]),
    ("User", &["id", "username", "role", "createdAt"]),
];

/// A subscription that is open.
pub struct Live {
    source: Source,
    /// What it was charged for; its caller is replaced when they change.
    admission: Admission,
    rendering: Rendering,
}

enum Source {
    Room(Follower),
    Answer(Answering),
}

/// What is there of a subscription.
#[derive(Debug, Default)]
pub struct Taken {
    /// In their order; empty where there is nothing more for now.
    pub deliveries: Vec<Delivery>,
    /// Where nothing follows any more: whether it ended well.
    pub end: Option<Result<()>>,
}

/// How what happens becomes a response.
#[derive(Clone)]
struct Rendering {
    engine: Engine,
    bound: Arc<Bound>,
    dialect: Dialect,
}

impl Live {
    /// Opens an admitted subscription. One to a room begins after `resume`, the id of an event or message, else after its
    /// argument `after`, else now. `wake` is rung when there is something to [take](Self::take); it may serve several.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND` for the room, or for what it is to begin after; for an answer as [`Ai::prepare`].
    pub async fn open(
        sources: Sources<'_>,
        bound: Bound,
        admission: Admission,
        dialect: Dialect,
        resume: Option<&str>,
        wake: &Arc<Notify>,
    ) -> Result<Live> {
        let rendering = Rendering {
            engine: sources.engine.clone(),
            bound: Arc::new(bound),
            dialect,
        };
        let bound = &rendering.bound;
        let field = bound.root_field().ok_or_else(nothing_selected)?;
        let source = match field.name.node.as_str() {
            ANSWER => Source::Answer(answer(sources.ai, bound, &admission, wake).await?),
            _ => {
                let permit = permit(field, &admission)?;
                Source::Room(rendering.follow(&sources, permit, resume, wake).await?)
            }
        };
        Ok(Live {
            source,
            admission,
            rendering,
        })
    }

    /// The responses that are there. Does not wait for events: `wake` tells of them. Where this is cancelled, a room is
    /// read on the next time, and what had come of an answer is lost: it is for those who end then.
    ///
    /// # Errors
    ///
    /// A database that does not answer: what was to come is still to come.
    pub async fn take(&mut self) -> Result<Taken> {
        match &mut self.source {
            Source::Room(follower) => loop {
                let mut deliveries = follower.take().await?;
                let had_some = !deliveries.is_empty();
                deliveries.retain(|delivery| !self.admission.caller().hides(delivery.by));
                if !deliveries.is_empty() || !had_some {
                    return Ok(Taken { deliveries, end: None });
                }
            },
            Source::Answer(answering) => Ok(self.rendering.step(answering, &self.admission).await),
        }
    }

    /// Goes on for the caller as they are now: with another role, other blocks.
    ///
    /// # Errors
    ///
    /// What the subscription requires and the caller may no longer do.
    pub fn renew(&mut self, standing: &Standing) -> Result<()> {
        let caller = standing.caller();
        let bound = &self.rendering.bound;
        for requirement in &bound.admission().requirements {
            caller.may(&requirement.rule)?;
        }
        self.admission = self.admission.again(standing);
        if let Source::Room(follower) = &mut self.source {
            let field = bound.root_field().ok_or_else(nothing_selected)?;
            let permit = permit(field, &self.admission)?;
            follower.render_own(self.rendering.for_one(permit));
        }
        Ok(())
    }

    /// The room that is followed, for who is in it.
    pub fn room(&self) -> Option<uuid::Uuid> {
        match &self.source {
            Source::Room(follower) => Some(follower.room().id),
            Source::Answer(_) => None,
        }
    }
}

/// The subscription to an answer, and the mutation that it does the work of.
const ANSWER: &str = "generation";
const ANSWERS_AS: &str = "generate";

/// Begins an answer: once for the request's idempotency key, which it shares with the mutation.
async fn answer(ai: &Ai, bound: &Bound, admission: &Admission, wake: &Arc<Notify>) -> Result<Answering> {
    let input = GenerateInput::parse(bound.root_argument("input"))
        .map_err(|error| Error::internal(error.into_server_error(Default::default()).message))?
        .read()?;
    let rule = rules::field("Subscription", ANSWER);
    let rule = rule.ok_or_else(|| Error::internal("Subscription.generation has no rule"))?;
    let permit = admission.permit_once(rule, ANSWERS_AS, &input)?;
    Ok(Answering::start(ai.prepare(&permit, input).await?, &permit, wake))
}

fn nothing_selected() -> Error {
    Error::new(Kind::GraphqlValidationFailed, "a subscription has one root field")
}

fn permit(field: &Field, admission: &Admission) -> Result<Permit> {
    let name = field.name.node.as_str();
    let rule = rules::field("Subscription", name);
    admission.permit(rule.ok_or_else(|| Error::internal(format!("Subscription.{name} has no rule")))?)
}

fn text(value: Option<Value>) -> Option<String> {
    match value {
        Some(Value::String(text)) => Some(text),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    }
}

/// Whether the stream of a root field tells of an entry.
fn concerns(field: &str, entry: &Entry) -> bool {
    match &entry.what {
        What::Message { change, .. } => *change == Change::Added || field == "roomChanged",
        What::Member { .. } => field == "roomChanged",
    }
}

impl Rendering {
    async fn follow(
        &self,
        sources: &Sources<'_>,
        permit: Permit,
        resume: Option<&str>,
        wake: &Arc<Notify>,
    ) -> Result<Follower> {
        let (bound, chat) = (&self.bound, sources.chat);
        let name = text(bound.root_argument("room")).unwrap_or_else(|| LOBBY.to_owned());
        let room = chat.room(&permit, &name).await?;
        let after = match resume.map(str::to_owned).or_else(|| text(bound.root_argument("after"))) {
            Some(id) => Some(chat.place(&permit, &room, &id).await?),
            None => None,
        };
        let audience = match shared_rendering(sources.types, bound.selection()) {
            Some(rendering) => Audience::Shared {
                rendering: format!("{}{rendering}", self.dialect.name),
                render: self.for_all(permit.gate()),
            },
            None => Audience::Own,
        };
        let own = self.for_one(permit);
        chat.feeds().follow(&room, after, audience, own, wake).await
    }

    /// Renders with no caller at all. If a resolver asks who is calling all the same, what it gave is for nobody.
    fn for_all(&self, gate: &Gate) -> Render {
        let (rendering, gate) = (self.clone(), gate.clone());
        Arc::new(move |entry| {
            let (rendering, permit) = (rendering.clone(), gate.system(System::Tail));
            async move {
                match rendering.entry(entry, permit.clone()).await {
                    Rendered::Frame(_) if permit.was_asked() => Rendered::PerCaller,
                    rendered => rendered,
                }
            }
            .boxed()
        })
    }

    /// Renders for the permit's caller.
    fn for_one(&self, permit: Permit) -> Render {
        let rendering = self.clone();
        Arc::new(move |entry| {
            let (rendering, permit) = (rendering.clone(), permit.clone());
            async move { rendering.entry(entry, permit).await }.boxed()
        })
    }

    async fn entry(&self, entry: Arc<Entry>, permit: Permit) -> Rendered {
        let field = self.bound.root_field().map(|field| field.name.node.as_str());
        match field.is_some_and(|field| concerns(field, &entry)) {
            true => self.show(Shows::Entry(entry), permit).await,
            false => Rendered::Nothing,
        }
    }

    /// What has come of an answer, rendered for the caller.
    async fn step(&self, answering: &Answering, admission: &Admission) -> Taken {
        let mut taken = Taken::default();
        while taken.deliveries.is_empty() && taken.end.is_none() {
            let step = match answering.take() {
                Ok(Some(step)) => Arc::new(step),
                Ok(None) => break,
                Err(error) => {
                    taken.end = Some(Err(error));
                    break;
                }
            };
            if let Step::Done(_) = &*step {
                taken.end = Some(Ok(()));
            }
            let shown = self.show(Shows::Step(step), answering.permit().clone());
            if let Rendered::Frame(frame) = shown.await {
                let by = admission
                    .caller()
                    .member()
                    .map(|known| known.member)
                    .unwrap_or_default();
                taken.deliveries.push(Delivery { event: None, by, frame });
            }
        }
        taken
    }

    async fn show(&self, what: Shows, permit: Permit) -> Rendered {
        let mut context = RunContext {
            request_id: uuid::Uuid::new_v4().simple().to_string(),
            ..Default::default()
        };
        context.data.insert(Showing { what, permit });
        let outcome = self.engine.show(&self.bound, context).await;
        if outcome.errors.is_empty() && selects_nothing(&outcome.data) {
            return Rendered::Nothing;
        }
        Rendered::Frame(Bytes::from((self.dialect.write)(&self.bound, outcome)))
    }
}

/// Whether a root field that is never null is: nothing is selected of events of this type.
fn selects_nothing(data: &Value) -> bool {
    match data {
        Value::Object(members) => members.values().all(|member| *member == Value::Null),
        _ => true,
    }
}

/// The selection as text, if everyone who makes it sees the same.
fn shared_rendering(types: &Types, selection: &SelectionSet) -> Option<String> {
    let mut text = String::new();
    write_shared(types, "Subscription", "Subscription", selection, &mut text)?;
    Some(text)
}

/// `row` is the row of the table for objects of the type `parent` here.
fn write_shared(types: &Types, parent: &str, row: &str, set: &SelectionSet, out: &mut String) -> Option<()> {
    use std::fmt::Write;

    let shared = |row: &str| SHARED.iter().find(|(name, _)| *name == row).map(|(_, fields)| *fields);
    for selection in &set.items {
        match &selection.node {
            Selection::Field(Positioned { node: field, .. }) => {
                let name = field.name.node.as_str();
                write!(out, "{}:{name}", field.response_key().node).ok()?;
                if name == "__typename" {
                    out.push(' ');
                    continue;
                }
                if !shared(row)?.contains(&name) || (parent != "Subscription" && !field.arguments.is_empty()) {
                    return None;
                }
                let ty = base_name(&types.field(parent, name)?.ty).as_str();
                let of_field = format!("{parent}.{name}");
                let row = if shared(&of_field).is_some() { &of_field } else { ty };
                out.push('{');
                write_shared(types, ty, row, &field.selection_set.node, out)?;
                out.push('}');
            }
            Selection::InlineFragment(Positioned { node: fragment, .. }) => {
                let ty = match &fragment.type_condition {
                    Some(condition) => condition.node.on.node.clone(),
                    None => Name::new(parent),
                };
                write!(out, "...{ty}{{").ok()?;
                write_shared(types, &ty, &ty, &fragment.selection_set.node, out)?;
                out.push('}');
            }
            Selection::FragmentSpread(_) => return None,
        }
    }
    Some(())
}

/// The subscription root as the library wants to have it: its types. What runs is [`Engine::show`].
pub struct Described<T>(std::marker::PhantomData<T>);

impl<T> Default for Described<T> {
    fn default() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<T: ObjectType> SubscriptionType for Described<T> {
    fn type_name() -> std::borrow::Cow<'static, str> {
        T::type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        T::create_type_info(registry)
    }

    fn create_field_stream<'a>(
        &'a self,
        _: &'a async_graphql::Context<'_>,
    ) -> Option<std::pin::Pin<Box<dyn Stream<Item = Response> + Send + 'a>>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{
        boot,
        chat::{Room, View},
        gate::tests::gate,
        graphql::{
            document::{Documents, LIMITS},
            schema,
        },
        loaders::Loaders,
        presence::{ChangeKind, Member, Presence},
        profiles::Seen,
    };

    fn entries() -> Vec<Arc<Entry>> {
        let room = Arc::new(Room {
            id: Uuid::now_v7(),
            name: "lobby".to_owned(),
        });
        let message = Arc::new(View {
            id: Uuid::now_v7(),
            room: room.clone(),
            number: 1,
            seq: 1,
            author: Seen {
                id: Uuid::now_v7(),
                username: "alice".to_owned(),
                role: "member".to_owned(),
                created_at: 0,
            },
            content: "hi".to_owned(),
            created_at: 0,
            edited_at: Some(1_000),
            deleted_at: Some(2_000),
        });
        let messages = [Change::Added, Change::Edited, Change::Deleted].map(|change| What::Message {
            event: Uuid::now_v7(),
            change,
            message: message.clone(),
        });
        let members = [ChangeKind::Joined, ChangeKind::Left, ChangeKind::Typing].map(|change| What::Member {
            room: room.clone(),
            change,
            member: Member {
                id: Uuid::now_v7(),
                username: "alice".into(),
            },
        });
        let all = messages.into_iter().chain(members);
        all.map(|what| Arc::new(Entry { seq: 1, what })).collect()
    }

    /// Everything that is shared of a type, as a selection.
    fn everything(types: &Types, ty: &str, row: &str) -> String {
        let find = |name: &str| SHARED.iter().find(|(row, _)| *row == name);
        let Some((_, fields)) = find(row) else {
            return String::new();
        };
        let fields = fields.iter().map(|field| {
            let of = base_name(&types.field(ty, field).expect("a field of the schema").ty);
            let of_field = format!("{ty}.{field}");
            let row = if find(&of_field).is_some() {
                &of_field
            } else {
                of.as_str()
            };
            format!("{field}{}", everything(types, of, row))
        });
        format!(" {{ __typename {} }}", fields.collect::<Vec<_>>().join(" "))
    }

    struct Stage {
        gate: Gate,
        engine: Engine,
        types: Arc<Types>,
        documents: Documents,
    }

    async fn stage() -> Stage {
        let gate = gate().await;
        let chat = Arc::new(Chat::new(&gate, Arc::new(Presence::memory())));
        let loaders = Loaders::new(&gate);
        let engine = schema::engine(|builder| builder.data(chat).data(loaders));
        let types = Arc::new(Types::parse(&boot::schema_sdl(&engine).unwrap()).unwrap());
        Stage {
            documents: Documents::new(engine.clone(), types.clone(), LIMITS),
            gate,
            engine,
            types,
        }
    }

    impl Stage {
        fn bound(&self, text: &str) -> Arc<Bound> {
            let document = self.documents.prepare(text).expect(text);
            let operation = document.operation(None).unwrap();
            Arc::new(operation.bind(Default::default()).unwrap())
        }
    }

    impl Stage {
        fn for_all(&self, bound: &Arc<Bound>) -> Render {
            let rendering = Rendering {
                engine: self.engine.clone(),
                bound: bound.clone(),
                dialect: Dialect::graphql(),
            };
            rendering.for_all(&self.gate)
        }
    }

    #[tokio::test]
    async fn what_is_shared_asks_nobody_who_is_calling() {
        let stage = stage().await;
        let events: Vec<String> = SHARED
            .iter()
            .filter(|(ty, _)| stage.types.applies(ty, "RoomEvent"))
            .map(|(ty, _)| format!("... on {ty}{}", everything(&stage.types, ty, ty)))
            .collect();
        assert_eq!(events.len(), 6);
        // Once here: a response key has one type, and `message` is the same everywhere.
        let bound = stage.bound(&format!("subscription {{ roomChanged {{ {} }} }}", events.join(" ")));
        assert!(shared_rendering(&stage.types, bound.selection()).is_some());
        let render = stage.for_all(&bound);
        for entry in entries() {
            let Rendered::Frame(frame) = render(entry.clone()).await else {
                panic!("{entry:?} depends on the caller");
            };
            let response: serde_json::Value = serde_json::from_slice(&frame).unwrap();
            assert!(response.get("errors").is_none(), "{response:#}");
        }
    }

    #[tokio::test]
    async fn what_depends_on_the_caller_is_not_shared() {
        let stage = stage().await;
        for unshared in [
            "messageAdded { author { profile { id } } }",
            "messageAdded { room { members { id } } }",
            "messageAdded { room { messages { nodes { id } } } }",
            "roomChanged { ... on MemberJoined { user { profile { id } } } }",
            "roomChanged { ... on MemberJoined { user { role } } }",
        ] {
            let bound = stage.bound(&format!("subscription {{ {unshared} }}"));
            assert_eq!(shared_rendering(&stage.types, bound.selection()), None, "{unshared}");
            // Were it on the list by mistake, it would be found out when it asks.
            let render = stage.for_all(&bound);
            let asks = unshared.contains("members") || unshared.contains("messages");
            if asks {
                assert!(
                    matches!(render(entries().remove(0)).await, Rendered::PerCaller),
                    "{unshared}"
                );
            }
        }
    }

    #[tokio::test]
    async fn the_same_selection_is_one_rendering_however_it_is_written() {
        let stage = stage().await;
        let rendering = |text: &str| shared_rendering(&stage.types, stage.bound(text).selection()).unwrap();
        let one = rendering("subscription { messageAdded { id author { username } } }");
        assert_eq!(
            one,
            rendering(
                "subscription S { messageAdded(after: \"msg_x\") { ...F } } fragment F on Message { id author { username } }"
            )
        );
        for other in [
            "subscription { messageAdded { id author { name: username } } }",
            "subscription { m: messageAdded { id author { username } } }",
            "subscription { messageAdded { author { username } id } }",
        ] {
            assert_ne!(one, rendering(other), "{other}");
        }
    }
}
