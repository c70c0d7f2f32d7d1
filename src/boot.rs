//! The one switch between embedded (SQLite, in process) and clustered (Postgres, Redis), and the start and end of a node.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::serve::ListenerExt;
use bytes::Bytes;
use ipnet::IpNet;
use secrecy::ExposeSecret;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    accounts::password::Passwords,
    ai::Ai,
    chat::Chat,
    chat_socket::Frames,
    config::{Settings, WebOrigin},
    doorbell::Doorbell,
    events::Render,
    files::Files,
    gate::{Gate, Limits, counted_as, rules},
    graphql::{
        context::PublicUrl,
        document::{Documents, LIMITS, Operation, Requirement},
        execute::Engine,
        schema, sdl,
        types::Types,
    },
    http::{self, Sites},
    loaders::Loaders,
    meter::{Clock, Meter},
    presence::Presence,
    rest::{self, Rest},
    status::Counts,
    strays::{self, Kept},
    webhooks::{Webhooks, outgoing::Outgoing, seal::Seal, worker::Worker},
};

/// How long requests that are running may take to finish when the server ends.
const DRAIN: Duration = Duration::from_secs(10);

/// The schema and the OpenAPI document of the program, without a database.
///
/// # Errors
///
/// A field or type without its rule, or a REST operation that does not fit the schema.
pub fn documents(public: &WebOrigin) -> Result<(String, Bytes), Failed> {
    let engine = schema::engine(|builder| builder);
    let surface = surface(&engine)?;
    Ok((schema_sdl(&engine)?, openapi(&surface.rest, &surface.types, public)?))
}

/// How long connections may take to be closed when no request is running any more.
const FAREWELL: Duration = Duration::from_millis(500);

/// Everything that the surfaces share.
pub struct App {
    pub gate: Gate,
    pub chat: Arc<Chat>,
    pub ai: Ai,
    pub chat_frames: Frames,
    pub engine: Engine,
    pub documents: Documents,
    pub types: Arc<Types>,
    pub files: Files,
    pub rest: Arc<Rest>,
    /// One for each of REST's operations, in their order.
    pub routes: Vec<Prepared>,
    pub openapi: Bytes,
    pub sites: Sites,
    pub trusted_proxies: Vec<IpNet>,
    pub has_redis: bool,
    /// Cancelled when the server is asked to end: what is running goes on, nothing new begins.
    pub draining: CancellationToken,
    /// The requests that are running.
    pub running: TaskTracker,
}

/// A REST operation, ready to run.
pub struct Prepared {
    pub index: usize,
    pub operation: Arc<Operation>,
    /// What it requires of a caller, whatever the variables.
    pub requirements: Vec<Requirement>,
}

/// Why the program cannot start, in a line or a few.
pub type Failed = Box<dyn std::error::Error + Send + Sync>;

/// The schema of the program as SDL.
///
/// # Errors
///
/// A field or type without its rule.
pub fn schema_sdl(engine: &Engine) -> Result<String, String> {
    sdl::annotate(&engine.sdl())
}

/// The parts that need no database: the schema, its documents and REST.
struct Surface {
    types: Arc<Types>,
    documents: Documents,
    rest: Arc<Rest>,
    routes: Vec<Prepared>,
}

fn surface(engine: &Engine) -> Result<Surface, Failed> {
    let types = Arc::new(Types::parse(&schema_sdl(engine)?)?);
    let documents = Documents::new(engine.clone(), types.clone(), LIMITS);
    let rest = Arc::new(Rest::load(rest::V1, &types).map_err(|why| format!("rest/v1.graphql:\n{why}"))?);
    let mut routes = Vec::new();
    for operation in rest.operations() {
        let refused = |why: String| format!("rest/v1.graphql: operation {}: {why}", operation.name);
        let document = documents
            .prepare_parsed(operation.document.clone())
            .map_err(|failures| {
                let messages: Vec<_> = failures
                    .iter()
                    .map(|failure| failure.error.message().to_owned())
                    .collect();
                refused(messages.join("; "))
            })?;
        let prepared = document
            .operation(None)
            .map_err(|error| refused(error.to_string()))?
            .clone();
        let bound = prepared
            .bind(Default::default())
            .map_err(|error| refused(error.to_string()))?;
        routes.push(Prepared {
            index: operation.index,
            operation: prepared,
            requirements: bound.admission().requirements.clone(),
        });
    }
    Ok(Surface {
        types,
        documents,
        rest,
        routes,
    })
}

/// Opens what the settings name. No Redis URL: everything in process.
///
/// # Errors
///
/// A database that cannot be opened or was changed by a newer program.
pub async fn open(settings: &Settings) -> Result<Gate, Failed> {
    std::fs::create_dir_all(&settings.data_dir)
        .map_err(|why| format!("the data folder {} cannot be made: {why}", settings.data_dir.display()))?;
    let (meter, doorbell) = match &settings.redis_url {
        Some(url) => {
            let (url, prefix) = (url.expose_secret(), &settings.redis_prefix);
            (Meter::redis(url, prefix).await?, Doorbell::redis(url, prefix)?)
        }
        None => (Meter::memory(Clock::System), Doorbell::memory()),
    };
    let limits = Limits {
        member: settings.rate_limit_authenticated,
        anonymous: settings.rate_limit_anonymous,
    };
    Gate::open(&settings.database, meter, doorbell, limits, settings.words.clone())
        .await
        .map_err(|error| {
            // What clients would not be told is just what an operator needs.
            let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            format!("the database cannot be used: {why}").into()
        })
}

