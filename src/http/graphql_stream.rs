//! Subscriptions as event streams: graphql-sse, distinct connections.

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
    error::Error,
    gate::{Admission, callers::Caller},
    graphql::{
        document::Bound,
        event_stream::{self, COMMENT},
        failure::reported,
        http::{Answer, Format, refuse, respond, stream},
        live::Live,
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
    let told = |error: Error| {
        let error = reported(error, &[], &arrived.request_id);
        respond(Format::EventStream, false, &[Answer::refused(error)]).map(Body::from)
    };
    let Caller::Member(known) = admission.caller() else {
        return told(Error::internal("a subscription of nobody's was admitted"));
    };
    let standing = match app.gate.follow(known).await {
        Ok(standing) => standing,
        Err(error) => return refuse(Format::EventStream, &error).map(Body::from),
    };
    let wake = Arc::default();
    let resume = arrived.header(&LAST_EVENT_ID).filter(|id| !id.is_empty());
    let (live, stay) = match open(app, bound, admission, resume, &wake).await {
        Ok(opened) => opened,
        Err(error) => return told(error),
    };
    let subscription = Subscription {
        ends: Ends::new(standing, &app.draining),
        live,
        _stay: stay,
        wake,
        look: Look::Now,
        quiet_until: Instant::now(),
        request_id: arrived.request_id.clone(),
    };
    let events = unfold(Some(subscription), async |subscription| {
        let (events, subscription) = subscription?.next().await?;
        Some((Ok::<_, Infallible>(events), subscription))
    });
    stream().map(|()| Body::from_stream(events))
}

struct Subscription {
    ends: Ends,
    live: Live,
    _stay: Option<Stay>,
    wake: Arc<Notify>,
    look: Look,
    quiet_until: Instant,
    request_id: String,
}

impl Subscription {
    /// What is written next, and what is left of the subscription; none where its caller or the server ends, after which
    /// a client may want to come again.
    async fn next(mut self) -> Option<(Bytes, Option<Self>)> {
        loop {
            if self.ends.take_changed()
                && let Err(error) = self.live.renew(self.ends.standing())
            {
                let error = reported(error, &[], &self.request_id);
                let mut last = Vec::new();
                event_stream::next(&mut last, None, |out| Answer::refused(error).write(out));
                event_stream::complete(&mut last);
                return Some((last.into(), None));
            }
            if let Look::Now = self.look {
                match self.ends.unless(self.live.take()).await.ok()? {
                    Ok(deliveries) if deliveries.is_empty() => self.look = Look::Rest,
                    Ok(deliveries) => return Some(self.say(events(&deliveries))),
                    Err(error) => {
                        tracing::warn!(?error, "a subscription cannot be read on");
                        self.look = Look::At(Instant::now() + ASK_AGAIN);
                    }
                }
            }
            tokio::select! {
                change = self.ends.change() => change.ok()?,
                () = self.look.wait(&self.wake) => self.look = Look::Now,
                () = sleep_until(self.quiet_until) => return Some(self.say(Bytes::from_static(COMMENT))),
            }
        }
    }

    fn say(mut self, events: Bytes) -> (Bytes, Option<Self>) {
        self.quiet_until = Instant::now() + KEEP_ALIVE;
        (events, Some(self))
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
