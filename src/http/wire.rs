//! A WebSocket as one task uses it: it waits for what comes and writes what goes, and finds out by pings whether anyone
//! is still there.

use std::{
    error::Error,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocketUpgrade};
use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::close::Close;

/// How often whoever is quiet is pinged, and how long the answer may take: who is gone is found within 60 s, and who
/// does not read for 30 s stays.
const PULSE: Pulse = Pulse {
    every: Duration::from_secs(20),
    patience: Duration::from_secs(38),
};
/// How long a client has to see that it is closed.
const FAREWELL: Duration = Duration::from_secs(1);
/// The largest message that is read, in bytes.
const LARGEST_MESSAGE: usize = 256 * 1024;
/// What an idle socket holds for reading; from how much on what is written goes out before it is flushed.
const READ_BUFFER: usize = 4 * 1024;
const WRITE_BUFFER: usize = 32 * 1024;

/// The buffers and bounds of every socket here. Source: STACK, "axum WebSocket": the default buffers cost 137 kB each.
pub fn bounded(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_message_size(LARGEST_MESSAGE)
        .max_frame_size(LARGEST_MESSAGE)
}

/// When to ping.
#[derive(Clone, Copy, Debug)]
pub struct Pulse {
    pub every: Duration,
    /// From when a ping is due: it may have to wait for what is being written.
    pub patience: Duration,
}

/// What comes from a client.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    Text(Utf8Bytes),
    /// Of so many bytes.
    Binary(usize),
    /// Larger than is read. Nothing comes after it, but a close frame can still be sent.
    TooLarge,
    /// Nothing that a WebSocket has. As after what is too large, a close frame can still be sent.
    Broken,
    /// The client has closed, or is gone, or does not answer.
    Gone,
}

/// Nobody is there to write to.
#[derive(Debug, PartialEq, Eq)]
pub struct Gone;

