//! The log: on stderr, so that stdout stays for what a command prints.
//!
//! On a terminal lines are for people; anywhere else each is one JSON object, with the fields of its spans (the
//! request id among them) under `spans`. `RUST_LOG` chooses what is logged, in the syntax of
//! [`EnvFilter`]; without it, what we say from `info` on and what the dependencies say from `warn` on.

use std::{
    env,
    io::{self, IsTerminal as _},
};

use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    fmt::{self, MakeWriter},
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::{SubscriberInitExt as _, TryInitError},
};

const DEFAULT_FILTER: &str = "warn,bambisleep_chat=info";

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// For a person at a terminal that shows colours.
    Colour,
    /// For a person who wants none.
    Plain,
    /// For a program.
    Json,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    #[error("RUST_LOG (environment variable): {0}")]
    Filter(String),
    #[error("the log was started before")]
    Started(#[from] TryInitError),
}

/// Starts the log of this process.
///
/// # Errors
/// If `RUST_LOG` is not understood, or there is a log already.
pub fn start() -> Result<(), LoggingError> {
    let wanted = env::var_os("RUST_LOG").map(|text| text.to_string_lossy().into_owned());
    let no_color = env::var_os("NO_COLOR").is_some_and(|text| !text.is_empty());
    let format = choose_format(io::stderr().is_terminal(), no_color);
    tracing_subscriber::registry()
        .with(lines(format, io::stderr))
        .with(filter(wanted.as_deref())?)
        .try_init()?;
    Ok(())
}

fn filter(wanted: Option<&str>) -> Result<EnvFilter, LoggingError> {
    let text = wanted.filter(|text| !text.trim().is_empty()).unwrap_or(DEFAULT_FILTER);
    EnvFilter::try_new(text).map_err(|error| LoggingError::Filter(error.to_string()))
}

/// Colours are for terminals alone, and not where `NO_COLOR` (no-color.org) is set.
fn choose_format(terminal: bool, no_color: bool) -> Format {
    match (terminal, no_color) {
        (false, _) => Format::Json,
        (true, true) => Format::Plain,
        (true, false) => Format::Colour,
    }
}

fn lines<W>(format: Format, writer: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
    Registry: Subscriber + for<'a> LookupSpan<'a>,
{
    let layer = fmt::layer().with_writer(writer);
    match format {
        Format::Colour => layer.with_ansi(true).boxed(),
        Format::Plain => layer.with_ansi(false).boxed(),
        Format::Json => layer
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(true)
            .boxed(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::Value;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format, wanted: Option<&str>) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = tracing_subscriber::registry()
            .with(lines(format, move || writer.clone()))
            .with(filter(wanted).unwrap());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info_span!("request", request_id = "r-1").in_scope(|| {
                tracing::info!(rooms = 2, "ours");
                tracing::info!(target: "sqlx::query", "theirs");
                tracing::warn!(target: "sqlx::query", "theirs, louder");
            });
        });
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn dependencies_are_quieter_than_we_are() {
        let text = logged(Format::Plain, None);
        assert!(text.contains("ours") && text.contains("theirs, louder"), "{text}");
        assert_eq!(text.lines().count(), 2, "{text}");
    }

    #[test]
    fn rust_log_chooses() {
        assert_eq!(logged(Format::Plain, Some("info")).lines().count(), 3);
        assert_eq!(logged(Format::Plain, Some(" ")).lines().count(), 2);
        let error = filter(Some("bambisleep_chat=shout")).unwrap_err().to_string();
        assert!(error.starts_with("RUST_LOG (environment variable): "), "{error}");
    }

    #[test]
    fn json_lines_carry_the_request_id() {
        let text = logged(Format::Json, None);
        let line: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(line["message"], "ours");
        assert_eq!(line["rooms"], 2);
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["spans"][0]["request_id"], "r-1");
    }

    #[test]
    fn plain_lines_carry_the_request_id_and_no_escapes() {
        let text = logged(Format::Plain, None);
        assert!(text.contains("request_id=\"r-1\""), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(logged(Format::Colour, None).contains('\u{1b}'));
    }

    #[test]
    fn colours_are_for_terminals() {
        assert_eq!(choose_format(true, false), Format::Colour);
        assert_eq!(choose_format(true, true), Format::Plain);
        assert_eq!(choose_format(false, false), Format::Json);
        assert_eq!(choose_format(false, true), Format::Json);
    }
}
