//! The OpenAPI document is valid, describes every route, and describes it as it answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::harness::{Answer, Caller, Place, Server, node, send};

/// Answers of REST, to be held to the OpenAPI document at the end of a test.
#[derive(Default)]
pub struct Samples(Mutex<Vec<Value>>);

impl Samples {
    /// As [`send`], and keeps the answer.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let (client, request) = request.build_split();
        let request = request.unwrap();
        let (method, path) = (request.method().to_string(), request.url().path().to_owned());
        let answer = send(RequestBuilder::from_parts(client, request)).await;
        self.0.lock().unwrap().push(json!({
            "method": method,
            "path": path.strip_prefix("/v1").unwrap(),
            "status": answer.status.as_u16(),
            "type": answer.header("content-type"),
            "body": answer.body,
        }));
        answer
    }

    pub async fn get(&self, caller: &Caller<'_>, path: &str) -> Answer {
        self.send(caller.request(Method::GET, path)).await
    }

    pub async fn delete(&self, caller: &Caller<'_>, path: &str) -> Answer {
        self.send(caller.request(Method::DELETE, path)).await
    }

    pub async fn post(&self, caller: &Caller<'_>, path: &str, body: Value) -> Answer {
        self.send(caller.request(Method::POST, path).json(&body)).await
    }

    pub async fn put(&self, caller: &Caller<'_>, path: &str, body: Value) -> Answer {
        self.send(caller.request(Method::PUT, path).json(&body)).await
    }

    /// Holds the document to its specification, and all answers to the document.
    pub async fn check(&self, server: &Server) {
        let samples = std::mem::take(&mut *self.0.lock().unwrap());
        let document = server.nobody().get("/v1/openapi.json").await.body;
        let input = json!({ "document": document, "samples": samples });
        node("openapi.mjs", &[], &input.to_string()).await;
    }
}

/// `GET /triggers` and so on, out of `rest/v1.graphql` read as text.
fn written_routes() -> BTreeSet<String> {
    let routes = include_str!("../../rest/v1.graphql").split("@rest(method: ").skip(1);
    let routes = routes.filter_map(|rest| {
        let (method, rest) = rest.split_once(", path: \"")?;
        Some(format!("{method} {}", rest.split_once('"')?.0))
    });
    routes.collect()
}

#[tokio::test]
async fn the_document_is_valid_and_has_every_route() {
    let place = Place::new().await;
    let server = Server::options().place(&place).start().await;
    Samples::default().check(&server).await;
    let answer = server.nobody().get("/v1/openapi.json").await;
    assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
    let document = answer.body;
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["servers"][0]["url"], server.url("/v1"));

    let mut documented = BTreeSet::new();
    let mut names: BTreeMap<String, u32> = BTreeMap::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let route = format!("{} {path}", method.to_uppercase());
            *names
                .entry(operation["operationId"].as_str().unwrap().to_owned())
                .or_default() += 1;
            assert!(operation["summary"].is_string(), "{route} has no summary");
            assert!(
                !operation["description"].as_str().unwrap_or_default().is_empty(),
                "{route} is not described"
            );
            let responses = operation["responses"].as_object().unwrap();
            assert!(
                responses.contains_key("200") && responses.contains_key("429"),
                "{route}"
            );
            // Where nobody need log in, nobody is told to; elsewhere a stranger is.
            assert!(operation["security"].is_array(), "{route}");
            assert!(responses.contains_key("401"), "{route}");
            for parameter in path.split('/').filter_map(|segment| segment.strip_prefix('{')) {
                let parameter = parameter.trim_end_matches('}');
                let declared = operation["parameters"].as_array().unwrap().iter();
                let mut declared = declared.filter(|declared| declared["in"] == "path" && declared["required"] == true);
                assert!(
                    declared.any(|declared| declared["name"] == parameter),
                    "{route}: {parameter}"
                );
            }
            documented.insert(route);
        }
    }
    assert_eq!(documented, written_routes());
    assert!(names.values().all(|count| *count == 1), "{names:?}");

    // The command prints the same, but for where the server is.
    let output = place.run(&["openapi"], "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    printed["servers"] = document["servers"].clone();
    assert_eq!(printed, document);
}
