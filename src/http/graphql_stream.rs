//! Subscriptions as event streams: graphql-sse, distinct connections, and REST's streams, which differ in what the data of
//! an event is.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{body::Body, http::HeaderName, response::Response};
use bytes::Bytes;
use futures_util::stream::unfold;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::{
    Arrived,
    ends::Ends,
    graphql_socket::{ASK_AGAIN, Look, open},
};
use crate::{
    boot::App,
    chat::feed::Delivery,
    error::{Error, Kind, Result},
    gate::{Admission, Standing, callers::Caller},
    graphql::{
        document::Bound,
        event_stream::{self, COMMENT},
        failure::reported,
        http::{Answer, Format, refuse, respond, stream},
        live::{Dialect, Live},
    },
    id::IdKind,
    presence::Stay,
};

/// How long a stream says nothing at most.
const KEEP_ALIVE: Duration = Duration::from_secs(12);

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The stream of an admitted subscription, which begins after the header `Last-Event-ID` where there is one. What refuses
/// it is told in the stream, but for a caller who has ended.
pub async fn subscribe(app: &App, arrived: &Arrived, bound: Bound, admission: Admission) -> Response {
    let standing = match stand(app, &admission).await {
        Ok(standing) => standing,
        Err(error) => return refuse(Format::EventStream, &error).map(Body::from),
    };
    let tell = |error: &Error, out: &mut Vec<u8>| {
        event_stream::next(out, None, |out| Answer::refused(error.clone()).write(out));
    };
    match Subscription::open(app, arrived, bound, admission, Dialect::graphql(), standing, tell).await {
        Ok(subscription) => subscription.into_response(None),
        Err(error) => {
            let error = reported(error, &[], &arrived.request_id);
            respond(Format::EventStream, false, &[Answer::refused(error)]).map(Body::from)
        }
    }
}

/// As [`subscribe`], in a dialect of REST's. The answer waits for the first event, for [`KEEP_ALIVE`] at most, so that what
/// fails before is an error with a status of its own.
///
/// # Errors
///
/// What refuses the subscription, and what it fails with at first.
pub async fn subscribe_rest(
    app: &App,
    arrived: &Arrived,
    bound: Bound,
    admission: Admission,
    dialect: Dialect,
) -> Result<Response> {
    let standing = stand(app, &admission).await?;
    let tell = |error: &Error, out: &mut Vec<u8>| event_stream::error(out, &error.rest_body());
    let mut subscription = Subscription::open(app, arrived, bound, admission, dialect, standing, tell).await?;
    subscription.quiet_until = Instant::now() + KEEP_ALIVE;
    match subscription.next().await {
        Next::Gone => Err(Error::new(Kind::Unavailable, "the stream has ended").with("retryAfter", 1)),
        Next::Events(events, Some(Err(error))) if events.is_empty() => Err(error),
        first => Ok(subscription.into_response(Some(first))),
    }
}

async fn stand(app: &App, admission: &Admission) -> Result<Standing> {
    match admission.caller() {
        Caller::Member(known) => app.gate.follow(known).await,
        Caller::Anonymous(_) => Err(Error::internal("a subscription of nobody's was admitted")),
    }
}

struct Subscription {
    ends: Ends,
    live: Live,
    _stay: Option<Stay>,
    wake: Arc<Notify>,
    look: Look,
    quiet_until: Instant,
    request_id: String,
    /// Writes an error as an event.
    tell: fn(&Error, &mut Vec<u8>),
}

/// What comes next of a subscription.
enum Next {
    /// Events; where nothing follows, whether it ended well.
    Events(Bytes, Option<Result<()>>),
    /// Nothing has come for a while.
    Quiet,
    /// Its caller or the server ends, after which a client may want to come again.
    Gone,
}

impl Subscription {
    async fn open(
        app: &App,
        arrived: &Arrived,
        bound: Bound,
        admission: Admission,
        dialect: Dialect,
        standing: Standing,
        tell: fn(&Error, &mut Vec<u8>),
    ) -> Result<Self> {
        let wake = Arc::default();
        let resume = arrived.header(&LAST_EVENT_ID).filter(|id| !id.is_empty());
        let (live, stay) = open(app, bound, admission, dialect, resume, &wake).await?;
        Ok(Self {
            ends: Ends::new(standing, &app.draining),
            live,
            _stay: stay,
            wake,
            look: Look::Now,
            quiet_until: Instant::now(),
            request_id: arrived.request_id.clone(),
            tell,
        })
    }

    async fn next(&mut self) -> Next {
        loop {
            if self.ends.take_changed()
                && let Err(error) = self.live.renew(self.ends.standing())
            {
                return Next::Events(Bytes::new(), Some(Err(reported(error, &[], &self.request_id))));
            }
            if let Look::Now = self.look {
                let taken = match self.ends.unless(self.live.take()).await {
                    Ok(taken) => taken,
                    Err(_) => return Next::Gone,
                };
                match taken {
                    Ok(taken) if taken.deliveries.is_empty() && taken.end.is_none() => self.look = Look::Rest,
                    Ok(taken) => {
                        let report = |error| reported(error, &[], &self.request_id);
                        let end = taken.end.map(|end| end.map_err(report));
                        return Next::Events(events(&taken.deliveries), end);
                    }
                    Err(error) => {
                        tracing::warn!(?error, "a subscription cannot be read on");
                        self.look = Look::At(Instant::now() + ASK_AGAIN);
                    }
                }
            }
            tokio::select! {
                change = self.ends.change() => if change.is_err() {
                    return Next::Gone;
                },
                () = self.look.wait(&self.wake) => self.look = Look::Now,
                () = sleep_until(self.quiet_until) => {
                    self.quiet_until = Instant::now() + KEEP_ALIVE;
                    return Next::Quiet;
                }
            }
        }
    }

    /// The stream, which begins with what was taken of it before.
    fn into_response(self, first: Option<Next>) -> Response {
        let events = unfold((Some(self), first), async |(subscription, first)| {
            let mut subscription = subscription?;
            let next = match first {
                Some(first) => first,
                None => subscription.next().await,
            };
            let (events, subscription) = match next {
                Next::Gone => return None,
                Next::Quiet => (Bytes::from_static(COMMENT), Some(subscription)),
                Next::Events(events, None) => {
                    subscription.quiet_until = Instant::now() + KEEP_ALIVE;
                    (events, Some(subscription))
                }
                Next::Events(events, Some(end)) => {
                    let mut last = Vec::from(events);
                    if let Err(error) = end {
                        (subscription.tell)(&error, &mut last);
                    }
                    event_stream::complete(&mut last);
                    (last.into(), None)
                }
            };
            Some((Ok::<_, Infallible>(events), (subscription, None)))
        });
        stream().map(|()| Body::from_stream(events))
    }
}

fn events(deliveries: &[Delivery]) -> Bytes {
    let mut events = Vec::new();
    for delivery in deliveries {
        let id = delivery.event.map(|event| IdKind::Event.encode(event));
        event_stream::next(&mut events, id.as_deref(), |out| {
            out.extend_from_slice(&delivery.frame);
        });
    }
    events.into()
}