/// A WebSocket, such as axum's.
pub struct Wire<S> {
    socket: S,
    /// What came while something was being written.
    held: Option<Incoming>,
    is_broken: bool,
    pulse: Pulse,
    beat: Beat,
    timer: Pin<Box<Sleep>>,
    flushed: Flushed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Beat {
    /// Someone was there a moment ago.
    Heard,
    /// A ping waits to be sent.
    Due,
    Asked,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flushed {
    Wholly,
    /// A ping has not been.
    NotYet,
}

impl<S, E> Wire<S>
where
    S: Stream<Item = Result<Message, E>> + Sink<Message, Error = E> + Unpin,
    E: Error,
{
    pub fn new(socket: S) -> Self {
        Self::with_pulse(socket, PULSE)
    }

    fn with_pulse(socket: S, pulse: Pulse) -> Self {
        Self {
            socket,
            held: None,
            is_broken: false,
            pulse,
            beat: Beat::Heard,
            timer: Box::pin(sleep(pulse.every)),
            flushed: Flushed::Wholly,
        }
    }

    /// Waits for what comes, and pings. Cancel safe.
    pub async fn receive(&mut self) -> Incoming {
        poll_fn(|cx| self.poll_receive(cx)).await
    }

    /// Writes all of it and flushes once. Takes as long as the client does to read it, if the client is there at all. Not
    /// cancel safe: what is dropped halfway can only be closed.
    ///
    /// # Errors
    ///
    /// The client has closed, or is gone, or does not answer.
    pub async fn write(&mut self, texts: impl IntoIterator<Item = Bytes>) -> Result<(), Gone> {
        let mut texts = texts.into_iter();
        poll_fn(|cx| {
            if let Poll::Ready(written) = self.poll_write(&mut texts, cx) {
                return Poll::Ready(written);
            }
            // While it waits for the client to read, the client may say something: that it is there, at least.
            if self.held.is_none()
                && let Poll::Ready(incoming) = self.poll_incoming(cx)
            {
                if incoming == Incoming::Gone {
                    return Poll::Ready(Err(Gone));
                }
                self.held = Some(incoming);
            }
            self.poll_pulse(cx).map(Err)
        })
        .await
    }

    /// Says why it ends, and gives the client a moment to see it.
    pub async fn close(mut self, close: Close) {
        let farewell = async {
            let frame = CloseFrame {
                code: close.code,
                reason: close.reason.as_ref().into(),
            };
            if self.socket.send(Message::Close(Some(frame))).await.is_err() {
                return;
            }
            if self.is_broken {
                // What was not read would end the connection before the client has read why.
                sleep(FAREWELL).await;
            }
            while let Some(Ok(_)) = self.socket.next().await {}
        };
        // Who does not read does not see it.
        let _ = timeout(FAREWELL, farewell).await;
    }

    /// Answers the client's own farewell.
    pub async fn finish(mut self) {
        let answered = async { while let Some(Ok(_)) = self.socket.next().await {} };
        // Who does not read does not see it.
        let _ = timeout(FAREWELL, answered).await;
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Incoming> {
        if let Some(held) = self.held.take() {
            return Poll::Ready(held);
        }
        if let Poll::Ready(incoming) = self.poll_incoming(cx) {
            return Poll::Ready(incoming);
        }
        if self.poll_pulse(cx).is_ready() || matches!(self.poll_ping(cx), Poll::Ready(Err(Gone))) {
            return Poll::Ready(Incoming::Gone);
        }
        Poll::Pending
    }

    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Incoming> {
        loop {
            let message = match ready!(self.socket.poll_next_unpin(cx)) {
                Some(Ok(message)) => message,
                Some(Err(error)) => {
                    self.is_broken = true;
                    return Poll::Ready(match is_too_large(&error) {
                        true => Incoming::TooLarge,
                        false => Incoming::Broken,
                    });
                }
                None => return Poll::Ready(Incoming::Gone),
            };
            self.heard();
            match message {
                Message::Text(text) => return Poll::Ready(Incoming::Text(text)),
                Message::Binary(bytes) => return Poll::Ready(Incoming::Binary(bytes.len())),
                Message::Close(_) => return Poll::Ready(Incoming::Gone),
                // The library answers pings.
                Message::Ping(_) | Message::Pong(_) => {}
            }
        }
    }

    fn poll_write(&mut self, texts: &mut impl Iterator<Item = Bytes>, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        loop {
            ready!(self.socket.poll_ready_unpin(cx)).map_err(|_| Gone)?;
            let Some(text) = texts.next() else {
                break;
            };
            let text = Utf8Bytes::try_from(text).expect("what is written is JSON");
            self.socket.start_send_unpin(Message::Text(text)).map_err(|_| Gone)?;
        }
        self.poll_flush(cx)
    }

    /// Sends the ping that is due.
    fn poll_ping(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        if self.beat == Beat::Due {
            ready!(self.socket.poll_ready_unpin(cx)).map_err(|_| Gone)?;
            self.socket
                .start_send_unpin(Message::Ping(Bytes::new()))
                .map_err(|_| Gone)?;
            self.beat = Beat::Asked;
            self.flushed = Flushed::NotYet;
        }
        match self.flushed {
            Flushed::Wholly => Poll::Pending,
            Flushed::NotYet => self.poll_flush(cx),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        ready!(self.socket.poll_flush_unpin(cx)).map_err(|_| Gone)?;
        self.flushed = Flushed::Wholly;
        Poll::Ready(Ok(()))
    }

    /// Ready when nobody answers.
    fn poll_pulse(&mut self, cx: &mut Context<'_>) -> Poll<Gone> {
        while self.timer.as_mut().poll(cx).is_ready() {
            match self.beat {
                Beat::Heard => {
                    self.beat = Beat::Due;
                    self.set_timer(self.pulse.patience);
                }
                Beat::Due | Beat::Asked => return Poll::Ready(Gone),
            }
        }
        Poll::Pending
    }

    fn heard(&mut self) {
        match self.beat {
            Beat::Heard => {}
            // Still to be sent: the client reads slowly, and is there.
            Beat::Due => self.set_timer(self.pulse.patience),
            Beat::Asked => {
                self.beat = Beat::Heard;
                self.set_timer(self.pulse.every);
            }
        }
    }

    fn set_timer(&mut self, after: Duration) {
        self.timer.as_mut().reset(Instant::now() + after);
    }
}

fn is_too_large(error: &impl Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref());
    matches!(cause, Some(tungstenite::Error::Capacity(_)))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

    use super::*;

    /// One end of a connection, whose other end takes at most `room` messages that nobody reads.
    struct End {
        incoming: UnboundedReceiver<Message>,
        outgoing: UnboundedSender<Message>,
        room: usize,
    }

    impl Stream for End {
        type Item = Result<Message, Infallible>;

        fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            self.incoming.poll_recv(cx).map(|message| message.map(Ok))
        }
    }

    impl Sink<Message> for End {
        type Error = Infallible;

        fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            match self.room {
                0 => Poll::Pending,
                _ => Poll::Ready(Ok(())),
            }
        }

        fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Infallible> {
            self.room -= 1;
            // Who is gone does not take it.
            let _ = self.outgoing.send(message);
            Ok(())
        }

        fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            self.poll_ready(cx)
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }
    }

