mod failures;
#[path = "../../../tests/it/upstream.rs"]
mod upstream;

use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::json;
use tokio::sync::mpsc;

use self::upstream::{Reply, Upstream};
use super::{circuit::FAILURES, *};
use crate::error::Kind;

const KEY: &str = "sk-hunter2-hunter2";

/// The settings of one model there, `MODEL_1`, with timeouts that no test reaches.
fn settings(url: &str) -> Ai {
    let mut ai = Ai::default();
    ai.models[0].system_prompt = None;
    ai.models[0].provider = config::Provider::OpenAi {
        base_url: url.parse().unwrap(),
        model: "llama".to_owned(),
        api_key: Some(KEY.into()),
        timeout: Duration::from_secs(60),
        connect_timeout: Duration::from_secs(60),
        first_token_timeout: Duration::from_secs(60),
        temperature: None,
        max_answer_tokens: None,
    };
    ai
}

/// The model of [`settings`].
fn model(url: &str) -> Model {
    first(&settings(url))
}

fn first(ai: &Ai) -> Model {
    Providers::new(ai).unwrap().find(None).unwrap().clone()
}

fn user(content: &str) -> Message {
    Message {
        role: Role::User,
        content: content.to_owned(),
    }
}

/// What a model answers, as pieces and as a whole.
async fn ask(model: &Model) -> Result<(Vec<String>, String)> {
    let mut pieces = Vec::new();
    let turn = model.begin().await?;
    let whole = turn
        .ask(&[user("hello")], &mut |text| pieces.push(text.to_owned()))
        .await?;
    Ok((pieces, whole))
}

/// The answer to a reply.
async fn answer(reply: Reply) -> Result<(Vec<String>, String)> {
    let upstream = Upstream::start().await;
    upstream.next(reply);
    ask(&model(&upstream.url())).await
}

#[tokio::test]
async fn a_server_is_asked_as_the_settings_say() {
    let upstream = Upstream::start().await;
    upstream.demand_key(KEY);
    let mut ai = settings(&format!("{}/", upstream.url()));
    let messages = [
        Message {
            role: Role::System,
            content: "be kind".to_owned(),
        },
        user("a \"b\""),
        Message {
            role: Role::Assistant,
            content: "c".to_owned(),
        },
        user("d"),
    ];
    let turn = first(&ai).begin().await.unwrap();
    assert_eq!(turn.ask(&messages, &mut |_| {}).await.unwrap(), "You said: d");
    if let config::Provider::OpenAi {
        temperature,
        max_answer_tokens,
        ..
    } = &mut ai.models[0].provider
    {
        (*temperature, *max_answer_tokens) = (Some(0.7), Some(100));
    }
    ask(&first(&ai)).await.unwrap();

    let requests = upstream.requests();
    assert_eq!(requests[0].path, "/v1/chat/completions");
    assert_eq!(requests[0].headers["authorization"], format!("Bearer {KEY}"));
    assert_eq!(requests[0].headers["content-type"], "application/json");
    let sent = json!([
        { "role": "system", "content": "be kind" },
        { "role": "user", "content": "a \"b\"" },
        { "role": "assistant", "content": "c" },
        { "role": "user", "content": "d" },
    ]);
    assert_eq!(
        requests[0].body,
        json!({ "model": "llama", "messages": sent, "stream": true })
    );
    assert_eq!(
        (&requests[1].body["temperature"], &requests[1].body["max_tokens"]),
        (&json!(0.7), &json!(100))
    );
}

#[tokio::test]
async fn without_a_key_none_is_sent() {
    let upstream = Upstream::start().await;
    let mut ai = settings(&upstream.url());
    if let config::Provider::OpenAi { api_key, .. } = &mut ai.models[0].provider {
        *api_key = None;
    }
    ask(&first(&ai)).await.unwrap();
    assert!(!upstream.requests()[0].headers.contains_key("authorization"));
}

#[tokio::test]
async fn pieces_arrive_one_by_one_in_their_order() {
    let upstream = Upstream::start().await;
    let (reply, steps) = Reply::steps();
    upstream.next(reply);
    let model = model(&upstream.url());
    let (sender, mut pieces) = mpsc::unbounded_channel();
    let asking = tokio::spawn(async move {
        let mut on_text = |text: &str| sender.send(text.to_owned()).unwrap();
        model.begin().await.unwrap().ask(&[user("hi")], &mut on_text).await
    });
    for piece in ["one", " two", "\n", "three"] {
        steps.raw(": still here\n\n");
        steps.text(piece);
        // Only now does the next one leave.
        assert_eq!(pieces.recv().await.unwrap(), piece);
    }
    steps.end();
    assert_eq!(asking.await.unwrap().unwrap(), "one two\nthree");
    assert!(pieces.recv().await.is_none());
}