/// Runs the server until it is asked to end, then lets what is running finish.
///
/// # Errors
///
/// What keeps it from starting, or from ending in order.
pub async fn serve(settings: Settings) -> Result<(), Failed> {
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    raise_open_files();
    let gate = open(&settings).await?;
    let files = Files::open(&settings)?;
    let passwords = Passwords::new(std::thread::available_parallelism().map_or(1, usize::from));
    let render = Render::default();
    let public_url = PublicUrl::default();
    let loaders = Loaders::new(&gate);
    let presence = Arc::new(match &settings.redis_url {
        Some(url) => Presence::redis(url.expose_secret(), &settings.redis_prefix)?,
        None => Presence::memory(),
    });
    let chat = Arc::new(Chat::new(&gate, presence.clone()));
    let ai = Ai::new(&settings.ai, &files)?;
    let (outgoing, seal) = (Outgoing::new(settings.webhooks_allow_insecure)?, Seal::open(&settings)?);
    let engine = schema::engine(|builder| {
        builder
            .data(Webhooks::new(outgoing.clone(), seal.clone()))
            .data(ai.clone())
            .data(loaders)
            .data(passwords)
            .data(render.clone())
            .data(public_url.clone())
            .data(files.clone())
            .data(chat.clone())
            .data(Arc::new(Counts::new(presence.clone())))
    });
    let Surface {
        types,
        documents,
        rest,
        routes,
    } = surface(&engine)?;
    render.set(engine.clone(), rest.clone(), &documents)?;

    let listener = TcpListener::bind(settings.bind)
        .await
        .map_err(|why| format!("cannot listen on {}: {why}", settings.bind))?;
    let address = listener.local_addr()?;
    let public = settings.public_url.clone().unwrap_or_else(|| WebOrigin::of(address));
    public_url.set(public.as_str());
    let (draining, drained) = (CancellationToken::new(), CancellationToken::new());
    let running = TaskTracker::new();
    let app = Arc::new(App {
        openapi: openapi(&rest, &types, &public)?,
        sites: Sites::new(public, settings.allowed_origins.clone()),
        trusted_proxies: settings.trusted_proxies.clone(),
        has_redis: settings.redis_url.is_some(),
        draining: draining.clone(),
        running: running.clone(),
        chat_frames: Frames::new(&engine, &gate, &rest, &documents)?,
        chat: chat.clone(),
        ai,
        gate: gate.clone(),
        files: files.clone(),
        engine,
        documents,
        types,
        rest,
        routes,
    });

    // Ends with the runtime: what is open has been closed by then.
    tokio::spawn(chat.feeds().clone().watch(presence.clone()));
    let deliveries = Worker::new(&gate, outgoing, seal, render).run(draining.clone());
    let delivering = tokio::spawn(counted_as("webhooks", deliveries));
    let kept = Kept {
        audio: settings.ai.speech.as_ref().and_then(|speech| speech.keep),
        events: settings.log_kept,
    };
    let sweep = counted_as("strays", strays::sweep(gate.clone(), files, kept));
    tokio::spawn(draining.clone().run_until_cancelled_owned(sweep));

    let metrics = settings.metrics_bind;
    if let Some(bind) = metrics {
        crate::http::metrics::listen(bind, draining.clone()).await?;
    }

    let mut terminate = signal(SignalKind::terminate())?;
    println!("listening on http://{address}");
    tokio::spawn({
        let drained = drained.clone();
        async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            tracing::info!("ending: running requests have {} s", DRAIN.as_secs());
            draining.cancel();
            running.close();
            if timeout(DRAIN, running.wait()).await.is_err() {
                tracing::warn!(
                    "{} requests were still running after {} s",
                    running.len(),
                    DRAIN.as_secs()
                );
            }
            drained.cancel();
        }
    });
    let service = http::router(app).into_make_service_with_connect_info::<SocketAddr>();
    let listener = listener.tap_io(|stream| {
        // An answer is written whole: waiting for more to send along would only delay it.
        let _ = stream.set_nodelay(true);
    });
    let served = axum::serve(listener, service)
        .with_graceful_shutdown(drained.clone().cancelled_owned())
        .into_future();
    tokio::select! {
        served = served => served?,
        // Connections that are open without a request do not keep the server.
        () = async { drained.cancelled().await; sleep(FAREWELL).await } => {}
    }
    presence.close().await;
    // What is on its way is recorded.
    let _ = delivering.await;
    gate.close()
        .await
        .map_err(|error| format!("the database was not closed in order: {error:?}"))?;
    Ok(())
}

/// Lets this process have as many files open as it may: each socket is one, and the usual limit is 1,024.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, ?current, "the limit on open files was not raised");
    }
}

fn openapi(rest: &Rest, types: &Types, public: &WebOrigin) -> Result<Bytes, Failed> {
    let document = rest::openapi::document(rest, types, public.as_str(), rules::WITHOUT_IDEMPOTENCY);
    Ok(serde_json::to_vec(&document)?.into())
}