    fn connection(room: usize, pulse: Pulse) -> (Wire<End>, UnboundedSender<Message>, UnboundedReceiver<Message>) {
        let (outgoing, seen) = unbounded_channel();
        let (client, incoming) = unbounded_channel();
        let end = End {
            incoming,
            outgoing,
            room,
        };
        (Wire::with_pulse(end, pulse), client, seen)
    }

    const SOON: Pulse = Pulse {
        every: Duration::from_millis(1),
        patience: Duration::from_millis(5),
    };
    /// Pings, and does not give up within a test.
    const PATIENT: Pulse = Pulse {
        every: Duration::from_millis(1),
        patience: Duration::from_secs(3_600),
    };

    #[tokio::test]
    async fn who_does_not_answer_is_gone() {
        let (mut wire, _client, mut seen) = connection(100, SOON);
        assert_eq!(wire.receive().await, Incoming::Gone);
        assert_eq!(seen.recv().await, Some(Message::Ping(Bytes::new())));
        assert!(seen.try_recv().is_err(), "it is asked once");
    }

    #[tokio::test]
    async fn who_does_not_answer_is_gone_while_a_write_waits_for_them() {
        let (mut wire, _client, _seen) = connection(1, SOON);
        let texts = vec![Bytes::from_static(b"{}"); 3];
        assert_eq!(wire.write(texts).await, Err(Gone));
    }

    #[tokio::test]
    async fn who_answers_stays_and_is_asked_again() {
        let (mut wire, client, mut seen) = connection(100, PATIENT);
        let answering = async {
            for _ in 0..5 {
                assert_eq!(seen.recv().await, Some(Message::Ping(Bytes::new())));
                client.send(Message::Pong(Bytes::new())).unwrap();
            }
            client.send(Message::text("over")).unwrap();
        };
        let (incoming, ()) = tokio::join!(wire.receive(), answering);
        assert_eq!(incoming, Incoming::Text("over".into()));
    }

    #[tokio::test]
    async fn what_comes_during_a_write_is_kept() {
        let (mut wire, client, _seen) = connection(1, PATIENT);
        client.send(Message::text("one")).unwrap();
        client.send(Message::text("two")).unwrap();
        {
            let texts = vec![Bytes::from_static(b"{}"); 2];
            let mut writing = std::pin::pin!(wire.write(texts));
            assert!(futures_util::poll!(writing.as_mut()).is_pending());
            assert!(futures_util::poll!(writing.as_mut()).is_pending());
        }
        assert_eq!(wire.receive().await, Incoming::Text("one".into()));
        assert_eq!(wire.receive().await, Incoming::Text("two".into()));
        drop(client);
        assert_eq!(wire.receive().await, Incoming::Gone);
    }
}