#[tokio::test]
async fn a_stream_may_be_split_anywhere() {
    let stream = ": hi\r\n\r\nevent: x\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"é🎈\"}}]}\r\n\r\n\
                  data:{\"choices\":[{\"delta\":{\"content\":\"漢\\r\\n\"}}]}\n\ndata: [DONE]\n\n";
    let bytes = stream.as_bytes().chunks(1).map(<[u8]>::to_vec);
    let (pieces, whole) = answer(Reply::raw("text/event-stream; charset=utf-8", bytes))
        .await
        .unwrap();
    assert_eq!(pieces, ["é🎈", "漢\n"]);
    assert_eq!(whole, "é🎈漢\n");
}

#[tokio::test]
async fn every_way_to_end_an_answer_is_understood() {
    const TEXT: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\n";
    const STOP: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}";
    for end in [
        "data: [DONE]\n\n",
        "data: [DONE]\n",
        "data: [DONE]",
        &format!("{STOP}\n\n"),
        STOP,
        &format!("{STOP}\n\ndata: {{\"choices\":[],\"usage\":{{}}}}\n\n"),
        &format!("{STOP}\n\ndata: {{\"error\":\"too late\"}}\n\n"),
        &format!("{STOP}\n\n<html>"),
    ] {
        let reply = Reply::raw("text/event-stream", [TEXT.to_owned(), end.to_owned()]);
        assert_eq!(answer(reply).await.unwrap().1, "hi", "{end}");
    }
    let cut = Reply::raw("text/event-stream", [format!("{TEXT}{STOP}\n\n")]).cut();
    assert_eq!(answer(cut).await.unwrap().1, "hi");
}

#[tokio::test]
async fn a_server_that_does_not_hang_up_after_its_answer_keeps_nobody_waiting() {
    let upstream = Upstream::start().await;
    let (reply, steps) = Reply::steps();
    upstream.next(reply);
    steps.text("hi");
    steps.raw("data: [DONE]\n\n");
    assert_eq!(ask(&model(&upstream.url())).await.unwrap().1, "hi");
    upstream.lost(1).await;
}

#[tokio::test]
async fn an_answer_need_not_be_streamed() {
    let (pieces, whole) = answer(Reply::plain("all at\0 once\r\n")).await.unwrap();
    assert_eq!((pieces.concat(), pieces.len()), (whole.clone(), 1));
    assert_eq!(whole, "all at once\n");
    let body = r#"{"choices":[{"message":{"content":"ok"}}]}"#;
    for parts in [vec!["\n ", "\n", body], vec![&body[..9], &body[9..]]] {
        // Whatever the content type says.
        assert_eq!(answer(Reply::raw("text/event-stream", parts)).await.unwrap().1, "ok");
    }
}

#[tokio::test]
async fn a_caller_who_goes_away_ends_the_call() {
    let upstream = Upstream::start().await;
    let model = model(&upstream.url());
    let (reply, steps) = Reply::steps();
    upstream.next(reply);
    upstream.next(Reply::hang());

    let (sender, mut pieces) = mpsc::unbounded_channel();
    let asking = tokio::spawn({
        let model = model.clone();
        async move {
            let mut on_text = |text: &str| sender.send(text.to_owned()).unwrap();
            model.begin().await.unwrap().ask(&[user("hi")], &mut on_text).await
        }
    });
    steps.text("one");
    pieces.recv().await.unwrap();
    asking.abort();
    upstream.lost(1).await;

    let asking = tokio::spawn(async move { ask(&model).await });
    upstream.asked(2).await;
    asking.abort();
    upstream.lost(2).await;
}

#[tokio::test]
async fn models_of_one_server_share_its_places() {
    let (one, other) = (Upstream::start().await, Upstream::start().await);
    let mut ai = settings(&one.url());
    (ai.calls_at_once, ai.calls_waiting) = (1, 0);
    for (name, url) in [("SAME", format!("{}/", one.url())), ("OTHER", other.url())] {
        let mut model = settings(&url).models.remove(0);
        model.name = name.to_owned();
        ai.models.push(model);
    }
    let providers = Providers::new(&ai).unwrap();
    let turn = providers.find(None).unwrap().begin().await.unwrap();
    let refused = providers.find(Some("SAME")).unwrap().begin().await.unwrap_err();
    assert_eq!((refused.kind(), refused.retry_after()), (Kind::Unavailable, Some(10)));
    providers.find(Some("OTHER")).unwrap().begin().await.unwrap();
    drop(turn);
    ask(providers.find(Some("SAME")).unwrap()).await.unwrap();
    // The end of a call gives its place back, however it ended.
    one.next(Reply::status(400, "no"));
    ask(providers.find(None).unwrap()).await.unwrap_err();
    ask(providers.find(None).unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_server_that_fails_again_and_again_is_left_alone() {
    let upstream = Upstream::start().await;
    let model = model(&upstream.url());
    for _ in 0..FAILURES {
        upstream.next(Reply::status(500, "no"));
        assert_eq!(ask(&model).await.unwrap_err().kind(), Kind::UpstreamFailed);
    }
    let refused = ask(&model).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Unavailable);
    assert!((1..=15).contains(&refused.retry_after().unwrap()), "{refused:?}");
    assert_eq!(upstream.requests().len(), FAILURES as usize);
}

#[tokio::test]
async fn refusals_and_callers_who_leave_do_not_count_as_its_failures() {
    let upstream = Upstream::start().await;
    let model = model(&upstream.url());
    for _ in 0..=FAILURES {
        upstream.next(Reply::status(400, "no"));
        ask(&model).await.unwrap_err();
        upstream.next(Reply::hang());
        let asked = upstream.requests().len();
        tokio::select! {
            _ = ask(&model) => panic!("nobody answers"),
            _ = upstream.asked(asked + 1) => {}
        }
    }
    ask(&model).await.unwrap();
}

#[tokio::test]
async fn models_are_found_by_name() {
    let mut ai = settings("http://127.0.0.1:1");
    ai.models.push(Ai::default().models.remove(0));
    ai.models[1].name = "SECOND".to_owned();
    let providers = Providers::new(&ai).unwrap();
    assert_eq!(
        format!("{providers:?}"),
        r#"Providers([Model("MODEL_1", openai), Model("SECOND", scripted)])"#
    );
    assert_eq!(providers.find(None).unwrap().name(), "MODEL_1");
    assert_eq!(providers.find(Some("MODEL_1")).unwrap().provider(), "openai");
    let second = providers.find(Some("SECOND")).unwrap();
    assert_eq!((second.provider(), second.context_tokens()), ("scripted", 8_192));
    assert!(second.system_prompt().unwrap().contains("companion"));
    for unknown in ["", "model_1", "gpt"] {
        let error = providers.find(Some(unknown)).unwrap_err();
        assert_eq!(error.kind(), Kind::ValidationFailed);
        assert_eq!(error.message(), "model is not one of the models of this server");
    }
}

#[test]
fn a_system_prompt_leaves_room_for_the_conversation() {
    let mut ai = Ai::default();
    ai.models[0].context_tokens = 512;
    ai.models[0].system_prompt = Some("x".repeat(3 * (256 - 4)));
    assert!(Providers::new(&ai).is_ok());
    ai.models[0].system_prompt.as_mut().unwrap().push('x');
    let error = Providers::new(&ai).unwrap_err().to_string();
    assert_eq!(
        error,
        "ai.models.MODEL_1.system_prompt: takes about 257 tokens, more than half of the 512 of context_tokens"
    );
}

#[test]
fn tokens_are_estimated_on_the_large_side() {
    assert_eq!(
        [tokens(""), tokens("abc"), tokens("abcd"), tokens("漢字")],
        [4, 5, 6, 6]
    );
}

#[tokio::test]
async fn calls_are_counted_by_how_they_end() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _here = metrics::set_default_local_recorder(&recorder);
    let upstream = Upstream::start().await;
    let mut ai = settings(&upstream.url());
    (ai.calls_at_once, ai.calls_waiting) = (1, 0);
    let model = first(&ai);
    for reply in [
        Reply::stream(&["a", "b"]),
        Reply::status(500, ""),
        Reply::status(503, ""),
        Reply::hang(),
    ] {
        upstream.next(reply);
    }
    ask(&model).await.unwrap();
    ask(&model).await.unwrap_err();
    ask(&model).await.unwrap_err();
    tokio::select! {
        _ = ask(&model) => panic!("nobody answers"),
        _ = upstream.asked(4) => {}
    }
    let _turn = model.begin().await.unwrap();
    model.begin().await.unwrap_err();
    let text = recorder.handle().render();
    for (outcome, times) in [("answered", 1), ("failed", 1), ("unavailable", 2), ("left", 1)] {
        let line = format!("bambisleep_ai_calls_total{{model=\"MODEL_1\",outcome=\"{outcome}\"}} {times}");
        assert!(text.contains(&line), "{line} is missing in\n{text}");
    }
    let first_token = "bambisleep_ai_first_token_seconds_count{model=\"MODEL_1\"} 1";
    assert!(text.contains(first_token), "{text}");
}
